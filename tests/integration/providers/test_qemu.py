import json
import os
import re
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.testing.fakes import FakeGuard
from tools import writer_guest
from tools.bare_qemu import bare_qemu
from tools.qemu_snapshots import all_as_before, contents, prepared
from tools.tmpfs import tmpfs

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
MACHINES = {
    "virtio-blk": {"bus": "virtio-blk"},
    "virtio-scsi": {"bus": "virtio-scsi"},
    "ide": {},
    "qcow2": {"image_format": "qcow2"},
    "virtio-blk with an iothread": {"bus": "virtio-blk", "iothread": True},
    "virtio-scsi with an iothread": {"bus": "virtio-scsi", "iothread": True},
}


@pytest.fixture(scope="module")
def machine():
    with bare_qemu() as running:
        yield running


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "scratch root"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("kind", MACHINES)
def test_all_disks_are_of_one_instant_and_all_is_as_before(root, kind):
    with bare_qemu(**MACHINES[kind]) as machine, all_as_before(machine, root):
        machine.wait_for_rounds(writer_guest.SLOTS)
        with prepared(machine, root) as one:
            one.take()
            taken_at = machine.rounds()
            machine.wait_for_rounds()
            snapshot = one.open()
            instant = writer_guest.check_instant(*contents(snapshot))
            snapshot.check()

    assert writer_guest.SLOTS < instant <= taken_at + 16


def test_many_snapshots_one_after_the_other_are_each_of_one_instant(machine, root):
    instants = []
    with all_as_before(machine, root):
        for _ in range(10):
            with prepared(machine, root) as one:
                one.take()
                instants.append(writer_guest.check_instant(*contents(one.open())))
            machine.wait_for_rounds(16)

    assert instants == sorted(set(instants))


def test_the_machine_is_described(machine, root):
    with prepared(machine, root) as one:
        facts = one.facts

    assert [disk.name for disk in facts.disks] == ["vda", "vdb"]
    assert [disk.serial for disk in facts.disks] == ["serial-vda", "serial-vdb"]
    assert {disk.size_bytes for disk in facts.disks} == {writer_guest.DISK_BYTES}
    assert facts.uuid == "5f0c7e2a-7d0c-4c56-8f58-1a4f8c1d2e3f"
    assert facts.running
    assert facts.definition.kind == "qemu-argv"
    assert json.loads(facts.definition.text) == machine.argv


def test_extents_cover_the_disk_and_zeros_read_as_zeros(machine, root):
    with prepared(machine, root) as one:
        one.take()
        for disk in one.open().disks:
            extents = list(disk.reader.extents())
            data = disk.reader.read(0, disk.reader.size_bytes)

            assert extents[0].start_bytes == 0
            assert all(a.end_bytes == b.start_bytes for a, b in pairwise(extents))
            assert extents[-1].end_bytes == disk.reader.size_bytes
            zeros = [extent for extent in extents if extent.zero]
            assert zeros
            assert not any(any(data[zero.start_bytes : zero.end_bytes]) for zero in zeros)


