"""A moment after which waiting is wrong."""

from __future__ import annotations

import time

from quiesce.values import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock; it is passed down, so that nested waits share it."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now."""
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        """Return the seconds left, never less than zero."""
        return max(0.0, self.at_s - time.monotonic())

    def passed(self) -> bool:
        """Return whether the moment has come."""
        return time.monotonic() >= self.at_s

    def sooner(self, seconds: float) -> Deadline:
        """Return whichever comes first: this deadline, or *seconds* from now."""
        return Deadline(min(self.at_s, time.monotonic() + seconds))
