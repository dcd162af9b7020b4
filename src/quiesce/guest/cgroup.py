"""Leave the caller's control group, so that ending the caller does not end us."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from quiesce.errors import QuiesceError
from quiesce.system.deadline import Deadline
from quiesce.system.process import run

_SYSTEMD = Path("/run/systemd/system")
_HIERARCHIES = Path("/sys/fs/cgroup")
_LIMIT_S = 5.0
_POLL_S = 0.005


def leave(unit: str) -> None:
    """Move this process into a transient unit *unit*.scope of its own, where systemd runs.

    Elsewhere, and where systemd refuses, into the root of every hierarchy that lets us. Where
    nothing lets us the process stays where it is.
    """
    if not (_SYSTEMD.is_dir() and _adopted_by_systemd(unit)):
        _move_to_root()


def _adopted_by_systemd(unit: str) -> bool:
    before = _membership()
    deadline = Deadline.after(_LIMIT_S)
    try:
        run(_start_scope(unit, os.getpid()), deadline=deadline)
    except QuiesceError:
        return False
    while _membership() == before:
        if deadline.passed():
            return False
        time.sleep(_POLL_S)
    return True


def _start_scope(unit: str, pid: int) -> list[str]:
    manager = "org.freedesktop.systemd1"
    return [
        *("busctl", "--system", "--quiet", "call", manager, "/org/freedesktop/systemd1"),
        *(f"{manager}.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"),
        *(f"{unit}.scope", "fail", "2"),
        *("PIDs", "au", "1", str(pid)),
        *("CollectMode", "s", "inactive-or-failed"),
        "0",
    ]


def _membership() -> str:
    return Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace")


def _move_to_root() -> None:
    for procs in (_HIERARCHIES / "cgroup.procs", *_HIERARCHIES.glob("*/cgroup.procs")):
        with contextlib.suppress(OSError):
            procs.write_text(str(os.getpid()), encoding="ascii")
