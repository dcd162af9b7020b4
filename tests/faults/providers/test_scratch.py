"""Scratch that is full, fails or hangs: the backup breaks, the guest notices nothing."""

import pytest

from quiesce.errors import QuiesceError
from tools.bad_scratch import FailingScratch, hanging_scratch
from tools.bare_qemu import bare_qemu, wait_until
from tools.qemu_snapshots import all_as_before, contents, prepared
from tools.tmpfs import tmpfs

# Each round writes over 64 KiB of each of two disks.
_FILLS_4_MIB_ROUNDS = 48

pytestmark = pytest.mark.faults

VIRTIO_BLK = pytest.param({"bus": "virtio-blk"}, id="virtio-blk")
VIRTIO_SCSI = pytest.param({"bus": "virtio-scsi"}, id="virtio-scsi")
IDE = pytest.param({}, id="ide")
IOTHREAD = pytest.param({"bus": "virtio-blk", "iothread": True}, id="iothread")
BUSES = pytest.mark.parametrize("machine", [VIRTIO_BLK, VIRTIO_SCSI, IDE, IOTHREAD], indirect=True)


@pytest.fixture
def machine(request):
    with bare_qemu(**getattr(request, "param", {})) as running:
        yield running


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


def is_broken(snapshot):
    try:
        snapshot.check()
    except QuiesceError as exc:
        return exc.name == "SnapshotBroken"
    return False


def wait_until_broken(snapshot):
    wait_until(lambda: is_broken(snapshot), "the snapshot to break")


@BUSES
def test_full_scratch_breaks_the_snapshot_alone(machine, tmp_path):
    with (
        tmpfs(tmp_path / "small", 4) as root,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        snapshot = one.open()
        wait_until_broken(snapshot)
        machine.wait_for_rounds()
        with pytest.raises(QuiesceError) as broken:
            contents(snapshot)

        assert broken.value.name == "SnapshotBroken"


@BUSES
def test_failing_scratch_breaks_the_snapshot_alone(machine, root):
    with (
        all_as_before(machine, root),
        prepared(machine, root, scratch_maker=FailingScratch()) as one,
    ):
        one.take()
        snapshot = one.open()
        wait_until_broken(snapshot)
        machine.wait_for_rounds()


@pytest.mark.parametrize("machine", [VIRTIO_BLK, IOTHREAD], indirect=True)
def test_hanging_scratch_breaks_the_snapshot_alone(machine, root, tmp_path):
    hang_alone(machine, root, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [VIRTIO_SCSI, IDE], indirect=True)
def test_hanging_scratch_breaks_the_snapshot_alone_behind_other_buses(machine, root, tmp_path):
    hang_alone(machine, root, tmp_path)


def hang_alone(machine, root, tmp_path):
    with (
        hanging_scratch(tmp_path) as scratch,
        all_as_before(machine, root),
        prepared(machine, root, scratch_maker=scratch) as one,
    ):
        one.take()
        snapshot = one.open()
        scratch.hang()
        wait_until_broken(snapshot)
        machine.wait_for_rounds()


def test_scratch_that_begins_to_hang_just_before_the_clean_up_is_cut_off(machine, root, tmp_path):
    with (
        hanging_scratch(tmp_path) as scratch,
        all_as_before(machine, root),
        prepared(machine, root, scratch_maker=scratch) as one,
    ):
        one.take()
        one.open()
        scratch.hang()


def test_an_unread_snapshot_over_full_scratch_is_cleaned_up(machine, tmp_path):
    with (
        tmpfs(tmp_path / "small", 4) as root,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        machine.wait_for_rounds(_FILLS_4_MIB_ROUNDS)
