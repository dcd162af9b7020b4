"""One instant of all disks of a QEMU machine (`docs/design/providers.md`, mechanism B)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.model.undo import UndoNote
from quiesce.ports import MachineFacts, SnapshotDisk
from quiesce.providers import cleanup, machine, scratch
from quiesce.providers.definition import read_definition
from quiesce.providers.qmp import Command, CommandRefusedError, QmpConnection
from quiesce.providers.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.ports import BlockReader, Guard, PreparedSnapshot, Snapshot
    from quiesce.providers.machine import FoundDisk, FoundMachine
    from quiesce.providers.scratch import ScratchMaker
    from quiesce.system.deadline import Deadline

# Before this QEMU dies when an NBD client leaves whose disk has an iothread.
_SAFE_WITH_IOTHREADS = (8, 2, 3)
# QEMU 7.2 takes 5 and more for less than one.
_CBW_TIMEOUT_S = 3
_CHECKED_BYTES = 512


class Qemu:
    """A machine behind a QMP socket; implements `ports.SnapshotProvider`.

    *definition_file* is what is kept as its definition where its process cannot be seen;
    *scratch_maker* makes the scratch of its disks in a directory of its own in *scratch_root*.
    """

    def __init__(
        self,
        qmp: Path,
        *,
        scratch_root: Path,
        definition_file: Path | None,
        scratch_maker: ScratchMaker | None = None,
    ) -> None:
        self._qmp = qmp
        self._scratch_root = scratch_root
        self._definition_file = definition_file
        self._scratch_maker = scratch_maker or scratch.FileScratch()

    @contextlib.contextmanager
    def prepared(
        self, *, session: str, guard: Guard, deadline: Deadline
    ) -> Iterator[PreparedSnapshot]:
        """Prepare a snapshot; see `ports.SnapshotProvider`."""
        note = UndoNote(
            session=session,
            machine="",
            qmp=str(self._qmp),
            qga=None,
            prefix=cleanup.prefix(session),
            scratch_dir=str(cleanup.scratch_directory(self._scratch_root, session)),
        )
        with contextlib.closing(QmpConnection.connect(self._qmp, deadline=deadline)) as connection:
            guard.hand_over(connection.fileno())
            found = machine.look(connection)
            facts = self._facts(connection, found)
            told = _Told(guard, note)
            told.note(was_running=found.running)
            scratch.make_directory(Path(note.scratch_dir), facts.disks)
            with _swept(connection, told), self._ready(connection, told, found, facts) as prepared:
                yield prepared

    @contextlib.contextmanager
    def _ready(
        self, connection: QmpConnection, told: _Told, found: FoundMachine, facts: MachineFacts
    ) -> Iterator[_Prepared]:
        directory = Path(told.current.scratch_dir)
        disks = tuple(
            _Taken(one, told.current.prefix, number) for number, one in enumerate(found.disks)
        )
        for one in disks:
            path = directory / f"{one.scratch}.raw"
            arguments = self._scratch_maker.make(
                connection, one.scratch, path, one.found.disk.size_bytes
            )
            connection.execute("blockdev-add", arguments)
        with (
            contextlib.closing(Reading(connection, told.current.prefix, directory)) as reading,
            _opened_images(found.disks) as images,
        ):
            prepared = _Prepared(
                connection, told, facts, disks=disks, images=images, reading=reading
            )
            prepared.choose_ways(found.version)
            prepared.sync_images()
            yield prepared

    def _facts(self, connection: QmpConnection, found: FoundMachine) -> MachineFacts:
        if not found.disks:
            raise QuiesceError("SnapshotUnsupported", "the machine has no disk to back up")
        pid, _ = connection.peer()
        return MachineFacts(
            uuid=found.uuid,
            running=found.running,
            disks=tuple(one.disk for one in found.disks),
            skipped=found.skipped,
            definition=read_definition(pid, found.flash, self._definition_file),
            places=tuple(str(one.image) for one in found.disks if one.image is not None),
        )


class _Told:
    """The undo note as the guard has it: what is told to it is known here too."""

    def __init__(self, guard: Guard, note: UndoNote) -> None:
        self._guard = guard
        self.current = note

    def note(self, **facts: object) -> None:
        """Tell *facts*; nothing where they are told already."""
        changed = self.current.with_facts(**facts)
        if changed != self.current:
            self._guard.note(**facts)
            self.current = changed


class _Taken:
    """One disk and the names of its three nodes."""

    def __init__(self, found: FoundDisk, names_prefix: str, number: int) -> None:
        self.found = found
        self.scratch = f"{names_prefix}scr{number}"
        self.filter = f"{names_prefix}cbw{number}"
        self.access = f"{names_prefix}acc{number}"
        self.by_fuse = False

    def commands(self) -> Iterator[Command]:
        """Yield what puts the filter in, while the machine is stopped."""
        copy_before_write = {
            "driver": "copy-before-write",
            "node-name": self.filter,
            "file": self.found.node,
            "target": self.scratch,
            "on-cbw-error": "break-snapshot",
            "cbw-timeout": _CBW_TIMEOUT_S,
            "discard": "unmap",
        }
        access = {
            "driver": "snapshot-access",
            "node-name": self.access,
            "file": self.filter,
            "discard": "unmap",
        }
        drive = {"path": self.found.qom_path, "property": "drive", "value": self.filter}
        yield Command("blockdev-add", copy_before_write)
        yield Command("qom-set", drive)
        yield Command("blockdev-add", access)


class _Prepared:
    """Implements `ports.PreparedSnapshot`."""

    def __init__(
        self,
        connection: QmpConnection,
        told: _Told,
        facts: MachineFacts,
        *,
        disks: Sequence[_Taken],
        images: Sequence[int],
        reading: Reading,
    ) -> None:
        self._connection = connection
        self._told = told
        self._facts = facts
        self._disks = disks
        self._images = images
        self._reading = reading

    @property
    def facts(self) -> MachineFacts:
        return self._facts

    def choose_ways(self, version: tuple[int, int, int]) -> None:
        """Decide how each disk will be read, and try it."""
        is_nbd_free = self._reading.is_nbd_free(self._disks[0].scratch)
        for one in self._disks:
            is_risky = one.found.iothread and version < _SAFE_WITH_IOTHREADS
            one.by_fuse = is_risky or not is_nbd_free
        if any(one.by_fuse for one in self._disks):
            self._reading.try_fuse(self._disks[0].scratch)

    def sync_images(self) -> None:
        """Write the images back, so that `stop` finds little to flush."""
        for image in self._images:
            os.fdatasync(image)

    def take(self) -> None:
        """Stop, put the filters in, go on: sent at once, so that our death leaves nothing open."""
        try:
            running = machine.look_again(self._connection, [one.found for one in self._disks])
            self._told.note(was_running=running)
            self.sync_images()
            self._take(running=running)
        except BaseException:
            cleanup.sweep(self._connection, self._told.current)
            raise

    def _take(self, *, running: bool) -> None:
        mark = cleanup.window_mark(self._told.current.prefix)
        commands = [command for one in self._disks for command in one.commands()]
        if running:
            cleanup.set_window_mark(self._connection, mark)
            commands = [Command("stop"), *commands, Command("cont")]
        for answer in self._connection.execute_all(commands):
            if isinstance(answer, CommandRefusedError):
                raise QuiesceError("SnapshotUnsupported", f"QEMU refuses: {answer}") from answer
            if isinstance(answer, QuiesceError):
                raise answer
        if running:
            # Not sent with the others: where `cont` fails the mark must stay.
            self._connection.execute("object-del", {"id": mark})

    def open(self) -> Snapshot:
        """Export every disk and connect to it."""
        if not all(one.by_fuse for one in self._disks):
            self._told.note(nbd_started=True)
            self._start_nbd()
        return _Snapshot([SnapshotDisk(one.found.disk, self._reader(one)) for one in self._disks])

    def _start_nbd(self) -> None:
        try:
            self._reading.start_nbd()
        except CommandRefusedError:
            self._told.note(nbd_started=False)  # somebody has started theirs meanwhile
            raise

    def _reader(self, one: _Taken) -> BlockReader:
        if one.by_fuse:
            return self._reading.by_fuse(one.access, self._remember_reader)
        return self._reading.by_nbd(one.access)

    def _remember_reader(self, pid: int, started: int) -> None:
        self._told.note(readers=(*self._told.current.readers, (pid, started)))


class _Snapshot:
    """Implements `ports.Snapshot`."""

    def __init__(self, disks: Sequence[SnapshotDisk]) -> None:
        self._disks = disks

    @property
    def disks(self) -> Sequence[SnapshotDisk]:
        return self._disks

    def check(self) -> None:
        """Read from every disk: a broken snapshot refuses all reads."""
        for one in self._disks:
            one.reader.read(0, min(_CHECKED_BYTES, one.reader.size_bytes))


@contextlib.contextmanager
def _swept(connection: QmpConnection, told: _Told) -> Iterator[None]:
    """Clean up on leaving, over a new connection where ours is lost."""
    try:
        yield
    finally:
        try:
            cleanup.sweep(connection, told.current)
        except QuiesceError:
            connection.hang_up()
            with cleanup.connected(told.current, None) as again:
                cleanup.sweep(again, told.current)


@contextlib.contextmanager
def _opened_images(disks: Sequence[FoundDisk]) -> Iterator[list[int]]:
    """Open the image files that can be reached from here, to sync them."""
    with contextlib.ExitStack() as stack:
        opened = []
        for one in disks:
            if one.image is not None:
                with contextlib.suppress(OSError):
                    descriptor = os.open(one.image, os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, descriptor)
                    opened.append(descriptor)
        yield opened
