"""Snapshots of the writer guest, and what must hold when they are over."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from quiesce.model.undo import UndoNote
from quiesce.providers import cleanup
from quiesce.providers.qemu import Qemu
from quiesce.system import ulid
from quiesce.system.deadline import Deadline
from quiesce.testing.fakes import FakeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quiesce.ports import Guard, PreparedSnapshot, Snapshot
    from quiesce.providers.scratch import ScratchMaker
    from tools.bare_qemu import BareQemu

LIMIT_S = 60.0


@contextlib.contextmanager
def prepared(
    machine: BareQemu,
    root: Path,
    *,
    scratch_maker: ScratchMaker | None = None,
    guard: Guard | None = None,
    session: str | None = None,
) -> Iterator[PreparedSnapshot]:
    """Prepare a snapshot of *machine* with scratch in *root*."""
    provider = Qemu(
        machine.qmp, scratch_root=root, definition_file=None, scratch_maker=scratch_maker
    )
    with provider.prepared(
        session=session or ulid.new(),
        guard=guard or FakeGuard(),
        deadline=Deadline.after(LIMIT_S),
    ) as one:
        yield one


def note_of(machine: BareQemu, root: Path, session: str) -> UndoNote:
    """Return the undo note of *session* as the backup writes it."""
    return UndoNote(
        session=session,
        machine="writer",
        qmp=str(machine.qmp),
        qga=None,
        prefix=cleanup.prefix(session),
        scratch_dir=str(cleanup.scratch_directory(root, session)),
    )


def contents(snapshot: Snapshot) -> list[bytes]:
    """Return every byte of every disk."""
    return [one.reader.read(0, one.reader.size_bytes) for one in snapshot.disks]


@contextlib.contextmanager
def all_as_before(machine: BareQemu, root: Path) -> Iterator[None]:
    """Check that the body leaves nothing: not in QEMU, not in *root*; and the guest unharmed."""
    before = machine.state()
    yield
    assert machine.state() == before
    assert list(root.iterdir()) == []
    if before["status"] == "running":
        machine.wait_for_rounds()
    assert machine.guest_errors() == 0
