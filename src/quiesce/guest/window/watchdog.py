"""End the window when the engine does not: a process of its own that thaws what is overdue.

It is ready before anything is at rest (`watch.py` is what runs in it). It learns from the engine
when the window is open and until when, and what is frozen.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.processes.spawn import fork_detached
from quiesce.guest.window.watch import MOST_BYTES, MOST_DESCRIPTORS, Guarded, WatchdogProcess
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.system.deadline import Deadline


@dataclass(frozen=True)
class Watchdog:
    """The engine's end of the watchdog; every method raises OSError where it is dead."""

    pid: int
    channel: socket.socket

    def open_window(
        self, until_s: float, descriptors: Mapping[int, int], command: int | None
    ) -> None:
        """Guard from now until *until_s* (monotonic) the mounts of *descriptors*, by place.

        *command* is the process group of the snapshot command. None of the mounts counts as ours
        before `claim` or `adopt`.
        """
        places = sorted(descriptors)
        for start in range(0, len(places), MOST_DESCRIPTORS):
            part = places[start : start + MOST_DESCRIPTORS]
            message = json.dumps({"do": "guard", "places": part}).encode()
            socket.send_fds(self.channel, [message], [descriptors[place] for place in part])
        self._send({"do": "open", "until": until_s, "command": command})

    def claim(self, place: int, state: str) -> None:
        """Say how far freezing the mount at *place* is (see `Freezing.freeze`)."""
        self._send({"do": state, "place": place})

    def adopt(self) -> None:
        """Say that a door freezes all the mounts, and that they are ours to thaw when overdue."""
        self._send({"do": "adopt"})

    def close_window(
        self, *, still_frozen: Sequence[int], in_flight: Sequence[int], expired: bool
    ) -> None:
        """Say that the window is over.

        *still_frozen* could not be thawed and is tried again; the freezes *in_flight* may still
        come. Adopted mounts of an *expired* window are swept until `end`: the door may be late.
        """
        places = {"still": list(still_frozen), "in_flight": list(in_flight)}
        self._send({"do": "close", "expired": expired, **places})

    def end(self) -> None:
        """Say that everything is released and reported."""
        with contextlib.suppress(OSError):
            self._send({"do": "end"})

    def news(self) -> str | None:
        """Return what it has said: expired, blocked, swept or dead; None where nothing.

        blocked is expired with a snapshot command that waited for a frozen file system.
        """
        try:
            data = self.channel.recv(MOST_BYTES, socket.MSG_DONTWAIT)
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
    keep = {its.fileno(), guarded.lock, guarded.freezing.news}
    keep.update(freezer.channel.fileno() for freezer in guarded.freezing.freezers)
    if guarded.line is not None:
        keep.update((guarded.line.requests, guarded.line.answers))
    try:
        engine = os.getpid()
        pid = fork_detached(lambda: WatchdogProcess(guarded, its, engine).run(), keep=keep)
        its.close()
        ours.settimeout(max(deadline.left_s(), 1e-3))
        if ours.recv(MOST_BYTES) != b"ready":
            raise QuiesceError("GuardUnavailable", "the watchdog process died before it was ready")
        ours.settimeout(None)
    except OSError as exc:
        raise QuiesceError("GuardUnavailable", "no watchdog process: {reason}", reason=exc) from exc
    return Watchdog(pid, ours)
