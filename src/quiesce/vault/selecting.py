"""Find the point that a person means (pure but for the local zone)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import entry as entries
from quiesce.vault.log import PointState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.model.point import PointSummary
    from quiesce.vault.format.sealing import DomainKeys
    from quiesce.vault.log import KeptPoint

_MIN_PREFIX: Final = 8
_ID_LENGTH: Final = 26


def summary_of(kept: KeptPoint, keys: DomainKeys) -> PointSummary | None:
    """Return what is told of *kept*, None where its log entry has no readable summary."""
    try:
        point = entries.point_of(kept.snapshot, kept.state.value, keys)
        _moment(point.created_at)
    except ValueError:
        return None
    return point


def select(points: Sequence[PointSummary], selector: str) -> PointSummary:
    """Return the one of *points* that *selector* names; see `Vault.find`.

    *points* are those of the machine where *selector* names one, in the order of the log. A
    forgotten point is found by its id alone.
    """
    machine, at, when = selector.rpartition("@")
    if not at:
        return _by_id(points, selector)
    points = [point for point in points if point.state == PointState.LIVE.value]
    if when == "latest":
        found = list(points)
    else:
        limit = _limit(when)
        found = [point for point in points if _moment(point.created_at) <= limit]
        found.sort(key=lambda point: _moment(point.created_at))
    if not found:
        raise QuiesceError(
            "PointNotFound",
            f"there is no point {selector}",
            action=f"list them: quiesce points {machine}",
        )
    return found[-1]


def _by_id(points: Sequence[PointSummary], selector: str) -> PointSummary:
    prefix = selector.upper()
    found = [point for point in points if point.id.startswith(prefix)]
    if not _MIN_PREFIX <= len(prefix) <= _ID_LENGTH or not found:
        raise QuiesceError("PointNotFound", f"there is no point {selector}")
    if len(found) > 1:
        raise QuiesceError("PointAmbiguous", f"{len(found)} points begin with {selector}")
    return found[0]


def _limit(when: str) -> datetime:
    try:
        return _moment(when)
    except ValueError as exc:
        raise QuiesceError(
            "PointNotFound",
            f"{when} is no time",
            action="give MACHINE@latest, or a time such as MACHINE@2026-11-23T10:00",
        ) from exc


def _moment(text: str) -> datetime:
    # Without a zone it is local time, as everywhere else that people write times.
    return datetime.fromisoformat(text).astimezone()
