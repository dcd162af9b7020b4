"""Let the kernel freeze at once, and not when it has the time.

A freeze waits for several RCU grace periods, some 50 ms for each file system on a quiet machine;
expedited ones take less than a millisecond. It is a switch of the whole machine, so it is on only
from right before the freeze to right after the thaw.
"""

from __future__ import annotations

from pathlib import Path

_SWITCH = Path("/sys/kernel/rcu_expedited")


def begin() -> bool:
    """Switch it on; whether it was off, and has to be switched off again."""
    try:
        if _SWITCH.read_text(encoding="ascii").strip() != "0":
            return False
        _SWITCH.write_text("1", encoding="ascii")
    except OSError:
        return False
    return True


def end() -> None:
    """Switch it off again."""
    try:
        _SWITCH.write_text("0", encoding="ascii")
    except OSError:
        return  # it was possible before: somebody took the right away, and the machine only hurries
