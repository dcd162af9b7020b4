"""A run that leaves nothing at rest: its note and its lock, without a supervisor."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.jobs.notes import NoteFile, note_directory
from quiesce.jobs.undo import refuse_second_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quiesce.model.undo import UndoNote
    from quiesce.ports import Guard


class _Noting:
    def __init__(self, file: NoteFile, note: UndoNote) -> None:
        self._file = file
        self._note = note

    def note(self, **facts: object) -> None:
        """Change the note; see `ports.Guard`."""
        self._note = self._note.with_facts(**facts)
        self._file.write(self._note)

    def hand_over(self, descriptor: int) -> None:
        """Nobody takes it; see `ports.Guard`."""


@contextlib.contextmanager
def noted(note: UndoNote, *, state_dir: Path) -> Iterator[Guard]:
    """Run the body, whose machine nobody waits for: if we die the next command undoes *note*.

    Raises QuiesceError AlreadyRunning where a backup of the machine is under way,
    SupervisorUnavailable where the note cannot be written.
    """
    refuse_second_run(state_dir, note.machine)
    with contextlib.ExitStack() as stack:
        try:
            file = NoteFile(note_directory(state_dir), note.session)
            stack.callback(os.close, file.lock())
            stack.callback(file.remove)
            file.write(note)
        except OSError as exc:
            raise QuiesceError("SupervisorUnavailable", f"{state_dir}: {exc.strerror}") from exc
        yield _Noting(file, note)
