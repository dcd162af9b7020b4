"""The backup, the reader, QEMU: whoever dies or stands still, everything is put right."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nbd
import pytest

from quiesce.errors import QuiesceError
from quiesce.providers import cleanup
from quiesce.providers.qmp import QmpConnection
from quiesce.system import ulid
from quiesce.system.deadline import Deadline
from tools import dying_backup, writer_guest
from tools.bare_qemu import bare_qemu, wait_until
from tools.qemu_snapshots import all_as_before, contents, note_of, prepared

pytestmark = pytest.mark.faults

BUSES = {"ide": {}, "iothread": {"bus": "virtio-scsi", "iothread": True}}


@pytest.fixture(params=BUSES)
def machine(request):
    with bare_qemu(**BUSES[request.param]) as running:
        yield running


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


def die(machine, root, session, stage):
    """Kill a backup at *stage*; return its note and its QMP descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    note, descriptor = note_of(machine, root, session), None
    source = Path(dying_backup.__file__).parents[2] / "src"
    arguments = [machine.qmp, root, session, stage, str(theirs.fileno())]
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, dying_backup.__file__, *arguments],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        theirs.close()
        ours.settimeout(60)
        while (received := socket.recv_fds(ours, 65536, 1))[0] != b"here":
            message, descriptors, _, _ = received
            if descriptors:
                descriptor = descriptors[0]
            else:
                note = note.with_facts(**json.loads(message))
        process.kill()
        process.wait()
    return note, descriptor


def undo(note, descriptor):
    with cleanup.connected(note, descriptor) as connection:
        if connection is not None:
            cleanup.go_on(connection, note)
        cleanup.sweep(connection, note)


@pytest.mark.parametrize("stage", ["prepared", "taken", "opened"])
@pytest.mark.parametrize("handed_over", [True, False])
def test_a_killed_backup_is_undone(machine, root, stage, handed_over):
    with all_as_before(machine, root):
        note, descriptor = die(machine, root, ulid.new(), stage)
        if not handed_over:
            os.close(descriptor)
            descriptor = None
        machine.wait_for_rounds()
        undo(note, descriptor)
        undo(note, None)


def test_a_machine_left_stopped_in_the_window_goes_on(machine, root):
    session = ulid.new()
    note = note_of(machine, root, session).with_facts(was_running=True)
    with all_as_before(machine, root):
        with contextlib.closing(
            QmpConnection.connect(machine.qmp, deadline=Deadline.after(20))
        ) as connection:
            cleanup.set_window_mark(connection, cleanup.window_mark(note.prefix))
            connection.execute("stop")
        undo(note, None)


def test_a_machine_that_was_paused_before_is_not_let_go_on(machine, root):
    machine.monitor("stop")
    with all_as_before(machine, root):
        note, descriptor = die(machine, root, ulid.new(), "taken")
        undo(note, descriptor)

    assert machine.monitor("query-status")["status"] == "paused"


def test_a_machine_that_its_owner_paused_after_the_window_is_not_let_go_on(machine, root):
    note, descriptor = die(machine, root, ulid.new(), "opened")
    machine.monitor("stop")
    undo(note, descriptor)

    assert machine.monitor("query-status")["status"] == "paused"


def test_a_killed_machine_leaves_no_scratch(machine, root):
    with pytest.raises(QuiesceError), prepared(machine, root) as one:
        one.take()
        snapshot = one.open()
        machine.process.kill()
        machine.process.wait()
        contents(snapshot)

    assert list(root.iterdir()) == []


def test_what_a_killed_backup_of_a_killed_machine_left_is_removed(machine, root):
    note, descriptor = die(machine, root, ulid.new(), "opened")
    machine.process.kill()
    machine.process.wait()
    undo(note, descriptor)

    assert list(root.iterdir()) == []


def test_a_take_that_fails_half_way_is_undone_at_once(machine, root):
    session = ulid.new()
    with all_as_before(machine, root), prepared(machine, root, session=session) as one:
        # The last node cannot be made: its name is taken. Both filters are in by then.
        machine.monitor("blockdev-add", driver="null-co", size=writer_guest.DISK_BYTES,
                        read_zeroes=True, node_name=f"{cleanup.prefix(session)}acc1")  # fmt: skip
        with pytest.raises(QuiesceError) as refused:
            one.take()

        assert refused.value.name == "SnapshotUnsupported"
        assert machine.monitor("query-status")["status"] == "running"
        assert not any(
            node["node-name"].startswith("bk-")
            for node in machine.monitor("query-named-block-nodes")
        )


def test_a_reader_that_stands_still_harms_nobody(root):
    with bare_qemu() as machine, all_as_before(machine, root):
        session = ulid.new()
        with prepared(machine, root, session=session) as one:
            one.take()
            one.open()
            (directory,) = root.iterdir()
            names = [export["id"] for export in machine.monitor("query-block-exports")]
            readers = [stuck_reader(directory / "nbd.sock", name) for name in names]
            machine.wait_for_rounds()
            machine.monitor("stop")
            machine.monitor("cont")
            machine.wait_for_rounds()
        del readers


def stuck_reader(address, name):
    """Ask for as much as a reader of ours has outstanding, and never take it."""
    handle = nbd.NBD()
    handle.set_export_name(name)
    with short(address) as path:
        handle.connect_unix(path)
    handle.aio_pread(nbd.Buffer(128 * 1024), 0)
    return handle


@contextlib.contextmanager
def short(address):
    directory = os.open(address.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{directory}/{address.name}"
    finally:
        os.close(directory)


def test_a_reader_outside_that_is_stopped_harms_nobody(root):
    with (
        bare_qemu(bus="virtio-scsi", iothread=True) as machine,
        all_as_before(machine, root),
        prepared(machine, root) as one,
    ):
        one.take()
        one.open()
        for pid in servers(root):
            os.kill(pid, signal.SIGSTOP)
        machine.wait_for_rounds()


def servers(root):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes()
            if words.startswith(b"qemu-nbd") and os.fsencode(root) in words:
                found.append(int(place.name))
    assert found
    return found


def test_a_machine_that_hangs_makes_the_clean_up_fail_in_time_and_succeed_later(root):
    with bare_qemu() as machine, all_as_before(machine, root):
        note, descriptor = die(machine, root, ulid.new(), "opened")
        os.kill(machine.pid, signal.SIGSTOP)
        with pytest.raises(QuiesceError) as failed:
            undo(note, descriptor)
        os.kill(machine.pid, signal.SIGCONT)
        wait_until(lambda: machine.monitor("query-status")["status"] == "running", "the machine")
        undo(note, None)

    assert failed.value.name == "UndoIncomplete"
