"""What scripts hand over: `name=value` lines in a file on tmpfs."""

from __future__ import annotations

import contextlib
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
    """Return what the scripts of *session* handed over so far; the later of one name counts."""
    try:
        with path_of(session).open("rb") as file:
            text = file.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign and name.strip()}


def clear(session: str) -> None:
    """Take the file away."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path_of(session).unlink()
