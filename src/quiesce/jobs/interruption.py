"""Where a signal may end a backup: in its body, never half way through putting things back."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Turns signals into one KeyboardInterrupt, inside the bodies of `allowed` only."""

    def __init__(self) -> None:
        self._is_allowed = False
        self._is_pending = False

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt in the body, also one that came before it."""
        try:
            self._is_allowed = True
            self.raise_pending()
            yield
        finally:
            self._is_allowed = False

    def raise_pending(self) -> None:
        """Raise KeyboardInterrupt where a signal came while none was allowed."""
        if self._is_pending:
            self._is_allowed = self._is_pending = False
            raise KeyboardInterrupt

    def receive(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        self._is_pending = True
        if self._is_allowed:
            self.raise_pending()


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle SIGINT, SIGTERM and SIGHUP for the body; outside the main thread nothing changes.

    A signal that came too late to end anything raises KeyboardInterrupt on leaving.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before: list[tuple[signal.Signals, Any]] = []
    try:
        before.extend((number, signal.signal(number, interruption.receive)) for number in _SIGNALS)
        yield interruption
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        interruption.raise_pending()
