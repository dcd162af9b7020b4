"""What runs in the watchdog process: wait for news, and thaw what is overdue.

Its memory is locked, the descriptors are in its hands, and there is nothing left to load. At the
deadline, or at once when the engine dies in any way, it kills the snapshot command, has everything
thawed that this session froze or adopted, and sees to it that the applications are released: by
the engine, or, where that is dead or does not move, by a process that takes the engine's place. It
goes on thawing every second until no freeze is in flight and, where a door freezes, until the
door's thaw has come or nothing has needed a thaw for a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from quiesce.errors import ExitStatus
from quiesce.guest.filesystems.blocked import blocked_in
from quiesce.guest.filesystems.freezer import MOST_NEWS, thawed_or_none
from quiesce.guest.filesystems.freezing import CLAIMED, FREE, FROZEN
from quiesce.guest.processes import cgroup
from quiesce.guest.processes.resident import expose_to_shortage, spare_from_shortage, stay_resident
from quiesce.guest.processes.spawn import fork_detached
from quiesce.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.guest.filesystems.freezing import Freezing
    from quiesce.guest.window.line import Line

MOST_BYTES = 8192
MOST_DESCRIPTORS = 200
_SWEEP_S = 1.0
_GRACE_S = 5.0
_QUIET_S = 60.0


@dataclass(frozen=True)
class Guarded:
    """What a watchdog is given at its start.

    *recover* takes the place of a dead engine outside the window: releases what it held, writes
    its report, and returns the exit status that a late thaw is answered with. *forget* says that
    nothing is at rest any more; the engine has not where a freeze was still in flight. *line* is
    None where nobody but the engine ends the window.
    """

    session: str
    freezing: Freezing
    line: Line | None
    lock: int
    recover: Callable[[], int]
    forget: Callable[[], None]


@dataclass(frozen=False)
class _State:
    """What the watchdog process knows; places are those of the mounts in `Freezing`.

    *in_flight*: a FIFREEZE may be under way, and a FITHAW of ours would wait for it. *frozen*: ours
    to thaw.
    """

    until_s: float | None = None
    command: int | None = None
    mounts: dict[int, int] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    frozen: set[int] = field(default_factory=set)
    adopted: bool = False
    engine_alive: bool = True
    ended: bool = False
    over: bool = False
    dismissed: bool = False
    sweeps: int = 0
    kill_engine_at_s: float | None = None
    sweep_at_s: float | None = None
    quiet_since_s: float = 0.0
    door_done: bool = False
    recovering: int | None = None
    late_status: int = int(ExitStatus.DEGRADED)


class WatchdogProcess:
    """The watchdog itself; *channel* leads to the engine, whose process id is *engine*."""

    def __init__(self, guarded: Guarded, channel: socket.socket, engine: int) -> None:
        self._guarded = guarded
        self._channel = channel
        self._engine = engine
        self._state = _State()
        self._freezers = {
            one.channel.fileno(): place for place, one in enumerate(guarded.freezing.freezers)
        }

    def run(self) -> None:
        """Say that we are ready, and guard until nothing is left to guard."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        cgroup.leave(f"quiesce-watchdog-{self._guarded.session}")
        spare_from_shortage()
        stay_resident()
        self._channel.send(b"ready")
        while not self._is_done():
            self._wait()
            self._act()
        if self._state.ended:
            self._guarded.forget()
        elif self._guarded.line is not None:
            self._guarded.line.close()

    def _is_done(self) -> bool:
        state = self._state
        if not state.over or state.recovering is not None or self._waits_for_door():
            return False
        if not (state.engine_alive or state.dismissed):
            state.dismissed = True
            self._tell_freezers("thaw")
        return not (self._freezers or state.frozen)

    def _waits_for_door(self) -> bool:
        state = self._state
        if not state.adopted or state.door_done:
            return False
        if state.over and time.monotonic() - state.quiet_since_s > _QUIET_S:
            self._see_door_done()
        return not state.door_done

    # Waiting and hearing.

    def _wait(self) -> None:
        poll = select.poll()
        if self._state.engine_alive:
            poll.register(self._channel, select.POLLIN)
        elif self._state.recovering is not None:
            poll.register(self._state.recovering, select.POLLIN)
        elif self._guarded.line is not None:
            poll.register(self._guarded.line.requests, select.POLLIN)
        if self._freezers:
            poll.register(self._guarded.freezing.news, select.POLLIN)
        for descriptor in self._freezers:
            poll.register(descriptor, 0)  # only its end
        for descriptor, _events in poll.poll(self._milliseconds()):
            self._notice(descriptor)

    def _milliseconds(self) -> float | None:
        state = self._state
        moments = [state.until_s, state.kill_engine_at_s, state.sweep_at_s]
        due = [moment for moment in moments if moment is not None]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _notice(self, descriptor: int) -> None:
        if descriptor in self._freezers:
            self._lose_freezer(self._freezers.pop(descriptor))
        elif descriptor == self._guarded.freezing.news:
            self._hear_freezers(descriptor)
        elif descriptor == self._channel.fileno():
            self._hear_engine()
        elif descriptor == self._state.recovering:
            self._hear_recovery(descriptor)
        elif self._guarded.line is not None:
            self._hear_door(self._guarded.line)

    def _hear_engine(self) -> None:
        try:
            data, descriptors, _flags, _address = socket.recv_fds(
                self._channel, MOST_BYTES, MOST_DESCRIPTORS
            )
        except ConnectionResetError:
            return  # it ended with news of ours unread; what it said before comes next
        except OSError:
            data = b""
        if not data:
            self._lose_engine()
            return
        message = json.loads(data)
        if message["do"] == "guard":
            for place, descriptor in zip(message["places"], descriptors):  # noqa: B905 - from 3.10
                self._state.mounts[place] = descriptor
        elif message["do"] in {CLAIMED, FROZEN, FREE}:
            self._follow(message["do"], message["place"])
        else:
            self._obey(message["do"], message)

    def _follow(self, claim: str, place: int) -> None:
        self._state.in_flight.discard(place)
        if claim == CLAIMED:
            self._state.in_flight.add(place)
        elif claim == FROZEN:
            self._state.frozen.add(place)

    def _obey(self, order: str, message: Mapping[str, Any]) -> None:
        state = self._state
        if order == "open":
            state.until_s, state.command = message["until"], message["command"]
        elif order == "adopt":
            state.adopted = True
            state.frozen = set(state.mounts)
            state.quiet_since_s = time.monotonic()
        elif order == "close":
            self._close(message)
        elif order == "end":
            state.ended = state.over = True
            self._see_door_done()

    def _close(self, message: Mapping[str, Any]) -> None:
        state = self._state
        state.until_s = state.kill_engine_at_s = None
        if state.adopted and message["expired"]:
            self._sweep()
            return
        state.door_done = True
        state.frozen, state.in_flight = set(message["still"]), set(message["in_flight"])
        if state.frozen:
            self._sweep()

    def _hear_recovery(self, descriptor: int) -> None:
        told = os.read(descriptor, 16)
        os.close(descriptor)
        self._state.recovering = None
        if told:
            self._state.late_status = int(told)

    def _hear_door(self, line: Line) -> None:
        for _request in line.read():
            self._see_door_done()
            line.answer("expired", self._state.late_status)

    def _see_door_done(self) -> None:
        """Thaw for the last time what a door may have frozen; what fails is tried again."""
        state = self._state
        was_open, state.door_done = not state.door_done, True
        if state.adopted and was_open:
            self._sweep()

    def _hear_freezers(self, news: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(news, MOST_NEWS):
                self._state.quiet_since_s = time.monotonic()
                self._tell_engine(b"swept")

    def _lose_freezer(self, place: int) -> None:
        """Take over from a freezer that has ended: whatever it had under way is done now."""
        state = self._state
        if place in state.in_flight:
            state.in_flight.discard(place)
            state.frozen.add(place)
        if state.until_s is None and place in state.frozen:
            self._thaw_ourselves({place})

    # Acting.

    def _act(self) -> None:
        state = self._state
        now = time.monotonic()
        if state.until_s is not None and now >= state.until_s:
            self._expire()
        if state.kill_engine_at_s is not None and now >= state.kill_engine_at_s:
            os.kill(self._engine, signal.SIGKILL)
            self._lose_engine()  # it runs no further, even where it still waits for a disk
        if state.sweep_at_s is not None and now >= state.sweep_at_s:
            self._sweep()

    def _expire(self) -> None:
        self._state.until_s = None
        command = self._state.command
        is_blocked = command is not None and blocked_in(command)
        self._kill_command()
        self._sweep()
        self._tell_engine(b"blocked" if is_blocked else b"expired")
        self._state.kill_engine_at_s = time.monotonic() + _GRACE_S

    def _lose_engine(self) -> None:
        state = self._state
        state.engine_alive = False
        state.until_s = state.kill_engine_at_s = None
        if state.over:
            return
        state.over = True
        state.quiet_since_s = time.monotonic()
        self._kill_command()
        self._sweep()
        state.recovering = self._start_recovery()

    def _start_recovery(self) -> int | None:
        reader, writer = os.pipe()
        try:
            fork_detached(lambda: self._recover(writer), keep={writer, self._guarded.lock})
        except OSError:
            os.close(reader)
            return None  # the next quiesce-guest command does it
        finally:
            os.close(writer)
        return reader

    def _recover(self, writer: int) -> None:
        expose_to_shortage()
        os.write(writer, b"%d" % self._guarded.recover())

    def _kill_command(self) -> None:
        if self._state.command is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._state.command, signal.SIGKILL)

    def _sweep(self) -> None:
        """Have everything thawed, and come again while something is or may be frozen.

        The freezers go first, each for itself: what is stuck holds up no other. What is known to be
        frozen after a second we thaw ourselves: their freezers may have come to harm.
        """
        state = self._state
        state.sweeps += 1
        self._tell_freezers("sweep")
        if state.sweeps > 1:
            self._thaw_ourselves(set(state.frozen))
        busy = state.frozen or state.in_flight or self._waits_for_door()
        state.sweep_at_s = time.monotonic() + _SWEEP_S if busy else None

    def _thaw_ourselves(self, places: set[int]) -> None:
        state = self._state
        for place in sorted(places, reverse=True):
            was_frozen = thawed_or_none(state.mounts[place])
            if was_frozen:
                state.quiet_since_s = time.monotonic()
            if was_frozen is not None and not self._waits_for_door():
                state.frozen.discard(place)

    def _tell_freezers(self, command: str) -> None:
        for one in self._guarded.freezing.freezers:
            one.ask(command)

    def _tell_engine(self, news: bytes) -> None:
        if self._state.engine_alive:
            with contextlib.suppress(OSError):
                self._channel.send(news)
