"""End the window when the engine does not: a process of its own that thaws what is overdue.

It is ready before anything is at rest: memory locked, descriptors in hand, nothing left to load.
It learns from the engine when the window is open and until when. At the deadline, or at once when
the engine dies in any way, it kills the snapshot command, thaws what this session froze or
adopted, and sees to it that the application is released: by the engine, or, where that is dead or
does not move, by a process that takes the engine's place. It goes on thawing every second until
no freeze is in flight and, where a door freezes, until the door's thaw has come or nothing has
needed a thaw for a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest import cgroup
from quiesce.guest.freezer import thawed_or_none
from quiesce.guest.resident import expose_to_shortage, spare_from_shortage, stay_resident
from quiesce.guest.spawn import fork_detached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quiesce.guest.freezer import Freezer
    from quiesce.guest.line import Line
    from quiesce.system.deadline import Deadline

_BYTES = 8192
_MOST_DESCRIPTORS = 200
_SWEEP_S = 1.0
_GRACE_S = 5.0
_QUIET_S = 60.0


@dataclass(frozen=True)
class Guarded:
    """What a watchdog is given at its start.

    *recover* takes the place of a dead engine outside the window: releases what it held, writes
    its report, and returns the exit status that a late thaw is answered with. *line* is None
    where nobody but the engine ends the window.
    """

    session: str
    freezers: Sequence[Freezer]
    line: Line | None
    lock: int
    recover: Callable[[], int]


@dataclass(frozen=True)
class Watchdog:
    """The engine's end of the watchdog; every method raises OSError where it is dead."""

    pid: int
    channel: socket.socket

    def open_window(self, until_s: float, descriptors: Sequence[int], command: int | None) -> None:
        """Guard from now until *until_s* (monotonic) the mounts of *descriptors*.

        *command* is the process group of the snapshot command. None of the mounts counts as ours
        before `may_be_frozen` or `adopt`.
        """
        for start in range(0, len(descriptors), _MOST_DESCRIPTORS):
            part = descriptors[start : start + _MOST_DESCRIPTORS]
            socket.send_fds(self.channel, [b'{"do": "guard"}'], list(part))
        self._send({"do": "open", "until": until_s, "command": command})

    def may_be_frozen(self, index: int, ours: bool) -> None:  # noqa: FBT001 - a claim of `Freezing`
        """Say, before freezing, that mount *index* is ours to thaw; or that it is not after all."""
        self._send({"do": "mine" if ours else "not-mine", "index": index})

    def adopt(self) -> None:
        """Say that a door freezes all the mounts, and that they are ours to thaw when overdue."""
        self._send({"do": "adopt"})

    def close_window(self, still_frozen: Sequence[int] = (), *, expired: bool = False) -> None:
        """Say that the window is over; *still_frozen* could not be thawed and is tried again.

        Adopted mounts of an *expired* window are swept until `end`: the door may freeze late.
        """
        self._send({"do": "close", "still": list(still_frozen), "expired": expired})

    def end(self) -> None:
        """Say that everything is released and reported."""
        with contextlib.suppress(OSError):
            self._send({"do": "end"})

    def news(self) -> str | None:
        """Return what it has said: expired, swept, or dead; None where it has said nothing."""
        try:
            data = self.channel.recv(_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return "dead"
        return data.decode() or "dead"

    def _send(self, message: Mapping[str, Any]) -> None:
        self.channel.send(json.dumps(message).encode())


def start(guarded: Guarded, *, deadline: Deadline) -> Watchdog:
    """Start the watchdog and wait until it is ready.

    Raises QuiesceError GuardUnavailable where it does not get ready by *deadline*; nothing of it
    is left then.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keep = {its.fileno(), guarded.lock}
    keep.update(freezer.channel.fileno() for freezer in guarded.freezers)
    if guarded.line is not None:
        keep.update((guarded.line.requests, guarded.line.answers))
    try:
        engine = os.getpid()
        pid = fork_detached(lambda: _WatchdogProcess(guarded, its, engine).run(), keep=keep)
        its.close()
        ours.settimeout(max(deadline.left_s(), 1e-3))
        if ours.recv(_BYTES) != b"ready":
            raise QuiesceError("GuardUnavailable", "the watchdog process died before it was ready")
        ours.settimeout(None)
    except OSError as exc:
        raise QuiesceError("GuardUnavailable", f"no watchdog process: {exc}") from exc
    return Watchdog(pid, ours)


@dataclass
class _State:
    """What the watchdog process knows."""

    until_s: float | None = None
    command: int | None = None
    mounts: list[int] = field(default_factory=list)
    ours: set[int] = field(default_factory=set)
    adopted: bool = False
    engine_alive: bool = True
    over: bool = False
    kill_engine_at_s: float | None = None
    sweep_at_s: float | None = None
    quiet_since_s: float = 0.0
    door_done: bool = False
    recovering: int | None = None
    late_status: int = int(ExitStatus.DEGRADED)


class _WatchdogProcess:
    """What runs in the watchdog process."""

    def __init__(self, guarded: Guarded, channel: socket.socket, engine: int) -> None:
        self._guarded = guarded
        self._channel = channel
        self._engine = engine
        self._state = _State()
        self._freezing = {freezer.channel.fileno() for freezer in guarded.freezers}

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        cgroup.leave(f"quiesce-watchdog-{self._guarded.session}")
        spare_from_shortage()
        stay_resident()
        self._channel.send(b"ready")
        while not self._is_done():
            self._wait()
            self._act()
        if not self._state.engine_alive and self._guarded.line is not None:
            self._guarded.line.close()

    def _is_done(self) -> bool:
        state = self._state
        if not state.over or self._freezing or state.recovering is not None:
            return False
        if self._waits_for_door():
            return time.monotonic() - state.quiet_since_s > _QUIET_S
        return not state.ours

    def _waits_for_door(self) -> bool:
        state = self._state
        return state.adopted and not state.door_done

    # Waiting and hearing.

    def _wait(self) -> None:
        poll = select.poll()
        if self._state.engine_alive:
            poll.register(self._channel, select.POLLIN)
        elif self._state.recovering is not None:
            poll.register(self._state.recovering, select.POLLIN)
        elif self._guarded.line is not None:
            poll.register(self._guarded.line.requests, select.POLLIN)
        for descriptor in self._freezing:
            poll.register(descriptor, 0)
        for descriptor, _events in poll.poll(self._milliseconds()):
            self._notice(descriptor)

    def _milliseconds(self) -> float | None:
        state = self._state
        moments = [state.until_s, state.kill_engine_at_s, state.sweep_at_s]
        due = [moment for moment in moments if moment is not None]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _notice(self, descriptor: int) -> None:
        if descriptor in self._freezing:
            self._freezing.discard(descriptor)
            if self._state.until_s is None:
                self._sweep()
        elif descriptor == self._channel.fileno():
            self._hear_engine()
        elif descriptor == self._state.recovering:
            self._hear_recovery(descriptor)
        elif self._guarded.line is not None:
            self._hear_door(self._guarded.line)

    def _hear_engine(self) -> None:
        try:
            data, descriptors, _flags, _address = socket.recv_fds(
                self._channel, _BYTES, _MOST_DESCRIPTORS
            )
        except OSError:
            data = b""
        if not data:
            self._lose_engine()
            return
        message = json.loads(data)
        self._state.mounts += descriptors
        self._obey(message["do"], message)

    def _obey(self, order: str, message: Mapping[str, Any]) -> None:
        state = self._state
        if order == "open":
            state.until_s, state.command = message["until"], message["command"]
        elif order == "mine":
            state.ours.add(message["index"])
        elif order == "not-mine":
            state.ours.discard(message["index"])
        elif order == "adopt":
            state.adopted = True
            state.ours = set(range(len(state.mounts)))
            state.quiet_since_s = time.monotonic()
        elif order == "close":
            self._close(set(message["still"]), expired=message["expired"])
        elif order == "end":
            state.over, state.door_done = True, True
            self._sweep()

    def _close(self, still: set[int], *, expired: bool) -> None:
        state = self._state
        state.until_s = state.kill_engine_at_s = None
        if not (state.adopted and expired):
            state.ours = still
            state.door_done = True
        self._sweep()

    def _hear_recovery(self, descriptor: int) -> None:
        told = os.read(descriptor, 16)
        os.close(descriptor)
        self._state.recovering = None
        if told:
            self._state.late_status = int(told)

    def _hear_door(self, line: Line) -> None:
        for _request in line.read():
            self._state.door_done = True
            line.answer("expired", self._state.late_status)

    # Acting.

    def _act(self) -> None:
        state = self._state
        now = time.monotonic()
        if state.until_s is not None and now >= state.until_s:
            self._expire()
        if state.kill_engine_at_s is not None and now >= state.kill_engine_at_s:
            state.kill_engine_at_s = None
            os.kill(self._engine, signal.SIGKILL)
        if state.sweep_at_s is not None and now >= state.sweep_at_s:
            self._sweep()

    def _expire(self) -> None:
        self._state.until_s = None
        self._kill_command()
        self._sweep()
        self._tell_engine(b"expired")
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
        for freezer in self._guarded.freezers:
            freezer.leave(thawed=False)
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
        """Thaw what is ours, and go on while it may be frozen again."""
        state = self._state
        failed = set()
        for index in sorted(state.ours, reverse=True):
            was_frozen = thawed_or_none(state.mounts[index])
            if was_frozen is None:
                failed.add(index)
            elif was_frozen:
                state.quiet_since_s = time.monotonic()
                self._tell_engine(b"swept")
        if not self._freezing and not self._waits_for_door():
            state.ours = failed
        state.sweep_at_s = time.monotonic() + _SWEEP_S if state.ours else None

    def _tell_engine(self, news: bytes) -> None:
        if self._state.engine_alive:
            with contextlib.suppress(OSError):
                self._channel.send(news)
