"""The signals that end a session, as something to wait for."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptError(BaseException):
    """A signal asked us to end, where waiting for what is under way would take too long."""


class Signals:
    """What has come since the session began; readable when something is new."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._raising = False
        self.interrupted = False

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Raise InterruptError out of the context where somebody asks us to end, or has."""
        self._raising = True
        try:
            if self.interrupted:
                raise InterruptError
            yield
        finally:
            self._raising = False

    def fileno(self) -> int:
        """Return the descriptor that is readable when a signal has come."""
        return self._reader

    def drain(self) -> None:
        """Take note of what has come, so that waiting waits for the next one."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 64):
                pass

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Remember that somebody asked us to end (a signal handler)."""
        self.interrupted = True
        if self._raising:
            self._raising = False
            raise InterruptError


@contextlib.contextmanager
def noticed() -> Iterator[Signals]:
    """Turn signals into news for as long as the context lasts; none of them ends us."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signals = Signals(reader)
    before = {number: signal.signal(number, signals.note) for number in INTERRUPTING}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
