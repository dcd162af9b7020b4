"""The time in which something is at rest, and what ends it."""

from __future__ import annotations

import math
import select
import time
from enum import Enum
from typing import TYPE_CHECKING

from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.guest.processes.signals import Signals
    from quiesce.guest.window.watchdog import Watchdog


_WATCHDOG_FIRST_S = 0.25


class Ending(Enum):
    """Why waiting inside the window is over."""

    READY = "what was waited for may have come"
    EXPIRED = "the deadline has passed, or the watchdog has ended the window"
    INTERRUPTED = "a signal asked us to end"


@dataclass(frozen=False)
class Window:
    """An open window; *until_s* is its deadline on the monotonic clock.

    *blocked*: at the deadline the snapshot command was waiting for a frozen file system.

    Where nothing is held and nothing is frozen there is neither watchdog nor deadline.
    """

    signals: Signals
    until_s: float = math.inf
    watchdog: Watchdog | None = None
    blocked: bool = False

    def wait(self, *descriptors: int) -> Ending:
        """Wait until one of *descriptors* is readable, a signal has come, or the window ends."""
        poll = select.poll()
        for descriptor in (*descriptors, self.signals.fileno()):
            poll.register(descriptor, select.POLLIN)
        if self.watchdog is not None:
            poll.register(self.watchdog.channel, select.POLLIN)
        poll.poll(self._milliseconds())
        self.signals.drain()
        if self.has_expired():
            return Ending.EXPIRED
        return Ending.INTERRUPTED if self.signals.interrupted else Ending.READY

    def has_expired(self) -> bool:
        """Return whether the window is over: by its deadline, or because the watchdog says so."""
        news = None if self.watchdog is None else self.watchdog.news()
        self.blocked = self.blocked or news == "blocked"
        return news is not None or time.monotonic() >= self.until_s

    def _milliseconds(self) -> float | None:
        """Leave the deadline to a live watchdog: it looks at the command before it kills it."""
        if math.isinf(self.until_s):
            return None
        until_s = self.until_s + (0.0 if self.watchdog is None else _WATCHDOG_FIRST_S)
        return max(0.0, until_s - time.monotonic()) * 1000 + 1
