"""Decisions of people about one point: forget it, recall it, hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import entry as entries
from quiesce.vault.log import PointState

if TYPE_CHECKING:
    from quiesce.vault.domain import Domain
    from quiesce.vault.log import KeptPoint, LogState


def forget(domain: Domain, sid: str) -> None:
    """Forget the point *sid*; nothing where it is forgotten.

    Raises QuiesceError PointNotFound, PointHeld.
    """

    def body_on(state: LogState) -> entries.Forget | None:
        if _kept(state, sid).state is PointState.FORGOTTEN:
            return None
        if state.is_held(sid):
            raise QuiesceError("PointHeld", f"the point {sid} is held")
        return entries.Forget(sid)

    domain.append(body_on)


def recall(domain: Domain, sid: str) -> None:
    """Recall the point *sid*; nothing where it is live. Raises QuiesceError PointNotFound."""

    def body_on(state: LogState) -> entries.Recall | None:
        return None if _kept(state, sid).state is PointState.LIVE else entries.Recall(sid)

    domain.append(body_on)


def hold(domain: Domain, sid: str, *, hold_id: str, legal: bool) -> None:
    """Hold the point *sid* under the new id *hold_id*. Raises QuiesceError PointNotFound."""

    def body_on(state: LogState) -> entries.Hold | None:
        if hold_id in state.holds:
            return None
        _kept(state, sid)
        return entries.Hold(hold_id, sid, legal)

    domain.append(body_on)


def unhold(domain: Domain, sid: str, *, legal: bool) -> tuple[str, ...]:
    """End the holds of the point *sid*, with *legal* the legal ones too; return their ids.

    Raises QuiesceError PointNotFound, PointHeld where all that hold it are legal ones and those
    were not meant.
    """
    _kept(domain.refresh(), sid)
    holding = [each for each in domain.state.holds.values() if each.sid == sid]
    ending = [each.hold for each in holding if legal or not each.legal]
    if holding and not ending:
        raise QuiesceError(
            "PointHeld", f"the point {sid} has a legal hold", action="if it ends: --legal"
        )
    for hold_id in ending:
        _unhold(domain, hold_id)
    return tuple(ending)


def _unhold(domain: Domain, hold_id: str) -> None:
    domain.append(lambda state: entries.Unhold(hold_id) if hold_id in state.holds else None)


def _kept(state: LogState, sid: str) -> KeptPoint:
    kept = state.points.get(sid)
    if kept is None:
        raise QuiesceError("PointNotFound", f"there is no point {sid}")
    return kept
