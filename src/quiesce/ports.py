"""The interfaces between the rooms, each by capability, with what the caller may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from quiesce.model.alone import Alone
    from quiesce.model.changes import ChangeList
    from quiesce.model.disk import Disk, MachineDefinition, SkippedDisk
    from quiesce.model.extent import Extent
    from quiesce.model.report import Report
    from quiesce.model.undo import UndoNote
    from quiesce.system.deadline import Deadline


# --- the guest ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class GuestOutlook:
    """What the host knows of the guest before anything is at rest.

    *agent*: a guest agent answers. *hook*: ours is installed; None where that cannot be known.
    *continue_on_failure* (C) and *freeze_enabled* (F) as the guest announced them; None: unknown.
    *check* is what `quiesce-guest check --json` printed. *damaged*: quiesce's own files in the
    guest are not as they were shipped.
    """

    agent: bool
    hook: bool | None = None
    continue_on_failure: bool | None = None
    freeze_enabled: bool | None = None
    check: Mapping[str, object] | None = None
    warnings: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class Renewal:
    """What became of damaged files in the guest, and *why*.

    *command*: what to type in the guest where they could not be renewed.
    """

    renewed: bool
    why: str
    command: str = ""


@dataclass(frozen=True)
class FreezeAnswer:
    """The agent's answer to the freeze.

    *frozen*: file systems frozen, None where it failed. *hook_status*: the number that our hook
    failed with (3 unfrozen, 4 abort), else None. *timed_out*: no answer in time. *message*: the
    agent's error text, cut to 1 KiB.
    """

    frozen: int | None
    hook_status: int | None = None
    timed_out: bool = False
    message: str | None = None


@dataclass(frozen=True)
class ThawAnswer:
    """The agent's answer to the thaw: *thawed* file systems, or the hook's status, or neither."""

    thawed: int | None
    hook_status: int | None = None
    message: str | None = None


class Guest(Protocol):
    """The machine's inside, as the host reaches it. Methods answer with values, also on failure."""

    def look(self, *, session: str, disks: int, deadline: Deadline) -> GuestOutlook:
        """Announce the session and return what is known; no agent is an outlook, not an error.

        Raises QuiesceError SocketBusy where another client holds the agent's socket.
        """

    def freeze(self, outlook: GuestOutlook, *, deadline: Deadline) -> FreezeAnswer:
        """Hold the applications and freeze (the empty list where F is off)."""

    def thaw(self, *, deadline: Deadline) -> ThawAnswer:
        """Thaw and release. Harmless where nothing is at rest; may be sent twice."""

    def report(self, *, session: str, deadline: Deadline) -> Report | None:
        """Return the guest's own report of *session*, None where it cannot be had.

        A report of another session is none.
        """

    def renew(self, *, deadline: Deadline) -> Renewal:
        """Renew quiesce's own files in the guest, where that may be done; never raises."""

    def close(self) -> None:
        """Let others reach the guest; the next call connects again. May be called twice."""


# --- the snapshot ------------------------------------------------------------------------------


class BlockReader(Protocol):
    """Reads one disk of a snapshot; may be called from several threads at once."""

    @property
    def size_bytes(self) -> int:
        """The disk's size."""

    def extents(self) -> Iterator[Extent]:
        """Yield extents in order over the whole disk; zero where it is known to read as zeros."""

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """Return these bytes, whole. Raises QuiesceError SnapshotBroken on any error."""


@dataclass(frozen=True)
class SnapshotDisk:
    """One disk of a snapshot and the way to read it; *changed* where a change list is known."""

    disk: Disk
    reader: BlockReader
    changed: ChangeList | None = None


class Snapshot(Protocol):
    """One instant of all disks; ends with the context that made it."""

    @property
    def disks(self) -> Sequence[SnapshotDisk]:
        """The disks, in the machine's order."""

    def check(self) -> None:
        """Prove that what was read so far is of the instant: one read of every disk.

        Raises QuiesceError SnapshotBroken.
        """


