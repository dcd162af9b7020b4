"""The undo notes on the disk, each with a lock that is held as long as somebody will act on it."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.model import undo
from quiesce.system import files, ulid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class NoteFile:
    """The note of one session in *directory*: `<session>.json`, its lock and its socket.

    The lock is an flock that backup and supervisor hold together, on one open file: it is free
    when both are dead, and only then may somebody else act on the note.
    """

    directory: Path
    session: str

    @property
    def path(self) -> Path:
        """The note itself."""
        return self.directory / f"{self.session}.json"

    @property
    def lock_path(self) -> Path:
        """The file that the lock is on."""
        return self.directory / f"{self.session}.lock"

    @property
    def socket_path(self) -> Path:
        """Where the backup waits for its supervisor."""
        return self.directory / f"{self.session}.sock"

    def write(self, note: undo.UndoNote) -> None:
        """Put *note* on the disk, in place of the one before; durable when this returns."""
        files.replace_durably(self.path, json.dumps(note.to_json()).encode())

    def read(self) -> undo.UndoNote | None:
        """Return the note, None where there is none; raises ValueError where it is damaged."""
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        return undo.from_json(document)

    def lock(self) -> int:
        """Wait until the lock is free and return a descriptor that holds it."""
        while (descriptor := self._locked(fcntl.LOCK_EX)) is None:
            pass  # the file was removed by whoever had the lock before us: there is a new one
        return descriptor

    def try_lock(self) -> int | None:
        """Return a descriptor that holds the lock, None where another holds it."""
        try:
            return self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def _locked(self, operation: int) -> int | None:
        """Return a descriptor with the lock; None where the file has lost its name meanwhile."""
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def remove(self) -> None:
        """Remove the note, then what belongs to it; whoever removes holds the lock."""
        half_written = self.directory.glob(f".{self.path.name}.*")
        for path in (self.path, *half_written, self.socket_path, self.lock_path):
            path.unlink(missing_ok=True)


def note_directory(state_dir: Path) -> Path:
    """Return where the notes of *state_dir* lie; made where it is missing, for its owner alone."""
    directory = state_dir / "undo"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def note_files(state_dir: Path) -> Iterator[NoteFile]:
    """Yield the notes in *state_dir*, oldest first, also those of which only the lock is there."""
    directory = note_directory(state_dir)
    found = {path.stem for path in directory.iterdir() if path.suffix in (".json", ".lock")}
    for session in sorted(found):
        if ulid.is_ulid(session):
            yield NoteFile(directory, session)
