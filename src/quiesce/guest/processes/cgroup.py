"""Leave the caller's control group, so that ending the caller does not end us."""

from __future__ import annotations

import contextlib
import os
import time

from quiesce.errors import QuiesceError
from quiesce.system.deadline import Deadline
from quiesce.system.process import run

_SYSTEMD = "/run/systemd/system"
_HIERARCHIES = "/sys/fs/cgroup"
_LIMIT_S = 5.0
_POLL_S = 0.005


def leave(unit: str) -> None:
    """Move this process into a transient unit *unit*.scope of its own, where systemd runs.

    Elsewhere, and where systemd refuses, into the root of every hierarchy that lets us. Where
    nothing lets us the process stays where it is.
    """
    if not (os.path.isdir(_SYSTEMD) and _adopted_by_systemd(unit)):
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
    with open("/proc/self/cgroup", encoding="ascii", errors="replace") as file:
        return file.read()


def _move_to_root() -> None:
    with contextlib.suppress(OSError):
        for name in (".", *os.listdir(_HIERARCHIES)):
            with contextlib.suppress(OSError):
                _enter(f"{_HIERARCHIES}/{name}")


def _enter(cgroup: str) -> None:
    procs = os.open(f"{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(procs, str(os.getpid()).encode())
    finally:
        os.close(procs)
