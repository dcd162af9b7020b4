"""What must be undone when a backup dies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class UndoNote:
    """Written down before anything is done that it undoes; undoing what was not done is harmless.

    Every QEMU node, job and export of a backup has a name that begins with *prefix*. *scratch_dir*
    is the backup's own directory, with everything in it. *was_running*: the machine ran before, so
    that it is let go on; None until it is known. *at_rest*: the guest has been asked to freeze and
    not yet answered a thaw. *nbd_started*: the NBD server in QEMU is ours. *readers* are the
    (process id, start time in clock ticks) of programs that read for us. A machine that is only
    disks has an empty *qmp*.
    """

    session: str
    machine: str
    qmp: str
    qga: str | None
    prefix: str
    scratch_dir: str
    was_running: bool | None = None
    at_rest: bool = False
    nbd_started: bool = False
    readers: tuple[tuple[int, int], ...] = ()

    def with_facts(self, **facts: Any) -> UndoNote:
        """Return the note with *facts* in place of what it said."""
        return replace(self, **facts)

    def to_json(self) -> dict[str, Any]:
        """Return the note as its JSON document."""
        return asdict(self)


def from_json(document: Mapping[str, Any]) -> UndoNote:
    """Return the note in *document*; raises ValueError where it is none."""
    try:
        readers = tuple((int(pid), int(start)) for pid, start in document["readers"])
        return UndoNote(**{**document, "readers": readers})
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not an undo note: {exc!r}") from exc
