"""Whether the snapshot command waits for a disk, so that it can be neither stopped nor killed."""

from __future__ import annotations

import os


def blocked_in(group: int) -> bool:
    """Return whether a process of *group* waits like that; never raises, and starts nothing."""
    return any(_state_in(group, name) == "D" for name in os.listdir("/proc") if name.isdecimal())


def _state_in(group: int, pid: str) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            state, _parent, its_group = stat.read().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return None
    return state if int(its_group) == group else None
