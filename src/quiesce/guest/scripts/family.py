"""The processes that come from us, wherever they go: find them, and end them all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from quiesce.guest.processes.libc import adopt_orphans
from quiesce.system.deadline import Deadline
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_KILL_LIMIT_S = 5.0
_LOOK_AGAIN_S = 0.002


class Family:
    """Our descendants, without those that were there when this was made; but with *first*.

    *statuses* has the wait status of each child that was reaped here.
    """

    def __init__(self, first: int | None = None) -> None:
        self._before = frozenset(_own_children()) - {first}
        self.statuses: dict[int, int] = {}

    def members(self) -> list[int]:
        """Reap what has ended, and return the process ids of what has not."""
        children: dict[int, list[int]] = {}
        for process in _processes():
            children.setdefault(process.parent, []).append(process.pid)
        own = [child for child in children.get(os.getpid(), ()) if child not in self._before]
        found = list(own)
        for member in found:  # grows while it is walked
            found.extend(children.get(member, ()))
        reaped = {child for child in own if self.reap(child)}
        return [member for member in found if member not in reaped]

    def reap(self, child: int) -> bool:
        """Return whether *child* has ended and is reaped."""
        if child in self.statuses:
            return True
        try:
            pid, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid:
            self.statuses[child] = status
        return bool(pid)

    def end(self) -> int:
        """Kill until nobody is left; how many could not be killed within 5 s."""
        deadline = Deadline.after(_KILL_LIMIT_S)
        while not deadline.passed():
            reaped = len(self.statuses)
            members = self.members()
            if not members and len(self.statuses) == reaped:
                return 0  # where one was reaped, its youngest may not have been seen
            _signal(members, signal.SIGKILL)
            time.sleep(_LOOK_AGAIN_S)
        return len(self.members())


@contextlib.contextmanager
def gathered(first: int | None = None) -> Iterator[Family]:
    """Keep together who comes from us: orphans come back to us for as long as the context lasts.

    Of the children that are there already only *first* belongs to the family. Where an exception
    leaves the context, the whole family is killed and reaped.
    """
    before = adopt_orphans(wanted=True)
    family = Family(first)
    try:
        yield family
    except BaseException:
        family.end()
        raise
    finally:
        adopt_orphans(wanted=before)


def end_marked(variables: Mapping[str, str], *, spare: Collection[int] = ()) -> int:
    """Kill whoever was started with all of *variables*, its session, and all that came from it.

    All but those in *spare*. Returns how many could not be killed within 5 s. For what a dead
    process of ours left running.
    """
    deadline = Deadline.after(_KILL_LIMIT_S)
    marks = {f"{name}={value}".encode() for name, value in variables.items()}
    members = _marked(marks, spare)
    while members and not deadline.passed():
        _signal(members, signal.SIGKILL)
        time.sleep(_LOOK_AGAIN_S)
        # Those without the marks are found only beside one that has them: remember them.
        alive = {process.pid for process in _processes() if process.is_alive}
        members = sorted(alive.intersection(members).union(_marked(marks, spare)))
    return len(members)


def _marked(marks: set[bytes], spare: Collection[int]) -> list[int]:
    processes = [each for each in _processes() if each.is_alive and each.pid not in spare]
    found = {process.pid for process in processes if process.has(marks)}
    sessions = {process.session for process in processes if process.pid in found}
    sessions.discard(os.getsid(0))
    found.update(process.pid for process in processes if process.session in sessions)
    children: dict[int, list[int]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process.pid)
    walked = list(found)
    for member in walked:  # grows while it is walked
        walked.extend(child for child in children.get(member, ()) if child not in found)
        found.update(walked)
    return [pid for pid in walked if pid != os.getpid()]


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _own_children() -> list[int]:
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        own = os.getpid()
        return [process.pid for process in _processes() if process.parent == own]


@dataclass(frozen=True)
class _Process:
    """One process of the machine as it was a moment ago."""

    pid: int
    parent: int
    session: int
    is_alive: bool

    def has(self, marks: set[bytes]) -> bool:
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:
                return marks <= set(file.read().split(b"\0"))
        except OSError:
            return False


def _processes() -> Iterator[_Process]:
    """Yield every process of the machine."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file,
            ):
                state, parent, _group, session = file.read().rpartition(")")[2].split()[:4]
                yield _Process(int(name), int(parent), int(session), state not in {"Z", "X"})
