from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.vault.format import document, entry
from quiesce.vault.format.entry import Abort, Open, PackChange, Snapshot
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.format.names import PackName
from quiesce.vault.log import LogState, SessionState, fold

GENESIS = entry.genesis(bytes(16), "web1")
A, B, C, D = SIDS = [f"0{letter}{'0' * 24}" for letter in "ABCD"]
PACKS = {sid: [PackName(sid, "d", bytes([n] * 32)) for n in range(3)] for sid in SIDS}
NOWHERE = Ref(bytes(32), Place(PackName(A, "m", bytes(32))), 64, 1, 0)


def opened(sid: str, *, adopts: str | None = None) -> Open:
    return Open(sid, "web1", "uuid", None, adopts)


def snapshot(
    sid: str, *add: PackName, base: str | None = None, drop: tuple[PackName, ...] = ()
) -> Snapshot:
    return Snapshot(sid, PackChange(base, frozenset(add), frozenset(drop)), NOWHERE, {})


def log_of(*bodies: entry.Body) -> list[bytes]:
    """Return the raw entries of *bodies*, rightly numbered and chained."""
    raws: list[bytes] = []
    state = LogState(GENESIS)
    for body in bodies:
        raws.append(entry.encode(entry.Entry(state.tail + 1, state.prev, "id", body)))
        state.apply(raws[-1])
    return raws


def folded(*bodies: entry.Body) -> LogState:
    return fold(GENESIS, log_of(*bodies))


def meaning(state: LogState) -> tuple[object, ...]:
    """Return everything that *state* says but where it stands."""
    return (
        state.sessions,
        {sid: (kept.snapshot, state.packs_of(sid)) for sid, kept in state.points.items()},
        state.live_packs,
        {sid: state.owner(sid) for sid in SIDS},
    )


def test_a_session_goes_from_unknown_to_open_to_committed() -> None:
    assert folded().session(A) is SessionState.UNKNOWN
    assert folded(opened(A)).session(A) is SessionState.OPEN
    assert folded(opened(A), snapshot(A)).session(A) is SessionState.COMMITTED
    assert folded(opened(A), Abort(A)).session(A) is SessionState.ABORTED


@pytest.mark.parametrize(
    "bodies",
    [
        [snapshot(A)],
        [Abort(A)],
        [opened(A), opened(A)],
        [opened(A), Abort(A), snapshot(A)],
        [opened(A), Abort(A), opened(A)],
        [opened(A), snapshot(A), Abort(A)],
        [opened(A), snapshot(A), snapshot(A)],
        [opened(B, adopts=A)],
        [opened(A), snapshot(A), opened(B, adopts=A)],
        [opened(A), Abort(A), opened(B, adopts=A)],
        [opened(A), opened(B, adopts=A), snapshot(A)],
        [opened(A), opened(B), snapshot(A, PACKS[B][0])],
        [opened(A), snapshot(A, PACKS[D][0])],
        [opened(A), snapshot(A, base=D)],
        [opened(A), opened(B, adopts=A), snapshot(B, PACKS[C][0])],
    ],
)
def test_what_is_not_valid_is_void(bodies: list[entry.Body]) -> None:
    before, after = folded(*bodies[:-1]), folded(*bodies)

    assert before.objection(bodies[-1]) is not None
    assert meaning(after) == meaning(before)
    assert after.tail == before.tail + 1
    assert after.alarms == []


def test_an_adopter_owns_the_packs_of_those_before_it() -> None:
    state = folded(opened(A), opened(B, adopts=A), opened(C, adopts=B))

    assert [state.owner(sid) for sid in SIDS] == [C, C, C, D]
    assert set(state.owned_sids(C)) == {A, B, C}
    assert state.session(A) is state.session(B) is SessionState.ABORTED
    assert state.objection(snapshot(C, PACKS[A][0], PACKS[B][0], PACKS[C][0])) is None


def test_a_difference_is_resolved_against_the_points_list() -> None:
    one, two, three = PACKS[A]
    state = folded(
        opened(A),
        snapshot(A, one, two, three),
        opened(B),
        snapshot(B, PACKS[B][0], base=A, drop=(two,)),
        opened(C),
        snapshot(C, two, base=B, drop=(one,)),
    )

    assert state.packs_of(B) == {one, three, PACKS[B][0]}
    assert state.packs_of(C) == {two, three, PACKS[B][0]}
    assert state.live_packs == {one, two, three, PACKS[B][0]}


