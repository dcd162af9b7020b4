"""Stay alive and in memory while the disks of the machine stand still."""

from __future__ import annotations

import contextlib
import os

from quiesce.guest.processes.libc import lock_memory

_NEVER = "-1000"


def spare_from_shortage() -> None:
    """Put this process out of reach of the OOM killer, where we may."""
    with contextlib.suppress(OSError):
        _adjust_score(_NEVER)


def expose_to_shortage() -> None:
    """Let the OOM killer see this process as any other again."""
    with contextlib.suppress(OSError):
        _adjust_score("0")


def stay_resident() -> None:
    """Need no disk and no turn behind others: memory locked, real-time where allowed.

    Processes forked from this one are ordinary again. Raises OSError where memory cannot be
    locked.
    """
    lock_memory()
    with contextlib.suppress(OSError):
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))


def _adjust_score(score: str) -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(score)
