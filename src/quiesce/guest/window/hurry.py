"""Let the kernel freeze at once, and not when it has the time.

A freeze waits for several RCU grace periods, some 50 ms for each file system on a quiet machine;
expedited ones take less than a millisecond. It is a switch of the whole machine, so it is on only
while a window is open, but all that time: a door or the snapshot command may freeze in it too.
"""

from __future__ import annotations

import contextlib

_SWITCH = "/sys/kernel/rcu_expedited"


def is_off() -> bool:
    """Return whether it is there and off: who switches it on has to switch it off again."""
    try:
        with open(_SWITCH, encoding="ascii") as switch:
            return switch.read().strip() == "0"
    except OSError:
        return False


def begin() -> None:
    """Switch it on where that is allowed; that it has to be `end`ed is noted before."""
    _switch("1")


def end() -> None:
    """Switch it off again."""
    _switch("0")


def _switch(value: str) -> None:
    # Without the right to it, the machine hurries or does not.
    with contextlib.suppress(OSError), open(_SWITCH, "w", encoding="ascii") as switch:
        switch.write(value)
