from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.guest.filesystems.mounts import (
    FreezePlan,
    Mount,
    NotAMountPointError,
    carriers_of,
    freeze_errors,
    parse_mountinfo,
    plan_freeze,
)

IDS = itertools.count(100)


def mount(
    path: str,
    device: str,
    fstype: str = "ext4",
    *,
    parent: int | None = None,
    subtree: str = "/",
    writable: bool = True,
) -> Mount:
    if parent is None:
        parent = 0 if path == "/" else 1
    return Mount(next(IDS), parent, device, subtree, path, fstype, f"/dev/{device}", writable)


def plan(*mounts: Mount, **options: object) -> FreezePlan:
    return plan_freeze(mounts, **{"carriers": {}, **options})  # type: ignore[arg-type]


def paths(found: FreezePlan) -> list[str]:
    return [each.path for each in found.mounts]


def reasons(found: FreezePlan) -> dict[str, str | None]:
    return {each.path: each.reason for each in found.left_out}


MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=10k
24 22 8:17 / /srv/with\\040space rw master:3 propagate_from:2 - xfs /dev/sdb1 rw
25 22 8:33 /sub /opt ro - ext4 /dev/sdc1 rw
26 22 8:49 / /iso rw - iso9660 /dev/sr0 ro
27 22 0:44 / /tmp rw - tmpfs  rw
"""


def test_mountinfo_is_read_field_by_field() -> None:
    found = parse_mountinfo(MOUNTINFO)

    assert found[0] == Mount(22, 1, "8:1", "/", "/", "ext4", "/dev/sda1", writable=True)
    assert found[2].path == "/srv/with space"
    assert (found[3].subtree, found[3].writable) == ("/sub", False)
    assert found[4].writable is False
    assert found[5].source == ""


def test_what_is_on_disks_and_writable_is_frozen_deepest_first_and_the_root_last() -> None:
    var = mount("/var", "8:2")
    found = plan(
        mount("/", "8:1"),
        var,
        mount("/var/lib/db", "8:3", "xfs", parent=var.mount_id),
        mount("/srv", "8:4", "btrfs"),
    )

    assert paths(found) == ["/var/lib/db", "/srv", "/var", "/"]
    assert (found.left_out, found.blockers, found.warnings) == ((), (), ())


@pytest.mark.parametrize(
    "fstype", ["proc", "sysfs", "tmpfs", "devtmpfs", "overlay", "cgroup2", "autofs", "squashfs"]
)
def test_pseudo_file_systems_are_not_even_mentioned(fstype: str) -> None:
    assert plan(mount("/x", "0:44", fstype)) == FreezePlan((), (), (), ())


@pytest.mark.parametrize(
    ("fstype", "device"),
    [
        ("nfs4", "0:50"),
        ("cifs", "0:50"),
        ("9p", "0:50"),
        ("virtiofs", "0:50"),
        ("ceph", "0:50"),
        ("fuse.sshfs", "0:50"),
        ("fuse", "0:50"),
        ("fuseblk", "8:5"),
    ],
)
def test_network_and_fuse_mounts_are_left_out_even_when_asked_for(fstype: str, device: str) -> None:
    for only in (None, ["/mnt"]):
        found = plan(mount("/mnt", device, fstype), only=only)

        assert found.mounts == ()
        assert reasons(found)["/mnt"] in {
            "network or host-shared file system",
            "FUSE file system",
        }


@pytest.mark.parametrize(("fstype", "device"), [("btrfs", "0:30"), ("zfs", "0:31")])
def test_file_systems_without_a_device_number_of_their_own_are_frozen(
    fstype: str, device: str
) -> None:
    found = plan(mount("/data", device, fstype))

    assert paths(found) == ["/data"]
    assert found.mounts[0].only_synced is (fstype == "zfs")


def test_a_file_system_is_frozen_once_however_often_it_is_mounted() -> None:
    found = plan(
        mount("/var/lib/docker/volumes/x", "8:1", subtree="/volumes/x"),
        mount("/", "8:1"),
        mount("/home", "0:30", "btrfs", subtree="/@home"),
        mount("/snapshots", "0:30", "btrfs", subtree="/@snap"),
    )

    assert paths(found) == ["/home", "/"]


def test_a_file_system_is_left_out_only_where_all_its_mounts_are_read_only() -> None:
    found = plan(
        mount("/ro", "8:1", writable=False),
        mount("/ro-bind", "8:2", writable=False, subtree="/x"),
        mount("/rw", "8:2"),
    )

    assert paths(found) == ["/rw"]
    assert reasons(found) == {"/ro": "read-only"}


@pytest.mark.parametrize("path", ["/boot", "/efi", "/boot/efi"])
def test_vfat_where_the_firmware_looks_costs_a_warning(path: str) -> None:
    found = plan(mount(path, "8:1", "vfat"))

    assert found.mounts == ()
    assert reasons(found) == {path: "vfat cannot be frozen"}
    assert found.warnings == (f"{path} will not be frozen: vfat cannot be frozen",)


def test_vfat_elsewhere_stays_in_the_plan_as_what_cannot_be_frozen() -> None:
    found = plan(mount("/usb", "8:1", "vfat"))

    assert paths(found) == ["/usb"]
    assert [blocker.path for blocker in found.blockers] == ["/usb"]
    assert [error.name for error in freeze_errors(found)] == ["FsFreezeFailed"]
    assert freeze_errors(found, tries=True) == []


@pytest.mark.parametrize("tries", [True, False])
def test_an_empty_plan_is_a_failed_freeze(tries: bool) -> None:
    [error] = freeze_errors(plan(), tries=tries)

    assert (error.name, error.message) == ("FsFreezeFailed", "there is no file system to freeze")


def test_what_is_to_be_skipped_costs_a_warning() -> None:
    found = plan(mount("/", "8:1"), mount("/scratch", "8:2"), skip=["/scratch/", "/nowhere"])

    assert paths(found) == ["/"]
    assert found.warnings == (
        "/scratch will not be frozen: skipped in guest.conf",
        "skip names /nowhere, which is no mount point",
    )


def test_only_what_is_asked_for_is_frozen_by_any_of_its_paths() -> None:
    found = plan(
        mount("/", "8:1"),
        mount("/data", "8:2"),
        mount("/bind", "8:2", subtree="/x"),
        mount("/other", "8:3"),
        only=["/bind", "//data/."],
    )

    assert paths(found) == ["/data"]
    assert reasons(found) == {"/": "not asked for", "/other": "not asked for"}


def test_a_path_that_is_no_mount_point_is_refused() -> None:
    with pytest.raises(NotAMountPointError, match="/etc is not a mount point"):
        plan(mount("/", "8:1"), only=["/", "/etc"])


def test_a_mount_below_another_one_cannot_be_reached_and_is_named() -> None:
    below = mount("/data", "8:2")
    on_top = mount("/data", "8:3", parent=below.mount_id)
    found = plan(mount("/", "8:1"), below, on_top)

    assert [(each.path, each.device) for each in found.blockers] == [("/data", "8:2")]
    assert {each.device for each in found.mounts} == {"8:1", "8:2", "8:3"}
    for tries in (True, False):
        assert [error.name for error in freeze_errors(found, tries=tries)] == ["UnableToOpenMount"]


def test_a_mount_whose_directory_was_covered_later_cannot_be_reached() -> None:
    root = mount("/", "8:1")
    inner = mount("/srv/data", "8:2", parent=root.mount_id)
    inside = mount("/srv/data/deep", "8:3", parent=inner.mount_id)
    cover = mount("/srv", "8:4", parent=root.mount_id)
    found = plan(root, inner, inside, cover)

    assert {each.path for each in found.blockers} == {"/srv/data", "/srv/data/deep"}


def test_of_several_mounts_one_that_can_be_reached_is_used() -> None:
    root = mount("/", "8:1")
    hidden = mount("/d", "8:2", parent=root.mount_id)
    cover = mount("/d", "8:3", parent=hidden.mount_id)
    reachable = mount("/a/longer/path", "8:2", parent=root.mount_id)
    found = plan(root, hidden, cover, reachable)

    assert found.blockers == ()
    assert "/a/longer/path" in paths(found)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_lies_in_a_file_is_frozen_before_what_carries_it(order: tuple[int, ...]) -> None:
    mounts = [
        mount("/deep/in/the/tree", "8:1"),
        mount("/loop", "7:0"),
        mount("/", "7:1"),
    ]
    carriers = {"7:0": ("8:1",), "7:1": ("7:0",)}
    found = plan(*(mounts[index] for index in order), carriers=carriers)

    assert paths(found) == ["/", "/loop", "/deep/in/the/tree"]


def test_a_circle_of_carriers_still_gives_a_plan() -> None:
    found = plan(
        mount("/a", "7:0"), mount("/b", "7:1"), carriers={"7:0": ("7:1",), "7:1": ("7:0",)}
    )

    assert sorted(paths(found)) == ["/a", "/b"]


@given(
    st.dictionaries(
        st.integers(0, 6),
        st.lists(st.integers(7, 9), max_size=2).map(tuple),
        max_size=7,
    )
)
def test_no_file_system_is_frozen_before_one_that_lies_on_it(
    below: dict[int, tuple[int, ...]],
) -> None:
    carriers = {f"7:{upper}": tuple(f"7:{lower}" for lower in on) for upper, on in below.items()}
    mounts = [mount("/" + "x/" * (number % 3) + str(number), f"7:{number}") for number in range(10)]
    order = [each.device for each in plan(*mounts, carriers=carriers).mounts]

    assert len(order) == 10
    for upper, on in carriers.items():
        for lower in on:
            assert order.index(upper) < order.index(lower)


def test_the_carrier_of_a_loop_file_is_found_below_logical_volumes_and_partitions() -> None:
    mounts = [mount("/", "8:1"), mount("/images", "8:2"), mount("/db", "253:0")]
    below = {"253:0": ("7:1",), "7:1": ("7:0",), "8:1": ("8:0",), "8:2": ("8:0",)}

    assert carriers_of(mounts, below=below, files={"7:0": "/images/a/b.img"}, members={}) == {
        "253:0": ("8:2",)
    }


def test_the_carrier_of_a_btrfs_of_two_loop_devices_is_found() -> None:
    mounts = [mount("/", "8:1"), mount("/img", "8:2"), mount("/data", "0:40", "btrfs")]
    members = {"0:40": ("7:0", "7:1")}
    files = {"7:0": "/img/one", "7:1": "/two"}
    found = carriers_of(mounts, below={}, files=files, members=members)

    assert set(found["0:40"]) == {"8:1", "8:2"}


def test_a_file_is_carried_by_the_mount_on_top() -> None:
    mounts = [mount("/", "8:1"), mount("/img", "8:2"), mount("/img", "8:3"), mount("/l", "7:0")]

    assert carriers_of(mounts, below={}, files={"7:0": "/img/x"}, members={}) == {"7:0": ("8:3",)}
    assert carriers_of(mounts, below={}, files={"7:0": "/imgs"}, members={}) == {"7:0": ("8:1",)}
