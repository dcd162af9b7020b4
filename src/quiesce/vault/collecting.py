"""Collection in one domain: what is to go, decided on its log; then the dead are deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.policy.retention import DatedPoint, KeepRules, RetentionPlan, plan_retention
from quiesce.vault import mending, repacking, selecting
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.log import PointState, SessionState
from quiesce.vault.repacking import Repacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quiesce.model.point import PointSummary
    from quiesce.ports import PrunableStore, StoredBlob
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import LogState

ABANDONED: Final = timedelta(hours=48)
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack as the store lists it."""

    pack: PackName
    blob: StoredBlob


@dataclass(frozen=True, slots=True)
class Survey:
    """What the store had in a domain before its log was folded.

    *entry_times* are the store's times of the entries by number.
    """

    packs: tuple[StoredPack, ...]
    entry_times: Mapping[int, datetime]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a prune goes by: the rules, how long a forgotten point can be recalled, and now."""

    rules: KeepRules
    undelete: timedelta
    now: datetime


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """What a prune would do in a domain, and why.

    *retention* is by machine. *purge* are forgotten points with the entry that forgot them.
    *dead* is what could be deleted now; more is after the plan is done.
    """

    retention: Mapping[str, RetentionPlan]
    forget: tuple[PointSummary, ...]
    purge: Mapping[str, int]
    abort: tuple[str, ...]
    dead: tuple[StoredPack, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a prune did in the domain *name*.

    *deleted* packs had *freed_bytes*. Packs of *unknown* sessions are never deleted. *mended*
    are packs that were damaged and are replaced. *left* says why mostly dead or damaged packs were
    left as they are, if that is so.
    """

    name: str
    plan: DomainPlan
    forgotten: tuple[PointSummary, ...]
    purged: tuple[str, ...]
    aborted: tuple[str, ...]
    deleted: int
    freed_bytes: int
    unknown: tuple[StoredPack, ...]
    mended: Repacked
    repacked: Repacked
    left: str | None


def survey(store: PrunableStore, domain: str) -> Survey:
    """List what the store has in *domain*; to be called before the log is folded."""
    prefix = f"{names.DOMAINS_PREFIX}{domain}/packs/"
    listed = ((_pack_named(blob.name[len(prefix) :]), blob) for blob in store.blobs(prefix))
    packs = [StoredPack(pack, blob) for pack, blob in listed if pack is not None]
    log = names.log_prefix(domain)
    times = {}
    for blob in store.blobs(log):
        number = blob.name[len(log) :]
        if number.isascii() and number.isdecimal():
            times[int(number)] = datetime.fromtimestamp(blob.stored_at_s, UTC)
    return Survey(tuple(packs), times)


def plan_domain(domain: Domain, found: Survey, terms: Terms) -> DomainPlan:
    """Return what a prune would do in *domain*, with the reasons; it does nothing."""
    state = domain.refresh()
    by_machine: dict[str, list[DatedPoint]] = {}
    summaries = {}
    for dated, summary in _dated(domain, found, terms.now):
        by_machine.setdefault(summary.machine, []).append(dated)
        summaries[dated.id] = summary
    retention = {
        machine: plan_retention(points, terms.rules) for machine, points in by_machine.items()
    }
    forget = [summaries[sid] for plan in retention.values() for sid in plan.forget]
    return DomainPlan(
        retention,
        tuple(forget),
        _to_purge(state, found, terms),
        _to_abort(state, found, terms.now),
        tuple(each for each in found.packs if state.is_dead(each.pack)),
    )


def apply_plan(store: PrunableStore, domain: Domain, found: Survey, plan: DomainPlan) -> Collected:
    """Do what *plan* says as far as it is still right, then delete the dead among *found*.

    Where points were purged, packs that became mostly dead by that are emptied too; damaged packs
    of which nothing is lost are replaced.
    Doing it twice, or at once with others, is harmless; where this raises, what was done so far is
    as good as any prune. Raises what the store raises.
    """
    for point in plan.forget:
        domain.append(partial(_forget_on, point.id))
    for sid, forgotten_by in plan.purge.items():
        domain.append(partial(_purge_on, sid, forgotten_by))
    for sid in plan.abort:
        domain.append(partial(_abort_on, sid))
    deleted = _delete_dead(store, domain, found.packs)
    mended, left = _or_left(partial(mending.mend, store, domain))
    repacked = Repacked()
    if plan.purge:
        sizes = {each.pack: each.blob.size_bytes for each in found.packs}
        repacked, left = _or_left(partial(repacking.repack, store, domain, sizes))
    if mended.packs or repacked.packs:
        deleted += _delete_dead(store, domain, set(found.packs).difference(deleted))
    state = domain.state
    return Collected(
        name=domain.name,
        plan=plan,
        forgotten=tuple(point for point in plan.forget if _is_forgotten(state, point.id)),
        purged=tuple(sid for sid in plan.purge if sid not in state.points),
        aborted=tuple(sid for sid in plan.abort if state.session(sid) is SessionState.ABORTED),
        deleted=len(deleted),
        freed_bytes=sum(each.blob.size_bytes for each in deleted),
        unknown=tuple(
            each for each in found.packs if state.session(each.pack.sid) is SessionState.UNKNOWN
        ),
        mended=mended,
        repacked=repacked,
        left=left,
    )