def test_several_threads_read_at_once(machine, root):
    with prepared(machine, root) as one:
        one.take()
        reader = one.open().disks[0].reader
        whole = reader.read(0, reader.size_bytes)
        quarter = reader.size_bytes // 4
        parts = {}

        def read(start):
            parts[start] = reader.read(start, quarter)

        threads = [threading.Thread(target=read, args=(n * quarter,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert b"".join(parts[start] for start in sorted(parts)) == whole


def test_a_paused_machine_stays_paused(root):
    with bare_qemu(paused=True) as machine:
        machine.monitor("cont")
        machine.wait_for_rounds(32)
        machine.monitor("stop")
        with all_as_before(machine, root), prepared(machine, root) as one:
            one.take()
            writer_guest.check_instant(*contents(one.open()))

            assert machine.monitor("query-status")["status"] == "paused"
            assert not one.facts.running


def test_a_machine_that_was_never_started_stays_so(root):
    with (
        bare_qemu(paused=True) as machine,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        one.open().check()


def test_drives_that_are_no_disks_are_skipped_with_their_reasons(root, tmp_path):
    image = tmp_path / "more.raw"
    image.write_bytes(bytes(1024 * 1024))
    extra = (
        "-drive", f"if=none,id=cd,media=cdrom,file={image},format=raw,readonly=on",
        "-device", "ide-cd,drive=cd,id=cd0",
        "-drive", f"if=none,id=ro,file={image},format=raw,readonly=on",
        "-device", "virtio-blk-pci,drive=ro,id=vdc",
        "-drive", f"if=none,id=idle,file={image},format=raw,file.locking=off",
    )  # fmt: skip
    with bare_qemu(extra=extra) as machine, prepared(machine, root) as one:
        skipped = {drive.name: drive.reason for drive in one.facts.skipped}

        assert [disk.name for disk in one.facts.disks] == ["vda", "vdb"]
        assert skipped == {"cd": "read-only", "ro": "read-only", "idle": "no device uses it"}


def test_a_disk_defined_with_drive_is_snapshot_too(root, tmp_path):
    image = tmp_path / "more.raw"
    image.write_bytes(b"third" * 1024 * 1024)
    extra = ("-drive", f"if=ide,file={image},format=raw")
    with (
        bare_qemu(extra=extra) as machine,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        (disk,) = [one for one in one.open().disks if re.fullmatch(r"disk[0-9]", one.disk.name)]

        assert disk.reader.read(0, image.stat().st_size) == image.read_bytes()


def test_a_machine_with_a_block_job_is_refused(root, tmp_path):
    with bare_qemu() as machine:
        backup = {"driver": "file", "filename": str(tmp_path / "copy")}
        (tmp_path / "copy").write_bytes(bytes(writer_guest.DISK_BYTES))
        machine.monitor("blockdev-add", node_name="copy", **backup)
        machine.monitor("blockdev-mirror", job_id="m", device="image0", target="copy", sync="full")
        with pytest.raises(QuiesceError) as refused, prepared(machine, root):
            pytest.fail("prepared beside a job")

        assert refused.value.name == "MachineBusy"
        assert list(root.iterdir()) == []


def test_too_little_scratch_is_refused_before_anything_is_done(machine, root, tmp_path):
    with (
        tmpfs(tmp_path / "small", 1) as scratch,
        all_as_before(machine, root),
        pytest.raises(QuiesceError) as refused,
        prepared(machine, scratch),
    ):
        pytest.fail("prepared with too little scratch")

    assert refused.value.name == "ScratchTooSmall"


def test_somebody_else_s_nbd_server_is_left_alone(root, tmp_path):
    address = {"type": "unix", "data": {"path": str(tmp_path / "theirs")}}
    with bare_qemu() as machine:
        machine.monitor("nbd-server-start", addr=address)
        guard = FakeGuard()
        with all_as_before(machine, root), prepared(machine, root, guard=guard) as one:
            one.take()
            writer_guest.check_instant(*contents(one.open()))

        assert "nbd_started" not in guard.facts
        machine.monitor("nbd-server-stop")


def test_nobody_else_can_reach_scratch_and_sockets(machine, root):
    with prepared(machine, root) as one:
        one.take()
        one.open()
        (directory,) = root.iterdir()

        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_qemu_of_another_user_needs_no_access_to_scratch(root):
    with (
        bare_qemu(extra=("-runas", "nobody")) as machine,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        machine.wait_for_rounds()
        writer_guest.check_instant(*contents(one.open()))


def test_the_machine_stands_still_only_between_stop_and_cont(machine, root):
    with prepared(machine, root) as one:
        machine.monitor("query-status")
        machine.monitor.events.clear()
        one.take()
        one.open().check()
        machine.monitor("query-status")
        changes = [event["event"] for event in machine.monitor.events]

    assert [name for name in changes if name in ("STOP", "RESUME")] == ["STOP", "RESUME"]


def test_a_machine_paused_by_its_owner_meanwhile_stays_paused(root):
    with bare_qemu() as machine:
        with prepared(machine, root) as one:
            one.take()
            one.open()
            machine.monitor("stop")

        assert machine.monitor("query-status")["status"] == "paused"
        machine.monitor("cont")
        machine.wait_for_rounds()


def test_a_snapshot_of_somebody_else_s_that_went_in_underneath_stays(root, tmp_path):
    with bare_qemu() as machine:
        with prepared(machine, root) as one:
            one.take()
            snapshot = one.open()
            machine.monitor("blockdev-snapshot-sync", node_name="image0",
                            snapshot_file=str(tmp_path / "overlay.qcow2"),
                            snapshot_node_name="overlay")  # fmt: skip
            machine.wait_for_rounds()
            writer_guest.check_instant(*contents(snapshot))

        disks = [entry["inserted"]["node-name"] for entry in machine.monitor("query-block")]
        assert disks == ["overlay", "image1"]
        machine.wait_for_rounds()
        assert machine.guest_errors() == 0


def test_reading_much_takes_little_memory(machine, root):
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    with prepared(machine, root) as one:
        one.take()
        reader = one.open().disks[0].reader

        def resident_bytes():
            return int(Path("/proc/self/statm").read_text().split()[1]) * page_bytes

        reader.read(0, MIB)
        before = resident_bytes()
        for start in range(0, 8 * reader.size_bytes, MIB):
            reader.read(start % reader.size_bytes, MIB)

    assert resident_bytes() - before < 32 * MIB
