"""What scripts hand over: `name=value` lines in a file on tmpfs."""

from __future__ import annotations

import contextlib
import os
import stat

from quiesce.guest.processes.locking import RUN_DIR

_MOST_BYTES = 64 * 1024


def path_of(session: str) -> str:
    """Return the file that the scripts of *session* append to."""
    return f"{RUN_DIR}/{session}.facts"


def begin(session: str) -> None:
    """Make the file, empty; raises OSError."""
    with open(path_of(session), "wb"):
        pass


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


def _read(path: str) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    with open(os.open(path, flags), "rb") as file:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return file.read(_MOST_BYTES + 1) if is_file else b""


def clear(session: str) -> None:
    """Take the file away, where that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(path_of(session))