def _delete_dead(
    store: PrunableStore, domain: Domain, packs: Iterable[StoredPack]
) -> list[StoredPack]:
    # Folded after it was listed: what is dead now can never be used again, whatever comes.
    state = domain.refresh()
    dead = [each for each in packs if state.is_dead(each.pack)]
    for start in range(0, len(dead), _BATCH):
        store.delete([each.blob.name for each in dead[start : start + _BATCH]])
    return dead


def _or_left(repack: Callable[[], Repacked]) -> tuple[Repacked, str | None]:
    try:
        return repack(), None
    except QuiesceError as exc:
        # What is dead already can go all the same.
        if exc.name not in {"VaultDamaged", "VaultFull", "SessionLost"}:
            raise
        return Repacked(), exc.message


def _pack_named(text: str) -> PackName | None:
    try:
        return names.parse_pack(text)
    except ValueError:
        return None  # Not a pack; nothing of ours is called so.


def _dated(
    domain: Domain, found: Survey, now: datetime
) -> Iterable[tuple[DatedPoint, PointSummary]]:
    state = domain.state
    proven = [sid for sid, kept in state.points.items() if kept.proofs]
    for kept in domain.points():
        sid, summary = kept.snapshot.sid, selecting.summary_of(kept, domain.keys)
        if kept.state is not PointState.LIVE or summary is None:
            continue
        began = found.entry_times.get(state.opened_at[sid])
        ended = found.entry_times.get(kept.number)
        between = None
        if began is not None and ended is not None:
            between = began.astimezone(now.tzinfo), ended.astimezone(now.tzinfo)
        always = "held" if state.is_held(sid) else None
        if always is None and sid in proven[-1:]:
            always = "newest proven"
        taken_at = datetime.fromisoformat(summary.created_at).astimezone(now.tzinfo)
        yield DatedPoint(sid, taken_at, between, always), summary


def _to_purge(state: LogState, found: Survey, terms: Terms) -> dict[str, int]:
    return {
        sid: kept.changed
        for sid, kept in state.points.items()
        if kept.state is PointState.FORGOTTEN
        and _may_purge(state, sid)
        and (forgotten_at := found.entry_times.get(kept.changed)) is not None
        and forgotten_at <= terms.now - terms.undelete
    }


def _may_purge(state: LogState, sid: str) -> bool:
    # A session that goes on from the point would have to read again what it shares with it.
    return not state.is_held(sid) and sid not in state.bases()


def _to_abort(state: LogState, found: Survey, now: datetime) -> tuple[str, ...]:
    last: dict[str, datetime] = {}
    for each in found.packs:
        at = datetime.fromtimestamp(each.blob.stored_at_s, UTC)
        owner = state.owner(each.pack.sid)
        last[owner] = max(at, last.get(owner, at))
    abandoned = []
    for opened in state.open_sessions():
        opened_at = found.entry_times.get(state.opened_at[opened.sid])
        if opened_at is not None:
            seen = max(opened_at, last.get(opened.sid, opened_at))
            if seen <= now - ABANDONED:
                abandoned.append(opened.sid)
    return tuple(abandoned)


def _is_forgotten(state: LogState, sid: str) -> bool:
    kept = state.points.get(sid)
    return kept is None or kept.state is PointState.FORGOTTEN


def _forget_on(sid: str, state: LogState) -> entries.Forget | None:
    return None if _is_forgotten(state, sid) or state.is_held(sid) else entries.Forget(sid)


def _purge_on(sid: str, forgotten_by: int, state: LogState) -> entries.Purge | None:
    kept = state.points.get(sid)
    # Who was recalled and forgotten again begins its time anew.
    if kept is None or kept.changed != forgotten_by or not _may_purge(state, sid):
        return None
    return entries.Purge(sid)


def _abort_on(sid: str, state: LogState) -> entries.Abort | None:
    return entries.Abort(sid) if state.session(sid) is SessionState.OPEN else None
