"""A machine that is only disks: files and block devices, read as they are, never mounted."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.model.alone import Alone
from quiesce.model.disk import Disk, MachineDefinition
from quiesce.ports import MachineFacts, SnapshotDisk
from quiesce.providers import cleanup, disk_files, partitions, scratch
from quiesce.providers.nbd import NbdReader, connected_to_new
from quiesce.providers.plain import PlainReader
from quiesce.providers.readers import start_time
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.changes import ChangeList
    from quiesce.model.report import Report
    from quiesce.ports import BlockReader, Guard, PreparedSnapshot, Snapshot
    from quiesce.providers.disk_files import DiskSource, OpenDisk

# The server dies with us; what it serves is named to it, so that it follows no header.
_SERVE = ("setpriv", "--pdeathsig=KILL", "qemu-nbd", "--read-only", "--persistent", "--shared=0")
_START_S = 20.0
_EXPORT = "disk"


class Disks:
    """Disks of a machine that does not run, or a snapshot of them; `ports.SnapshotProvider`.

    *changed* has a change list for each disk, None where none is known. *report* is that of the
    session in which they were taken. *at_rest*: the caller says that nobody writes to them, and
    nothing is done to find out; that they were written to meanwhile still breaks the snapshot.
    """

    def __init__(
        self,
        sources: Sequence[DiskSource],
        *,
        scratch_root: Path,
        definition_file: Path | None = None,
        at_rest: bool = False,
        changed: Sequence[ChangeList | None] = (),
        report: Report | None = None,
    ) -> None:
        self._sources = sources
        self._scratch_root = scratch_root
        self._definition_file = definition_file
        self._at_rest = at_rest
        self._changed = changed or [None] * len(sources)
        self._report = report

    @contextlib.contextmanager
    def prepared(
        self, *, session: str, guard: Guard, deadline: Deadline
    ) -> Iterator[PreparedSnapshot]:
        """Open the disks; see `ports.SnapshotProvider`.

        Raises QuiesceError DiskNotFound, DiskInUse, SnapshotUnsupported, DefinitionUnavailable.
        """
        del deadline  # what takes time here are files, which know none
        names = [source.name for source in self._sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise QuiesceError(
                "SnapshotUnsupported",
                f"two disks are called {twice}",
                action="a disk is called like its file: give one another name, by a symbolic link",
            )
        servers = _Servers(cleanup.scratch_directory(self._scratch_root, session), guard)
        with contextlib.ExitStack() as stack:
            disks = [
                stack.enter_context(disk_files.opened(source, at_rest=self._at_rest))
                for source in self._sources
            ]
            stack.callback(servers.close)
            readers = [stack.enter_context(self._readable(disk, servers)) for disk in disks]
            yield _Prepared(
                self._facts(disks, readers),
                disks,
                [
                    SnapshotDisk(Disk(disk.source.name, disk.size_bytes), reader, changed)
                    for disk, reader, changed in zip(disks, readers, self._changed, strict=True)
                ],
            )

    @contextlib.contextmanager
    def _readable(self, disk: OpenDisk, servers: _Servers) -> Iterator[BlockReader]:
        if disk.kind == "raw":
            yield PlainReader(disk.files[0].descriptor, disk.size_bytes)
        else:
            with servers.serving(disk, force=self._at_rest) as reader:
                yield reader

    def _facts(self, disks: Sequence[OpenDisk], readers: Sequence[BlockReader]) -> MachineFacts:
        unclean = () if self._report is not None else tuple(_unclean(disks, readers))
        return MachineFacts(
            uuid=None,
            running=False,
            disks=tuple(Disk(disk.source.name, disk.size_bytes) for disk in disks),
            skipped=(),
            definition=_definition(self._definition_file),
            alone=Alone(self._report, unclean),
            places=tuple(str(file.path) for disk in disks for file in disk.files),
        )


@dataclass(frozen=True)
class _Prepared:
    """The disks are a snapshot already, or nobody writes to them: there is nothing to take."""

    facts: MachineFacts
    opened: Sequence[OpenDisk]
    disks: Sequence[SnapshotDisk]

    def take(self) -> None:
        """Take nothing; see `ports.PreparedSnapshot`."""

    def open(self) -> Snapshot:
        """Return the disks as they are."""
        return self

    def check(self) -> None:
        """Prove that nobody wrote to them since they were opened."""
        for disk in self.opened:
            for file in disk.files:
                file.check()


def _unclean(disks: Sequence[OpenDisk], readers: Sequence[BlockReader]) -> Iterator[str]:
    for disk, reader in zip(disks, readers, strict=True):

        def read(at: int, length: int, of: BlockReader = reader) -> bytes:
            return of.read(at, max(0, min(length, of.size_bytes - at)))

        for why in partitions.unclean(read, reader.size_bytes):
            yield f"disk {disk.source.name}: {why}; it counts as crash-consistent"


def _definition(file: Path | None) -> MachineDefinition | None:
    if file is None:
        return None
    try:
        return MachineDefinition("file", file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise QuiesceError("DefinitionUnavailable", f"cannot read {file}: {exc}") from exc


class _Servers:
    """The programs of QEMU that read for us, in a *directory* of the backup's own."""

    def __init__(self, directory: Path, guard: Guard) -> None:
        self._directory = directory
        self._guard = guard
        self._known: tuple[tuple[int, int], ...] = ()

    @contextlib.contextmanager
    def serving(self, disk: OpenDisk, *, force: bool) -> Iterator[BlockReader]:
        """Serve *disk* read-only, and connect to it; *force*: whatever locks it has.

        Raises QuiesceError SnapshotUnsupported with what QEMU says.
        """
        with contextlib.ExitStack() as stack:
            # The address of a socket has 107 characters at most.
            short = Path(f"/proc/{os.getpid()}/fd/{self._opened(stack)}")
            address = short / f"{disk.files[0].descriptor}.sock"
            node = json.dumps({**_node(disk, 0), "force-share": force})
            started = process.start(
                [*_SERVE, f"--export-name={_EXPORT}", f"--socket={address}", f"json:{node}"]
            )
            stack.callback(process.kill_group, started)
            self._known += ((started.pid, start_time(started.pid) or 0),)
            self._guard.note(readers=self._known)
            try:
                connected_to_new(
                    address,
                    is_alive=lambda: started.poll() is None,
                    deadline=Deadline.after(_START_S),
                ).close()
            except OSError as exc:
                raise QuiesceError(
                    "SnapshotUnsupported", f"{disk.source.path}: {_said(started) or exc}"
                ) from exc
            reader = NbdReader(address, _EXPORT)
            stack.callback(reader.close)
            yield reader

    def _opened(self, stack: contextlib.ExitStack) -> int:
        if not self._directory.exists():
            scratch.make_directory(self._directory, ())
        held = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, held)
        return held

    def close(self) -> None:
        """Remove the directory; nothing is served any more. Raises QuiesceError UndoIncomplete."""
        if self._directory.exists():
            scratch.remove_directory(self._directory)


def _said(started: process.Started) -> str:
    """Return what a server that ended said."""
    if started.poll() is None or started.stderr is None:
        return ""
    return started.stderr.read(4096).decode(errors="replace").strip()


def _node(disk: OpenDisk, number: int) -> dict[str, Any]:
    """Return QEMU's description of a file of *disk* with everything that it lies on."""
    file = disk.files[number]
    driver = "host_device" if file.is_device else "file"
    node: dict[str, Any] = {
        "driver": disk.kinds[number],
        "read-only": True,
        "file": {"driver": driver, "filename": f"/proc/{os.getpid()}/fd/{file.descriptor}"},
    }
    if disk.kinds[number] == "qcow2":
        has_more = number + 1 < len(disk.files)
        node["backing"] = _node(disk, number + 1) if has_more else None
    return node
