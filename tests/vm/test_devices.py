"""LVM, Btrfs and loop devices of a real guest: what freezes first, and what freezes by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from quiesce.demo.image import cache_directory
from vm import programs
from vm.scene import GUEST, Scene, idle_vm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vm.conftest import Machines
    from vm.inside import Inside

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

SPACE_BYTES = 512 << 20
# /carrier lies on LVM; it carries /inner by a loop device, and /deep by LVM on a loop device.
# Their paths say nothing of that: the deepest mount first would be another order.
SET_UP = """
set -e
modprobe -a dm-mod dm-snapshot loop btrfs
make_vg() {
	pvcreate -q -y "$2" && vgcreate -q "$1" "$2"
}
make_fs() {
	mkdir -p "$2" && mkfs.ext4 -q "$1" && mount "$1" "$2"
}
make_vg space /dev/disk/by-id/virtio-space
lvcreate -q -y -L 160M -n carrier space
make_fs /dev/space/carrier /x/very/deep/carrier
truncate -s 32M /x/very/deep/carrier/inner /x/very/deep/carrier/pv
mkfs.ext4 -q /x/very/deep/carrier/inner
mkdir /inner && mount -o loop /x/very/deep/carrier/inner /inner
make_vg upon "$(losetup --find --show /x/very/deep/carrier/pv)"
lvcreate -q -y -l 100%FREE -n deep upon
make_fs /dev/upon/deep /deep
lvcreate -q -y -L 160M -n tree space
mkfs.btrfs -q /dev/space/tree
mkdir /tree /tree-volume /inner-again
mount /dev/space/tree /tree
btrfs subvolume create /tree/volume
mount -o subvol=volume /dev/space/tree /tree-volume
mount --bind /inner /inner-again
"""
CARRIER = "/x/very/deep/carrier"
FILE_SYSTEMS = {"/", CARRIER, "/inner", "/deep", "/tree"}
# After the flush, so that the freeze itself has much to write where it comes in the wrong order.
DIRTY = "".join(
    f"dd if=/dev/urandom of={mount}/dirty bs=64k count=64 2>/dev/null\n"
    for mount in ("/inner", "/deep", CARRIER, "/tree/volume")
)
LVM = ("lvcreate", "-q", "-y", "-s", "-L", "64M", "-n", "snap", "space/carrier")
BTRFS = ("btrfs", "subvolume", "snapshot", "-r", "/tree/volume", "/tree/snap")
NO_LVM_SNAPSHOT = "lvremove -q -y space/snap 2>/dev/null || :"
NO_BTRFS_SNAPSHOT = "btrfs subvolume delete /tree/snap 2>/dev/null || :"


@dataclass(frozen=True)
class Done:
    """An `exec` that ended: its exit status and its report."""

    status: int
    report: dict[str, Any]

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        return {error["name"]: error for error in self.report["errors"]}

    @property
    def frozen(self) -> list[str]:
        """What was frozen, in that order."""
        return [mount["path"] for mount in self.report["mounts"] if mount["frozen"]]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.raw"
    with path.open("wb") as file:
        file.truncate(SPACE_BYTES)
    return path


@pytest.fixture(scope="module")
def vm_scene(module_machines: Machines, space: Path) -> Iterator[Scene]:
    drive = f"if=none,id=space,file={space},format=raw"
    own = ["-drive", drive, "-device", "virtio-blk-pci,drive=space,id=space,serial=space"]
    archive = programs.prepare(cache_directory())
    with idle_vm(module_machines, extra=[*own, *programs.disk(archive)]) as scene:
        programs.install(scene.inside)
        scene.inside.sh(SET_UP)
        yield scene


@pytest.fixture
def scene(vm_scene: Scene) -> Scene:
    vm_scene.configure(pre=DIRTY)
    return vm_scene


def run(inside: Inside, options: Sequence[str], command: Sequence[str]) -> Done:
    script = '"$@" 2>/run/said; status=$?; tail -5 /run/said >&2; exit $status'
    program = (GUEST, "exec", "--json", *options, "--", *command)
    status, said = inside.status("/bin/sh", "-c", script, "sh", *program)
    assert said.startswith("{"), said
    report, _end = json.JSONDecoder().raw_decode(said)
    return Done(status, report)


def test_what_is_carried_freezes_before_its_carrier_and_each_file_system_once(
    scene: Scene,
) -> None:
    done = run(scene.inside, (), ("true",))

    assert (done.status, done.report["consistency"]) == (0, "application"), done
    assert sorted(done.frozen) == sorted(FILE_SYSTEMS)
    places = {path: place for place, path in enumerate(done.frozen)}
    assert max(places["/inner"], places["/deep"]) < places[CARRIER] < places["/"]
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_a_door_freezes_each_file_system_once_too(scene: Scene) -> None:
    done = scene.protected.backup()

    assert (done.status, done.level, done.errors) == (0, "application", [])
    adopted = [one["path"] for one in done.run["report"]["mounts"] if one["frozen"] == "door"]
    assert sorted(adopted) == sorted(FILE_SYSTEMS)
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_an_lvm_snapshot_of_a_file_system_at_rest_is_application_consistent(scene: Scene) -> None:
    scene.configure(pre=f"echo held >{CARRIER}/state", post=f"echo free >{CARRIER}/state")
    done = run(scene.inside, ("--command-freezes",), LVM)
    scene.inside.sh("mkdir -p /mnt/snap && mount -o ro /dev/space/snap /mnt/snap")
    kept, now = (scene.inside.read(f"{place}/state") for place in ("/mnt/snap", CARRIER))
    scene.inside.sh(f"umount /mnt/snap; {NO_LVM_SNAPSHOT}")

    assert (done.status, done.report["consistency"], done.errors) == (0, "application", {})
    assert done.frozen == []
    assert (kept, now) == ("held\n", "free\n")
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_a_btrfs_snapshot_of_a_file_system_at_rest_is_application_consistent(scene: Scene) -> None:
    scene.configure(pre="echo held >/tree/volume/state", post="echo free >/tree/volume/state")
    done = run(scene.inside, ("--command-freezes",), BTRFS)
    kept, now = (scene.inside.read(f"/tree/{place}/state") for place in ("snap", "volume"))
    scene.inside.sh(NO_BTRFS_SNAPSHOT)

    assert (done.status, done.report["consistency"], done.errors) == (0, "application", {})
    assert done.frozen == []
    assert (kept, now) == ("held\n", "free\n")
    assert scene.scripts_ran() == ["pre ", "post ok"]


@pytest.mark.parametrize(
    ("mount", "command", "undo"),
    [(CARRIER, LVM, NO_LVM_SNAPSHOT), ("/tree", BTRFS, NO_BTRFS_SNAPSHOT)],
    ids=["LVM", "Btrfs"],
)
def test_frozen_by_us_it_cannot_be_taken_and_the_report_says_how(
    scene: Scene, mount: str, command: Sequence[str], undo: str
) -> None:
    done = run(scene.inside, ("--freeze", mount, "--deadline", "4"), command)
    scene.inside.sh(undo)

    assert (done.status, done.report["consistency"]) == (5, "none"), done
    assert "--command-freezes" in done.errors["SnapshotFailed"]["action"]
    assert scene.scripts_ran() == ["pre ", "post ok"]
    scene.inside.sh(f"touch {mount}/writable")
