"""The control groups of one script: all that comes from it is born in them, and dies with them.

They are made in the v2 hierarchy, and for the bound in that of the v1 controller of process
numbers; where there is neither, in the one that systemd keeps its names in. They lie at the root,
so that no limit of whoever called us ends a script.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from quiesce.system.deadline import Deadline
from quiesce.values import dataclass

MOST_PROCESSES = 4096
HIERARCHIES = "/sys/fs/cgroup"

_PREFIX = "quiesce-script-"
_LEFT = "trusted.quiesce-left"
_KILL_LIMIT_S = 5.0
_LOOK_AGAIN_S = 0.002


@dataclass(frozen=True)
class ScriptCgroup:
    """One control group, in each hierarchy in which it could be made: none, where none could."""

    directories: tuple[str, ...]

    def enter(self) -> None:
        """Move this process into it; where that is refused it stays where it is."""
        for directory in self.directories:
            _write(f"{directory}/cgroup.procs", "0")

    def kill(self) -> int:
        """Kill all that is in it, however fast it forks; how many are left after 5 s."""
        deadline = Deadline.after(_KILL_LIMIT_S)
        for directory in self.directories:
            _write(f"{directory}/pids.max", "0")
            _write(f"{directory}/cgroup.kill", "1")
        while (members := self.members()) and not deadline.passed():
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_AGAIN_S)
        return len(members)

    def members(self) -> set[int]:
        """Return the process ids of all that is in it."""
        found: set[int] = set()
        for directory in self.directories:
            procs = f"{directory}/cgroup.procs"
            with contextlib.suppress(OSError), open(procs, encoding="ascii") as file:
                found.update(int(pid) for pid in file.read().split())
        return found - {0}  # how processes of another process namespace are told

    def leave(self) -> None:
        """Take it away. Where somebody lives on in it, it stays, and bounds and ends him no more.

        The kernel has not quite let go of what has just ended, so that `sweep` may find it empty.
        """
        for directory in self.directories:
            if not _removed(directory):
                _write(f"{directory}/pids.max", "max")
                with contextlib.suppress(OSError):
                    os.setxattr(directory, _LEFT, b"1")


def make(session: str, phase: str) -> ScriptCgroup:
    """Make the control group of a script of *session*, empty, for at most 4096 processes."""
    name = f"{_PREFIX}{session}-{phase}-{os.getpid()}-{time.monotonic_ns()}"
    made = []
    for hierarchy in _hierarchies():
        with contextlib.suppress(OSError):
            os.mkdir(f"{hierarchy}/{name}")
            made.append(f"{hierarchy}/{name}")
            _write(f"{hierarchy}/{name}/pids.max", str(MOST_PROCESSES))
    return ScriptCgroup(tuple(made))


def running(session: str, phase: str) -> ScriptCgroup:
    """Return together the control groups of the scripts of *session* that have not ended."""
    found = _found(f"{_PREFIX}{session}-{phase}-")
    return ScriptCgroup(tuple(each for each in found if not _is_left(each)))


def left_behind(session: str) -> ScriptCgroup:
    """Return together the control groups that scripts of *session* left to their daemons."""
    found = _found(f"{_PREFIX}{session}-")
    return ScriptCgroup(tuple(each for each in found if _is_left(each)))


def sweep() -> None:
    """Take away what is empty of any session's; the caller has the lock, and no script runs."""
    for directory in _found(_PREFIX):
        _removed(directory)


def _hierarchies() -> list[str]:
    known = (HIERARCHIES, f"{HIERARCHIES}/unified", f"{HIERARCHIES}/pids")
    found = [each for each in known if _is_hierarchy(each)]
    return found or [each for each in (f"{HIERARCHIES}/systemd",) if _is_hierarchy(each)]


def _is_hierarchy(directory: str) -> bool:
    return os.path.exists(f"{directory}/cgroup.procs")


def _found(prefix: str) -> list[str]:
    return [
        f"{hierarchy}/{name}"
        for hierarchy in _hierarchies()
        for name in os.listdir(hierarchy)
        if name.startswith(prefix)
    ]


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def _is_left(directory: str) -> bool:
    try:
        return bool(os.getxattr(directory, _LEFT))
    except OSError:
        return False


def _write(file: str, text: str) -> bool:
    """Write a file of the kernel's that need not be there; whether it took it."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
