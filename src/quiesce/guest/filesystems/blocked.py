"""Whether the snapshot command waits for a disk, so that it can be neither stopped nor killed."""

from __future__ import annotations

_MOST = 64


def blocked_in(command: int, *, proc: str = "/proc") -> bool:
    """Return whether the process *command*, or one that it started, waits like that.

    Never raises, starts nothing, and looks at 64 processes at most: whatever else the machine
    runs, the thaw that comes after this is not held up.
    """
    ahead = [str(command)]
    for place in range(_MOST):
        if place == len(ahead):
            return False
        if _state(proc, ahead[place]) == "D":
            return True
        ahead += _read(f"{proc}/{ahead[place]}/task/{ahead[place]}/children").split()
    return False


def _state(proc: str, pid: str) -> str:
    return _read(f"{proc}/{pid}/stat").rpartition(")")[2].strip()[:1]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
