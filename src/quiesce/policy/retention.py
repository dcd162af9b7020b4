"""Which recovery points to keep: arithmetic on their times, no clock."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

# The witnesses of a point's time may differ by so much; a copy may take as long as it likes.
TOLERANCE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeepRules:
    """How many points of a machine to keep: the newest of each of the last so many hours and so on.

    Hours and days are those of the points' zone. Only hours, days and so on with a point count.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    @property
    def none(self) -> bool:
        """Whether there is no rule, so that nothing is ever forgotten."""
        return all(getattr(self, each.name) == 0 for each in fields(self))


@dataclass(frozen=True, slots=True)
class DatedPoint:
    """A live point as retention sees it: *taken_at* is what it says of itself.

    *stored_between* is what the store says: when its session began and when it was committed, None
    where the store no longer knows. *always* says why it is kept whatever the rules say, if it is.
    All times have a zone, the one in which days are counted.
    """

    id: str
    taken_at: datetime
    stored_between: tuple[datetime, datetime] | None
    always: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What becomes of each point by its id: why it is kept, what is forgotten, what is unclear.

    What is unclear has two witnesses of its time that contradict each other; it is kept.
    """

    keep: Mapping[str, tuple[str, ...]]
    forget: tuple[str, ...]
    unclear: Mapping[str, str]


def plan_retention(points: Sequence[DatedPoint], rules: KeepRules) -> RetentionPlan:
    """Return what becomes of *points*, the live ones of one machine.

    The newest is always kept, and without rules all are. A point of unclear time is kept and takes
    no other's place.
    """
    unclear = {point.id: why for point in points if (why := _contradiction(point)) is not None}
    dated = sorted(
        (point for point in points if point.id not in unclear),
        key=lambda point: (point.taken_at, point.id),
        reverse=True,
    )
    reasons: dict[str, list[str]] = {point.id: [] for point in dated}
    for point in dated[:1]:
        reasons[point.id].append("newest")
    for point in dated:
        if point.always is not None:
            reasons[point.id].append(point.always)
        if rules.none:
            reasons[point.id].append("no rules")
    for name, bucket in _BUCKETS.items():
        _keep_newest(dated, getattr(rules, name), bucket, name, reasons)
    return RetentionPlan(
        {point: tuple(why) for point, why in reasons.items() if why},
        tuple(point for point, why in reasons.items() if not why),
        unclear,
    )


def is_refused(forgotten: int, live: int, limit_percent: int) -> bool:
    """Return whether one run may not forget *forgotten* of *live* points: more than the limit.

    One or two points may always go.
    """
    return forgotten > 2 and forgotten * 100 > live * limit_percent


def _keep_newest(
    newest_first: Sequence[DatedPoint],
    many: int,
    bucket: Callable[[DatedPoint], object],
    name: str,
    reasons: Mapping[str, list[str]],
) -> None:
    seen: set[object] = set()
    for point in newest_first:
        if len(seen) == many:
            return
        if bucket(point) not in seen:
            seen.add(bucket(point))
            reasons[point.id].append(name)


_BUCKETS: Final[Mapping[str, Callable[[DatedPoint], object]]] = {
    "last": lambda point: point.id,
    "hourly": lambda point: (
        point.taken_at.date(),
        point.taken_at.hour,
        point.taken_at.utcoffset(),
    ),
    "daily": lambda point: point.taken_at.date(),
    "weekly": lambda point: point.taken_at.isocalendar()[:2],
    "monthly": lambda point: (point.taken_at.year, point.taken_at.month),
    "yearly": lambda point: point.taken_at.year,
}


def _contradiction(point: DatedPoint) -> str | None:
    if point.stored_between is None:
        return "the store does not know when it was stored"
    began, ended = point.stored_between
    if point.taken_at < began - TOLERANCE:
        return f"it says {point.taken_at.isoformat()}, the store says later: {began.isoformat()}"
    if point.taken_at > ended + TOLERANCE:
        return f"it says {point.taken_at.isoformat()}, the store says earlier: {ended.isoformat()}"
    return None
