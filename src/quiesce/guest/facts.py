"""What scripts hand over: `name=value` lines in a file on tmpfs."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from quiesce.guest.locking import RUN_DIR

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 64 * 1024


def path_of(session: str) -> Path:
    """Return the file that the scripts of *session* append to."""
    return RUN_DIR / f"{session}.facts"


def begin(session: str) -> None:
    """Make the file, empty; raises OSError."""
    path_of(session).write_bytes(b"")


def collect(session: str) -> dict[str, str]:
    """Return what the scripts of *session* handed over so far; the later of one name counts.

    A line that goes beyond the 64 KiB does not count. Never waits, whatever is in the file's place.
    """
    try:
        data = _read(path_of(session))
    except OSError:
        return {}
    if len(data) > _MOST_BYTES:
        data = data[:_MOST_BYTES].rpartition(b"\n")[0]
    pairs = (line.partition("=") for line in data.decode(errors="replace").split("\n"))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign and name.strip()}


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    with open(os.open(path, flags), "rb") as file:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return file.read(_MOST_BYTES + 1) if is_file else b""


def clear(session: str) -> None:
    """Take the file away."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path_of(session).unlink()
