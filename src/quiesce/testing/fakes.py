"""Fakes of the ports that behave as their contracts say, and write down what is asked of them."""

# ruff: noqa: ARG002 - fakes take what the port gives them
from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.disk import Disk
from quiesce.model.extent import Extent
from quiesce.model.point import PointSummary
from quiesce.model.report import Report, SnapshotFate, Window
from quiesce.ports import (
    FreezeAnswer,
    GuestOutlook,
    MachineFacts,
    Renewal,
    SnapshotDisk,
    ThawAnswer,
)
from quiesce.vault.session import DiskCopied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.changes import ChangeList
    from quiesce.model.point import Evidence
    from quiesce.ports import BlockReader, Guard, PreparedSnapshot, Progress, Snapshot
    from quiesce.system.deadline import Deadline


def guest_report(session: str, **changes: Any) -> Report:
    """Return the report of a session that held everything and ended well, with *changes*."""
    values: dict[str, Any] = {
        "session": session,
        "machine": "fake",
        "door": "qga",
        "started_at": "2026-11-23T10:00:00.000Z",
        "finished_at": "2026-11-23T10:00:01.000Z",
        "settings": {"continueBackupOnFailure": True, "fsFreezeEnabled": True},
        "requested": ConsistencyLevel.APPLICATION,
        "reached": ConsistencyLevel.APPLICATION,
        "consistency": None,
        "outcome": Outcome.COMPLETE,
        "window": Window(0.01, None, 60.0, expired=False),
        "snapshot": SnapshotFate(taken=None),
    }
    return Report(**{**values, **changes})


@dataclass
class FakeGuest:
    """A guest that answers what it is given; *report* is made for the session that it is asked."""

    outlook: GuestOutlook = field(default_factory=lambda: GuestOutlook(agent=True, hook=True))
    frozen: FreezeAnswer = field(default_factory=lambda: FreezeAnswer(2))
    thawed: ThawAnswer = field(default_factory=lambda: ThawAnswer(2))
    has_report: bool = True
    report_changes: dict[str, Any] = field(default_factory=dict)
    renewal: Renewal = field(default_factory=lambda: Renewal(renewed=True, why="it was damaged"))
    events: list[str] = field(default_factory=list)
    is_at_rest: bool = False

    def look(self, *, session: str, disks: int, deadline: Deadline) -> GuestOutlook:
        """See `ports.Guest`."""
        self.events.append("look")
        return self.outlook

    def freeze(self, outlook: GuestOutlook, *, deadline: Deadline) -> FreezeAnswer:
        """See `ports.Guest`."""
        self.events.append("freeze")
        self.is_at_rest = True
        return self.frozen

    def thaw(self, *, deadline: Deadline) -> ThawAnswer:
        """See `ports.Guest`."""
        self.events.append("thaw")
        self.is_at_rest = False
        return self.thawed

    def report(self, *, session: str, deadline: Deadline) -> Report | None:
        """See `ports.Guest`."""
        self.events.append("report")
        return guest_report(session, **self.report_changes) if self.has_report else None

    def renew(self, *, deadline: Deadline) -> Renewal:
        """See `ports.Guest`."""
        self.events.append("renew")
        return self.renewal

    def close(self) -> None:
        """See `ports.Guest`."""
        self.events.append("close")


@dataclass(frozen=True)
class MemoryReader:
    """A disk in memory, without holes."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        """See `ports.BlockReader`."""
        return len(self.data)

    def extents(self) -> Iterator[Extent]:
        """See `ports.BlockReader`."""
        yield Extent(0, len(self.data))

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """See `ports.BlockReader`."""
        if start_bytes + length_bytes > len(self.data):
            raise QuiesceError("SnapshotBroken", "read past the end of the disk")
        return self.data[start_bytes : start_bytes + length_bytes]


@dataclass
class FakeProvider:
    """A machine whose disks are in memory; `left` says what it has not put back."""

    images: dict[str, bytes] = field(default_factory=lambda: {"vda": b"a", "vdb": b"b"})
    running: bool = True
    events: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def facts(self) -> MachineFacts:
        """What is found of the machine."""
        disks = tuple(Disk(name, len(data)) for name, data in self.images.items())
        return MachineFacts("uuid", self.running, disks, skipped=(), definition=None)

    @contextlib.contextmanager
    def prepared(
        self, *, session: str, guard: Guard, deadline: Deadline
    ) -> Iterator[PreparedSnapshot]:
        """See `ports.SnapshotProvider`."""
        self.events.append("prepare")
        self.left.append("nodes")
        try:
            yield _FakePrepared(self)
        finally:
            self.left.clear()
            self.events.append("clean up")


@dataclass
class _FakePrepared:
    provider: FakeProvider

    @property
    def facts(self) -> MachineFacts:
        return self.provider.facts

    def take(self) -> None:
        self.provider.events.append("take")

    def open(self) -> Snapshot:
        self.provider.events.append("open")
        return _FakeSnapshot(self.provider)


@dataclass
class _FakeSnapshot:
    provider: FakeProvider

    @property
    def disks(self) -> Sequence[SnapshotDisk]:
        images = self.provider.images.items()
        return [SnapshotDisk(Disk(name, len(data)), MemoryReader(data)) for name, data in images]

    def check(self) -> None:
        self.provider.events.append("check")


@dataclass
class FakeGuard:
    """A supervisor that keeps the note's facts; as a context it stands for one session."""

    events: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def note(self, **facts: object) -> None:
        """See `ports.Guard`."""
        self.facts.update(facts)
        self.events.extend(f"note {name}={value}" for name, value in facts.items())

    def hand_over(self, descriptor: int) -> None:
        """See `ports.Guard`."""
        self.events.append("hand over")


@dataclass
class FakeVault:
    """A vault that keeps evidence and drops data."""

    events: list[str] = field(default_factory=list)
    kept: list[Evidence] = field(default_factory=list)

    def alarms(self, machine: str) -> tuple[str, ...]:
        """See `vault.repository.Vault`."""
        return ()

    @contextlib.contextmanager
    def session(
        self, *, machine: str, uuid: str | None, sid: str, same_machine: bool = False
    ) -> Iterator[_FakeSession]:
        """See `vault.repository.Vault`."""
        self.events.append("session")
        yield _FakeSession(self, machine, sid)


@dataclass
class _FakeSession:
    vault: FakeVault
    machine: str
    sid: str
    disks: list[Disk] = field(default_factory=list)

    def copy_disk(
        self,
        disk: Disk,
        reader: BlockReader,
        *,
        progress: Progress,
        changed: ChangeList | None = None,
    ) -> DiskCopied:
        self.vault.events.append(f"copy {disk.name}")
        read = sum(
            len(reader.read(extent.start_bytes, extent.length_bytes)) for extent in reader.extents()
        )
        self.disks.append(disk)
        return DiskCopied(disk.name, read, read, read, "full", "the first backup")

    def commit(self, evidence: Evidence, *, created_at: str) -> PointSummary:
        self.vault.events.append("commit")
        self.vault.kept.append(evidence)
        size = sum(disk.size_bytes for disk in self.disks)
        return PointSummary(
            id=self.sid,
            machine=self.machine,
            created_at=created_at,
            consistency=evidence.consistency,
            outcome=evidence.outcome,
            logical_bytes=size,
            new_bytes=size,
            disks=tuple(self.disks),
        )


class SilentProgress:
    """Progress that nobody sees."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """See `ports.Progress`."""

    def advance(self, done_bytes: int) -> None:
        """See `ports.Progress`."""