def test_a_pack_of_an_older_point_may_be_listed_again() -> None:
    state = folded(opened(A), snapshot(A, *PACKS[A]), opened(B))

    assert state.objection(snapshot(B, *PACKS[A])) is None


bodies = st.one_of(
    st.builds(
        lambda sid, adopts: opened(sid, adopts=adopts),
        st.sampled_from(SIDS),
        st.none() | st.sampled_from(SIDS),
    ),
    st.builds(Abort, st.sampled_from(SIDS)),
    st.builds(
        lambda sid, add, base, drop: snapshot(sid, *add, base=base, drop=tuple(drop)),
        st.sampled_from(SIDS),
        st.lists(st.sampled_from([pack for packs in PACKS.values() for pack in packs]), max_size=3),
        st.none() | st.sampled_from(SIDS),
        st.lists(st.sampled_from([pack for packs in PACKS.values() for pack in packs]), max_size=2),
    ),
)
logs = st.lists(bodies, max_size=12)


@settings(max_examples=400)
@given(logs)
def test_closed_is_final_and_live_packs_are_those_of_the_points(history: list[entry.Body]) -> None:
    state = LogState(GENESIS)
    closed: dict[str, SessionState] = {}
    for raw, body in zip(log_of(*history), history, strict=True):
        before, valid = (
            meaning(fold(GENESIS, log_of(*history[: state.tail]))),
            state.objection(body),
        )
        state.apply(raw)

        assert (meaning(state) == before) == (valid is not None)
        for sid, was in closed.items():
            assert state.session(sid) is was
        closed = {sid: now for sid, now in state.sessions.items() if now is not SessionState.OPEN}
        lists = [state.packs_of(sid) for sid in state.points]
        assert state.live_packs == set().union(*lists)


@settings(max_examples=400)
@given(logs)
def test_a_listed_pack_was_live_or_the_sessions_own(history: list[entry.Body]) -> None:
    state = LogState(GENESIS)
    for raw in log_of(*history):
        live = set(state.live_packs)
        owners = {sid: state.owner(sid) for sid in SIDS}
        points = set(state.points)
        state.apply(raw)
        for sid in set(state.points) - points:
            for pack in state.packs_of(sid):
                assert pack in live or owners[pack.sid] == sid


@given(logs, st.data())
def test_entry_by_entry_says_the_same_as_all_at_once(
    history: list[entry.Body], data: st.DataObject
) -> None:
    raws = log_of(*history)
    cut = data.draw(st.integers(0, len(raws)))
    state = fold(GENESIS, raws[:cut])
    for raw in raws[cut:]:
        state.apply(raw)

    assert state == fold(GENESIS, raws)


@settings(max_examples=200)
@given(st.lists(bodies, min_size=1, max_size=8), st.data())
def test_a_damaged_entry_is_void_and_an_alarm(
    history: list[entry.Body], data: st.DataObject
) -> None:
    raws = log_of(*history)
    at = data.draw(st.integers(0, len(raws) - 1))
    damaged = bytearray(raws[at])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        state = fold(GENESIS, [*raws[:at], bytes(damaged), *raws[at + 1 :]])
    except QuiesceError:
        return  # it says another format or type now

    assert state.tail == len(raws)
    if at + 1 < len(raws):
        assert state.alarms != []


def test_an_entry_of_another_log_is_void_and_an_alarm() -> None:
    other = fold(entry.genesis(bytes(16), "web2"), log_of(opened(A)))

    assert other.session(A) is SessionState.UNKNOWN
    assert other.alarms == ["entry 1 does not follow the one before it"]


def test_an_entry_given_twice_is_void_the_second_time() -> None:
    raws = log_of(opened(A), Abort(A))
    state = fold(GENESIS, [raws[0], raws[0]])

    assert state.session(A) is SessionState.OPEN
    assert len(state.alarms) == 1


def test_an_unknown_entry_stops_the_fold_where_it_is() -> None:
    state = folded(opened(A))
    future = document.decode(log_of(opened(A), Abort(A))[1])
    future["type"] = "checkpoint"

    with pytest.raises(QuiesceError, match="checkpoint"):
        state.apply(document.encode(future))
    assert state == folded(opened(A))


def test_alarms_do_not_fill_the_memory() -> None:
    state = fold(GENESIS, [b"x"] * 5000)

    assert state.tail == 5000
    assert len(state.alarms) == 1000
