"""Every schedule of small worlds: with the real code nothing is lost, with known mistakes it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import explorer
from explorer import (
    Exhaustive,
    ViolationError,
    collect,
    collect_stale,
    explore_all,
    interrupted,
    mostly_dead,
    prepared,
    prune,
    prune_greedily,
    purge_oldest,
    read,
    repack,
    write,
    write_again,
    write_early,
)
from quiesce.vault import collecting, opening, repacking
from quiesce.vault import session as sessions
from quiesce.vault.domain import Domain
from quiesce.vault.format import entry as entries
from quiesce.vault.lists import PackLists
from quiesce.vault.log import LogState, PointState, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from explorer import Body, World
    from quiesce.vault.format.entry import Snapshot
    from quiesce.vault.format.names import PackName

pytestmark = pytest.mark.faults

SMALL: dict[str, tuple[Callable[[], World], list[Body]]] = {
    "two writers": (prepared, [write, write]),
    "two writers, one to adopt": (interrupted, [write, write]),
    "a writer and a prune": (prepared, [write, prune]),
    "a writer and a greedy prune": (interrupted, [write, prune_greedily]),
    "a writer and a collector": (interrupted, [write, collect]),
    "a writer and a collector with a stale fold": (interrupted, [collect_stale, write]),
    "a writer and a purge of its base": (mostly_dead, [write, purge_oldest, collect]),
    "a writer and a repack": (mostly_dead, [write, repack]),
    "a writer that knows more, a purge and a repack": (
        prepared,
        [write_again, purge_oldest, repack],
    ),
    "a writer that uploads early and a collector": (prepared, [collect_stale, write_early]),
    "two repacks": (mostly_dead, [repack, repack]),
    "a reader and a greedy prune": (prepared, [read, prune_greedily]),
    "a reader and a repack": (mostly_dead, [read, repack]),
}
ONE_FAULT = ["a writer and a repack", "a writer and a greedy prune", "two writers, one to adopt"]


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer.without_threads(monkeypatch)


def rude(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what only saves work: bases of open sessions are purged and repacked too."""
    monkeypatch.setattr(collecting, "_may_purge", lambda state, sid: not state.is_held(sid))
    monkeypatch.setattr(repacking, "_packs_of_bases", lambda state: set())


