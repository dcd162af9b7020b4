"""The whole fold, against a second one and against what its safety rests on."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.vault.format import document, entry
from quiesce.vault.format.entry import (
    Abort,
    Forget,
    Hold,
    Open,
    PackChange,
    Proof,
    Purge,
    Recall,
    Repack,
    Snapshot,
    Unhold,
)
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.format.names import PackName
from quiesce.vault.log import LogState, PointState, SessionState, fold
from reference_fold import Reference, says

GENESIS = entry.genesis(bytes(16), "web1")
A, B, C, D, E = SIDS = [f"0{letter}{'0' * 24}" for letter in "ABCDE"]
PACKS = {sid: [PackName(sid, "d", bytes([n] * 32)) for n in range(3)] for sid in SIDS}
TABLES = {sid: PackName(sid, "m", bytes(32)) for sid in SIDS}
ALL_PACKS = [*(pack for packs in PACKS.values() for pack in packs), *TABLES.values()]


def opened(sid: str, *, base: str | None = None, adopts: str | None = None) -> Open:
    return Open(sid, "web1", "uuid", base, adopts)


def snapshot(
    sid: str, *add: PackName, base: str | None = None, drop: tuple[PackName, ...] = ()
) -> Snapshot:
    ref = Ref(bytes(32), Place(TABLES[sid]), 64, 1, 0)
    return Snapshot(sid, PackChange(base, frozenset(add), frozenset(drop)), ref, {})


def repack(sid: str, upto: int, moves: dict[PackName, tuple[PackName, ...]]) -> Repack:
    table = Ref(bytes(32), Place(TABLES[sid]), 64, 1, 0)
    return Repack(sid, upto, {pack: frozenset(to) for pack, to in moves.items()}, table)


def proof(sid: str, point: str, *packs: PackName) -> Proof:
    ref = Ref(bytes(32), Place(TABLES[sid]), 64, 1, 0)
    return Proof(sid, point, frozenset(packs), ref, {"booted": True})


def log_of(*bodies: entry.Body) -> list[bytes]:
    raws: list[bytes] = []
    state = LogState(GENESIS)
    for body in bodies:
        raws.append(entry.encode(entry.Entry(state.tail + 1, state.prev, "id", body)))
        state.apply(raws[-1])
    return raws


def folded(*bodies: entry.Body) -> LogState:
    return fold(GENESIS, log_of(*bodies))


POINT = (opened(A), snapshot(A, *PACKS[A]))


# --- by example --------------------------------------------------------------------------------


def test_a_point_is_forgotten_recalled_forgotten_and_purged() -> None:
    forgotten = folded(*POINT, Forget(A))

    assert forgotten.points[A].state is PointState.FORGOTTEN
    assert forgotten.points[A].changed == 3
    assert folded(*POINT, Forget(A), Recall(A)).points[A].state is PointState.LIVE
    assert folded(*POINT, Forget(A), Purge(A)).points == {}
    assert folded(*POINT, Forget(A), Purge(A)).session(A) is SessionState.COMMITTED


def test_packs_of_a_purged_point_are_dead_unless_another_lists_them() -> None:
    one, two, three = PACKS[A]
    history = [*POINT, opened(B), snapshot(B, PACKS[B][0], base=A, drop=(two, three))]
    state = folded(*history, Forget(A), Purge(A))

    assert [state.is_dead(pack) for pack in PACKS[A]] == [False, True, True]
    assert not folded(*history, Forget(A)).is_dead(two)
    assert state.packs_of(B) == {one, PACKS[B][0]}


def test_packs_of_unknown_and_open_sessions_are_not_dead() -> None:
    state = folded(opened(A), opened(B), opened(C, adopts=B))

    assert not any(state.is_dead(PACKS[sid][0]) for sid in (A, B, C, D))
    assert folded(opened(A), Abort(A)).is_dead(PACKS[A][0])


@pytest.mark.parametrize(
    "bodies",
    [
        [Forget(A)],
        [opened(A), Forget(A)],
        [*POINT, Forget(A), Forget(A)],
        [*POINT, Recall(A)],
        [*POINT, Purge(A)],
        [*POINT, Forget(A), Purge(A), Recall(A)],
        [*POINT, Forget(A), Purge(A), Hold("h", A)],
        [*POINT, Forget(A), Purge(A), opened(B), snapshot(B, base=A)],
        [*POINT, Forget(A), Purge(A), opened(B), snapshot(B, PACKS[A][0])],
        [*POINT, Hold("h", A), Forget(A)],
        [*POINT, Forget(A), Hold("h", A), Purge(A)],
        [*POINT, Hold("h", A), Hold("h", A)],
        [*POINT, Unhold("h")],
        [*POINT, Hold("h", A), Unhold("h"), Unhold("h")],
        [*POINT, repack(B, 2, {})],
        [*POINT, opened(B), repack(B, 4, {})],
        [*POINT, opened(B), repack(B, 9, {})],
        [*POINT, opened(B), repack(B, 2, {PACKS[A][0]: (PACKS[C][0],)})],
        [*POINT, opened(B), opened(C), repack(B, 2, {PACKS[A][0]: (PACKS[C][0],)})],
        [*POINT, opened(B), proof(B, C)],
        [*POINT, proof(B, A)],
        [*POINT, opened(B), proof(B, A, PACKS[A][0])],
        [*POINT, Forget(A), Purge(A), opened(B), proof(B, A)],
    ],
)
def test_what_is_not_valid_is_void(bodies: list[entry.Body]) -> None:
    before, after = folded(*bodies[:-1]), folded(*bodies)

    assert before.objection(bodies[-1]) is not None
    assert says(after) == says(before)
    assert after.tail == before.tail + 1
    assert after.alarms == []


def test_what_a_pack_moved_to_replaces_it_on_every_list() -> None:
    one, two, three = PACKS[A]
    new = PACKS[C][0]
    state = folded(
        *POINT,
        opened(B),
        snapshot(B, base=A, drop=(two,)),
        opened(C),
        repack(C, 4, {one: (new,), two: ()}),
    )

    assert state.packs_of(A) == {three, new, TABLES[C]}
    assert state.packs_of(B) == {three, new, TABLES[C]}
    assert state.is_dead(one)
    assert state.is_dead(two)
    assert state.moved[two] is None
    assert state.moved[one].place.pack == TABLES[C]


@pytest.mark.parametrize("how", ["added again", "kept in a difference", "moved to"])
def test_a_pack_that_came_on_a_list_after_the_maps_were_read_is_not_moved(how: str) -> None:
    one, new = PACKS[A][0], PACKS[D][0]
    between: list[entry.Body] = [opened(C)]
    if how == "added again":
        between += [snapshot(C, one)]
    elif how == "kept in a difference":
        between += [snapshot(C, base=A)]
    else:
        one = PACKS[C][0]
        between += [repack(C, 2, {PACKS[A][0]: (one,)})]
    state = folded(*POINT, opened(D), *between, repack(D, 2, {one: (new,), PACKS[A][1]: ()}))

    assert one in state.live_packs
    assert one not in state.moved
    assert new not in state.live_packs
    assert state.session(D) is SessionState.COMMITTED


def test_a_pack_that_was_moved_is_not_moved_again() -> None:
    one = PACKS[A][0]
    history = [*POINT, opened(B), opened(C), repack(B, 2, {one: (PACKS[B][0],)})]
    state = folded(*history, repack(C, 5, {one: (PACKS[C][0],)}))

    assert state.moved[one].place.pack == TABLES[B]
    assert state.is_dead(PACKS[C][0])


def test_a_proof_joins_the_list_of_its_point() -> None:
    state = folded(*POINT, opened(B), proof(B, A, PACKS[B][0]))

    assert state.packs_of(A) == {*PACKS[A], PACKS[B][0], TABLES[B]}
    assert [each.summary for each in state.points[A].proofs] == [{"booted": True}]
    assert state.proof_packs == {PACKS[B][0], TABLES[B]}


# --- by property -------------------------------------------------------------------------------

sids = st.sampled_from(SIDS)
some_packs = st.lists(st.sampled_from(ALL_PACKS), max_size=3)
bodies = st.one_of(
    st.builds(lambda sid, adopts: opened(sid, adopts=adopts), sids, st.none() | sids),
    st.builds(opened, sids),
    st.builds(lambda sid, add: snapshot(sid, *PACKS[sid], *add), sids, some_packs),
    st.builds(
        lambda sid, add, base, drop: snapshot(sid, *add, base=base, drop=tuple(drop)),
        sids,
        some_packs,
        sids,
        some_packs,
    ),
    st.builds(Abort, sids),
    st.builds(Forget, sids),
    st.builds(Recall, sids),
    st.builds(Purge, sids),
    st.builds(Hold, st.sampled_from(["h", "i"]), sids, st.booleans()),
    st.builds(Unhold, st.sampled_from(["h", "i"])),
    st.builds(
        lambda sid, upto, moved, many: repack(
            sid, upto, {pack: tuple(PACKS[sid][:many]) for pack in moved}
        ),
        sids,
        st.integers(0, 20),
        some_packs,
        st.integers(0, 2),
    ),
    st.builds(lambda sid, point: proof(sid, point, PACKS[sid][2]), sids, sids),
)
logs = st.lists(bodies, max_size=24)


@settings(max_examples=600, deadline=None)
@given(logs)
def test_two_folds_written_apart_agree(history: list[entry.Body]) -> None:
    reference, state = Reference(), LogState(GENESIS)
    for raw, body in zip(log_of(*history), history, strict=True):
        objection = state.objection(body)
        state.apply(raw)

        assert reference.take(body) == (objection is None)
        assert says(state) == reference.says()
        assert state.live_packs == reference.live
        assert all((pack in state.lists) == (pack in reference.live) for pack in ALL_PACKS)


def states_of(history: list[entry.Body]) -> list[LogState]:
    raws = log_of(*history)
    return [fold(GENESIS, raws[:many]) for many in range(len(raws) + 1)]


@settings(max_examples=200, deadline=None)
@given(logs)
def test_dead_is_for_ever_and_closed_is_final(history: list[entry.Body]) -> None:
    for before, after in pairwise(states_of(history)):
        for pack in ALL_PACKS:
            assert after.is_dead(pack) or not before.is_dead(pack)
            assert pack not in after.live_packs or not before.is_dead(pack)
        for sid, was in before.sessions.items():
            assert after.session(sid) is was or was is SessionState.OPEN
        for pack, table in before.moved.items():
            assert after.moved[pack] == table
            assert pack not in after.live_packs


@settings(max_examples=200, deadline=None)
@given(logs)
def test_what_becomes_live_was_of_a_session_open_just_before(history: list[entry.Body]) -> None:
    for before, after in pairwise(states_of(history)):
        for pack in after.live_packs - before.live_packs:
            assert before.session(before.owner(pack.sid)) is SessionState.OPEN


@settings(max_examples=200, deadline=None)
@given(logs)
def test_a_held_point_stays(history: list[entry.Body]) -> None:
    for before, after in pairwise(states_of(history)):
        for hold in before.holds.values():
            assert hold.sid in after.points
            assert (
                after.points[hold.sid].state is PointState.LIVE
                or before.points[hold.sid].state is PointState.FORGOTTEN
            )


@given(logs, st.data())
def test_entry_by_entry_says_the_same_as_all_at_once(
    history: list[entry.Body], data: st.DataObject
) -> None:
    raws = log_of(*history)
    cut = data.draw(st.integers(0, len(raws)))
    state = fold(GENESIS, raws[:cut])
    for raw in raws[cut:]:
        assert state.live_packs is not None
        state.apply(raw)

    assert says(state) == says(fold(GENESIS, raws))


@given(bodies)
def test_every_body_is_read_back_from_its_entry(body: entry.Body) -> None:
    raw = entry.encode(entry.Entry(1, GENESIS, "id", body))

    assert entry.parse(raw).body == body
    assert entry.encode(entry.parse(raw)) == raw


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (Forget(A), {"sid": "x"}),
        (Purge(A), {"more": 1}),
        (Hold("h", A), {"legal": 1}),
        (Hold("h", A), {"hold": None}),
        (Unhold("h"), {"hold": "h" * 5000}),
        (proof(B, A), {"packs": ["x"]}),
        (proof(B, A), {"for": None}),
        (proof(B, A), {"summary": []}),
        (repack(B, 1, {PACKS[A][0]: (PACKS[B][0],)}), {"upto": -1}),
        (repack(B, 1, {PACKS[A][0]: (PACKS[B][0],)}), {"to": []}),
        (repack(B, 1, {PACKS[A][0]: (PACKS[B][0],)}), {"to": [PACKS[B][0].text] * 2}),
        (repack(B, 1, {}), {"to": [PACKS[B][0].text]}),
        (repack(B, 1, {}), {"from": {PACKS[A][0].text: [0]}}),
        (repack(B, 1, {}), {"from": {"x": []}}),
        (repack(B, 1, {}), {"from": []}),
        (repack(B, 1, {}), {"table": None}),
    ],
)
def test_an_entry_that_says_what_none_can_is_void_and_an_alarm(
    body: entry.Body, changes: dict[str, object]
) -> None:
    raws = log_of(*POINT, opened(B), body)
    hostile = document.encode({**document.decode(raws[-1]), **changes})
    state = fold(GENESIS, [*raws[:-1], hostile])

    assert says(state) == says(folded(*POINT, opened(B)))
    assert len(state.alarms) == 1
    assert state.tail == 4
