"""What may be claimed of a snapshot, and how a run ended."""

from __future__ import annotations

from enum import Enum


class _Ordered(Enum):
    """Members compare by the order in which they are declared."""

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)


class ConsistencyLevel(_Ordered):
    """From nothing to the most that can be claimed; a claim needs evidence."""

    NONE = "none"
    CRASH = "crash"
    FILESYSTEM = "filesystem"
    APPLICATION = "application"


class Outcome(_Ordered):
    """How a run ended, from best to worst."""

    COMPLETE = "complete"
    DEGRADED = "degraded"
    ABORTED = "aborted"
    FAILED = "failed"


def lowest(*levels: ConsistencyLevel) -> ConsistencyLevel:
    """Return the lowest of *levels*: several statements, all of them true."""
    return min(levels, key=lambda level: level.rank)


def strictest(*outcomes: Outcome) -> Outcome:
    """Return the worst of *outcomes*."""
    return max(outcomes, key=lambda outcome: outcome.rank)