@pytest.mark.parametrize("is_rude", [False, True], ids=["polite", "rude"])
@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_with_two_preemptions_is_safe(
    name: str, is_rude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_rude:
        rude(monkeypatch)
    start, bodies = SMALL[name]
    schedules = explore_all(start(), bodies, Exhaustive(preemptions=2, faults=0), 220)

    assert schedules >= 25


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("is_rude", [False, True], ids=["polite", "rude"])
@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_with_three_preemptions_is_safe(
    name: str, is_rude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_rude:
        rude(monkeypatch)
    start, bodies = SMALL[name]
    explore_all(start(), bodies, Exhaustive(preemptions=3, faults=0), 100_000)


@pytest.mark.parametrize("name", ONE_FAULT)
def test_every_schedule_with_one_fault_is_safe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rude(monkeypatch)
    start, bodies = SMALL[name]
    schedules = explore_all(start(), bodies, Exhaustive(preemptions=0, faults=1), 700)

    assert schedules >= 40


# --- a repacker that leaves everything to the fold ---------------------------------------------


def lazy_repacker(monkeypatch: pytest.MonkeyPatch, *, late_choice: bool) -> None:
    """Let the repacker look at nothing that came after it read the maps, and say so in *upto*.

    With *late_choice* it chooses among what lives when it has read them.
    """
    rude(monkeypatch)
    real_choose = repacking._choose

    def repack_on(self: Any, known: Any, copied: Any, table: Any, state: LogState) -> Any:
        if state.session(self._sid) is not SessionState.OPEN:
            return None
        moved = {
            name: repacking._targets(refs) for place, refs in copied.items() for name in place.packs
        }
        return entries.Repack(self._sid, known._read_upto, moved, table)

    def choose(state: LogState, known: Any, sizes: dict[PackName, int]) -> Any:
        now = known._domain.refresh()
        known.live = now.live_packs - now.proof_packs
        return real_choose(state, known, {pack: sizes.get(pack, 9999) for pack in known.live})

    monkeypatch.setattr(repacking.Repacker, "_repack_on", repack_on)
    if late_choice:
        monkeypatch.setattr(repacking, "_choose", choose)


REPACKS: list[tuple[Callable[[], World], list[Body]]] = [
    (mostly_dead, [repack, repack, collect]),
    (mostly_dead, [write, repack, collect]),
    (prepared, [repack, purge_oldest, repack, collect]),
    (prepared, [write_again, purge_oldest, repack, collect]),
]


@pytest.mark.parametrize("late_choice", [False, True])
def test_the_fold_alone_makes_a_careless_repacker_safe(
    late_choice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy_repacker(monkeypatch, late_choice=late_choice)
    for start, bodies in REPACKS:
        explore_all(start(), bodies, Exhaustive(preemptions=2, faults=0), 120)


# --- known mistakes ----------------------------------------------------------------------------


def found(start: Callable[[], World], bodies: list[Body], *, faults: int = 0) -> None:
    """Fail unless a schedule of *bodies* loses something."""
    world = start()
    for preemptions in (0, 1, 2):
        strategy = Exhaustive(preemptions=preemptions, faults=faults)
        try:
            explore_all(world, bodies, strategy, 3000)
        except ViolationError:
            return
    pytest.fail("nothing was lost")


def owner_state(state: LogState, pack: PackName) -> SessionState:
    return state.session(state.owner(pack.sid))


def test_dead_as_not_open_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_dead(self: LogState, pack: PackName) -> bool:
        return owner_state(self, pack) is not SessionState.OPEN and pack not in self.lists

    monkeypatch.setattr(LogState, "is_dead", is_dead)
    found(prepared, [collect_stale, write])


def test_dead_as_not_open_where_somebody_uploads_before_the_open_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_dead(self: LogState, pack: PackName) -> bool:
        return owner_state(self, pack) is not SessionState.OPEN and pack not in self.lists

    monkeypatch.setattr(LogState, "is_dead", is_dead)
    found(prepared, [write_early, collect])


def test_a_collector_that_ignores_owners_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogState, "is_dead", lambda self, pack: pack not in self.lists)
    found(prepared, [write, collect])


def test_deleting_packs_of_open_sessions_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_dead(self: LogState, pack: PackName) -> bool:
        return owner_state(self, pack) is not SessionState.UNKNOWN and pack not in self.lists

    monkeypatch.setattr(LogState, "is_dead", is_dead)
    found(prepared, [write, collect])


def test_that_neither_fold_nor_writer_looks_at_what_lives_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def objection(self: LogState, body: Snapshot) -> str | None:
        return self._objection_to_session(body)

    monkeypatch.setattr(LogState, "_objection_to_snapshot", objection)
    monkeypatch.setattr(sessions.WritingSession, "_is_usable", lambda self, pack: True)
    found(mostly_dead, [write, purge_oldest, collect])


def test_appending_without_folding_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: Domain, body_on: Any) -> None:
        body = body_on(self.refresh() if self.state.tail == 0 else self.state)
        while body is not None:
            entry = entries.Entry(self.state.tail + 1, self.state.prev, "x", body)
            raw = entries.encode(entry)
            name = f"domains/web1/log/{self.state.tail + 1:012d}"
            if self._store.create(name, raw):
                self.state.apply(raw)
                return
            self.state.apply(self._store.get(name))

    monkeypatch.setattr(Domain, "append", append)
    found(prepared, [write, prune])


def test_to_take_exists_as_a_lost_race_without_a_look_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_on = sessions.WritingSession._snapshot_on

    def append(self: Domain, body_on: Any) -> None:
        while (body := body_on(self.refresh())) is not None:
            raw = self._next(body)
            name = f"domains/web1/log/{self.state.tail + 1:012d}"
            try:
                created = self._store.create(name, raw)
            except explorer.QuiesceError:
                created = False
            if created:
                self.state.apply(raw)
                return

    def snapshot_on(self: Any, state: LogState, *rest: Any) -> Any:
        was, state.sessions[self.sid] = state.session(self.sid), SessionState.OPEN
        try:
            return real_on(self, state, *rest)
        finally:
            state.sessions[self.sid] = was

    monkeypatch.setattr(Domain, "append", append)
    monkeypatch.setattr(sessions.WritingSession, "_snapshot_on", snapshot_on)
    found(prepared, [write], faults=1)


def test_adoption_that_does_not_abort_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def take_open(self: LogState, body: Any, number: int) -> None:
        self.sessions[body.sid] = SessionState.OPEN
        self.opened[body.sid] = body
        self.opened_at[body.sid] = number
        if body.adopts is not None:
            self._adopters[body.adopts] = body.sid

    def objection(self: LogState, body: Snapshot) -> str | None:
        return self._objection_to_session(body)

    monkeypatch.setattr(LogState, "_open", take_open)
    monkeypatch.setattr(LogState, "_objection_to_snapshot", objection)
    monkeypatch.setattr(opening, "_abort_on", lambda sid, state: None)
    found(prepared, [write, write, collect])


def test_a_repack_of_what_only_live_points_use_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = repacking.Known._read

    def read_live(self: Any, kept: Any) -> None:
        if kept.state is PointState.LIVE:
            real(self, kept)

    monkeypatch.setattr(repacking.Known, "_read", read_live)
    found(prepared, [repack])


def test_to_accept_a_second_repack_of_what_was_moved_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settled(self: PackLists, packs: Iterable[PackName], upto: int) -> frozenset[PackName]:
        return frozenset(packs)

    lazy_repacker(monkeypatch, late_choice=False)
    monkeypatch.setattr(PackLists, "settled", settled)
    found(mostly_dead, [repack, repack, collect])


def test_to_protect_only_what_snapshots_listed_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = PackLists.settled

    def settled(self: PackLists, packs: Iterable[PackName], upto: int) -> frozenset[PackName]:
        kept, self._joined = self._joined, []
        try:
            return real(self, packs, upto)
        finally:
            self._joined = kept

    lazy_repacker(monkeypatch, late_choice=True)
    monkeypatch.setattr(PackLists, "settled", settled)
    found(mostly_dead, [repack, repack, collect])


def test_to_accept_what_was_listed_since_the_maps_were_read_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = PackLists.settled
    lazy_repacker(monkeypatch, late_choice=False)
    monkeypatch.setattr(PackLists, "settled", lambda self, packs, _: real(self, packs, 10**9))
    found(prepared, [write_again, purge_oldest, repack])


def differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every list be a difference to that of the newest point."""

    def snapshot_on(self: Any, state: LogState, used: Any, ref: Any, summary: Any) -> Any:
        if state.session(self.sid) is SessionState.COMMITTED:
            return None
        base = next(reversed(state.points), None)
        before = frozenset() if base is None else state.packs_of(base)
        change = entries.PackChange(base, used - before, before - used)
        return entries.Snapshot(self.sid, change, ref, summary)

    monkeypatch.setattr(sessions.WritingSession, "_snapshot_on", snapshot_on)


def with_added(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str | None]]:
    """Keep for each point what its entry named itself, as bits, and its base."""
    real = PackLists.put
    added: dict[str, tuple[int, str | None]] = {}

    def put(self: PackLists, sid: str, **change: Any) -> None:
        real(self, sid, **change)
        added[sid] = self._numbered(change["add"]), change["base"]

    monkeypatch.setattr(PackLists, "put", put)
    return added


def test_differences_are_safe_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rude(monkeypatch)
    differences(monkeypatch)
    for bodies in ([write_again, purge_oldest, repack], [write, prune_greedily]):
        explore_all(prepared(), bodies, Exhaustive(preemptions=2, faults=0), 120)


def test_to_count_only_what_a_difference_adds_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lazy_repacker(monkeypatch, late_choice=False)
    differences(monkeypatch)
    added = with_added(monkeypatch)

    def settled(self: PackLists, packs: Iterable[PackName], upto: int) -> frozenset[PackName]:
        listed = dict(self._lists)
        settled = self._union()
        for sid in listed:
            if self._listed_at[sid] > upto:
                settled &= ~added[sid][0]
        known = self._bits(self._numbers[pack] for pack in packs if pack in self._numbers)
        return frozenset(self._named(known & settled))

    monkeypatch.setattr(PackLists, "settled", settled)
    found(prepared, [write_again, purge_oldest, repack])


def test_to_resolve_differences_when_they_are_read_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rude(monkeypatch)
    differences(monkeypatch)
    added = with_added(monkeypatch)
    real = PackLists.remove

    def remove(self: PackLists, sid: str) -> None:
        lost = self._lists[sid]
        real(self, sid)
        for each in self._lists:
            bits, base = added[each]
            if base == sid:
                self._lists[each] = self._lists[each] & ~lost | bits

    monkeypatch.setattr(PackLists, "remove", remove)
    found(prepared, [purge_oldest, collect])