@dataclass(frozen=True)
class MachineFacts:
    """What a provider found: nothing is at rest yet.

    *uuid* identifies the machine, None where it has none. *running* is False for a paused one.
    *alone*: it is only disks. *places* are the files and devices that its disks lie in.
    """

    uuid: str | None
    running: bool
    disks: tuple[Disk, ...]
    skipped: tuple[SkippedDisk, ...]
    definition: MachineDefinition | None
    warnings: tuple[str, ...] = ()
    alone: Alone | None = None
    places: tuple[str, ...] = ()


class PreparedSnapshot(Protocol):
    """Everything is ready; taking the snapshot is all that is left."""

    @property
    def facts(self) -> MachineFacts:
        """The machine as it was found."""

    def take(self) -> None:
        """Take the one instant; the only thing inside the freeze window.

        Raises QuiesceError SnapshotBroken, MachineUnreachable; the machine then goes on as before.
        """

    def open(self) -> Snapshot:
        """Make what was taken readable (exports, connections); after the thaw."""


class SnapshotProvider(Protocol):
    """Takes snapshots of one machine."""

    def prepared(
        self, *, session: str, guard: Guard, deadline: Deadline
    ) -> AbstractContextManager[PreparedSnapshot]:
        """Look at the machine and prepare everything that can be prepared.

        On leaving, in any way, the machine's nodes, jobs and exports are as before, it runs if it
        ran, and scratch is gone; UndoIncomplete where that failed. Raises MachineUnreachable,
        SocketBusy, MachineBusy, ScratchTooSmall, SnapshotUnsupported.
        """


class Guard(Protocol):
    """The supervisor as the backup sees it: knows what must be undone before it is done."""

    def note(self, **facts: object) -> None:
        """Change the undo note (`model.undo.UndoNote`); durable when this returns."""

    def hand_over(self, descriptor: int) -> None:
        """Give the supervisor a duplicate of the connected QMP socket."""


class Undo(Protocol):
    """Undoes what a backup left; see `UndoNote`. Doing it twice is harmless."""

    def __call__(self, note: UndoNote, descriptor: int | None) -> None:
        """Undo, over the connected QMP socket *descriptor* where there is one; it is closed then.

        When this returns the guest is thawed and released, the machine runs if it ran, and
        nothing of the backup is left. Raises QuiesceError UndoIncomplete, with what is left.
        """


# --- progress ----------------------------------------------------------------------------------


class Progress(Protocol):
    """Tells a person how far long work is; may be called from several threads."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """Begin a stage: hold, snapshot, copy, commit, …; *total_bytes* where it is known."""

    def advance(self, done_bytes: int) -> None:
        """*done_bytes* more of the stage are done."""


# --- the store ---------------------------------------------------------------------------------


class BlobReader(Protocol):
    """Immutable named bytes, to read."""

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """Return the bytes of *name* in the range, shorter only where the blob ends.

        Raises KeyError where there is no such blob, QuiesceError VaultUnavailable otherwise.
        """

    def size(self, name: str) -> int:
        """Return the size of *name* in bytes; raises as `get`."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with *prefix*, in order."""

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield what stands between *prefix* and the next slash, once each, in order."""


class BlobStore(BlobReader, Protocol):
    """Four verbs; nothing is ever overwritten."""

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Create *name* with *data*, durably; return False where *name* exists already.

        Nothing but the whole blob is ever visible under its name. Raises QuiesceError VaultFull
        or VaultUnavailable; whether the blob exists is unknown then.
        """


@dataclass(frozen=True)
class StoredBlob:
    """A blob as listing shows it: *stored_at_s* is when, in POSIX seconds by the store's clock."""

    name: str
    size_bytes: int
    stored_at_s: float


class PrunableStore(BlobStore, Protocol):
    """A store whose blobs can be deleted; for maintenance alone."""

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """Yield the blobs whose names begin with *prefix*, in order."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete the blobs *names*, durably; those that are not there are fine.

        Raises QuiesceError VaultUnavailable; some of them may be gone then.
        """


# --- the target --------------------------------------------------------------------------------


class BlockWriter(Protocol):
    """Writes one disk of a restore; may be called from several threads at once."""

    def write(self, start_bytes: int, data: bytes) -> None:
        """Write *data*; ranges that are never written read as zeros."""

    def finish(self) -> None:
        """Make what was written durable, after the last `write`; the target has no name yet."""

    def commit(self) -> None:
        """Give the finished target its name, durably; before it, nothing looks whole."""
