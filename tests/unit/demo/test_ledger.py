from hypothesis import given
from hypothesis import strategies as st

from quiesce.demo.ledger import Commit, compare

FREEZE_SENT_S = 10.0
THAW_ANSWERED_S = 11.0

BEFORE = Commit(1, 9.0, 9.5)
ACROSS_THE_FREEZE = Commit(2, 9.9, 10.1)
INSIDE = Commit(3, 10.2, 10.4)
ACROSS_THE_THAW = Commit(4, 10.9, 11.2)
AFTER = Commit(5, 11.1, 11.3)
NEVER_TOLD = Commit(6, 9.0, None)
EVERYTHING = [BEFORE, ACROSS_THE_FREEZE, INSIDE, ACROSS_THE_THAW, AFTER, NEVER_TOLD]


def compared(present, ledger=EVERYTHING):
    return compare(ledger, present, freeze_sent_s=FREEZE_SENT_S, thaw_answered_s=THAW_ANSWERED_S)


def test_what_was_acknowledged_before_the_freeze_must_be_there():
    assert compared([2, 3]).lost == (1,)
    assert not compared([2, 3]).is_consistent
    assert compared([1]).lost == ()


def test_what_was_begun_after_the_thaw_must_not_be_there():
    assert compared([1, 5]).from_later == (5,)
    assert not compared([1, 5]).is_consistent


def test_what_nobody_wrote_must_not_be_there():
    assert compared([1, 99]).unknown == (99,)
    assert not compared([1, 99]).is_consistent


def test_what_lies_between_may_be_there_or_not():
    assert compared([1]).is_consistent
    assert compared([1, 2, 3, 4, 6]).is_consistent
    assert compared([1, 3, 6]).between_present == 2


def test_a_commit_at_the_very_moment_may_be_either():
    at_the_freeze = Commit(1, 9.0, FREEZE_SENT_S)
    at_the_thaw = Commit(2, THAW_ANSWERED_S, 12.0)

    assert compared([], [at_the_freeze, at_the_thaw]).is_consistent
    assert compared([1, 2], [at_the_freeze, at_the_thaw]).is_consistent


@given(
    st.lists(st.tuples(st.floats(0, 20), st.none() | st.floats(0, 5)), min_size=1, max_size=30),
    st.sets(st.integers(0, 40)),
)
def test_every_commit_is_counted_once(moments, present):
    ledger = [
        Commit(number, begun, None if took is None else begun + took)
        for number, (begun, took) in enumerate(moments)
    ]
    result = compared(present, ledger)

    assert result.before + result.between + result.after == len(ledger)
    assert len(result.lost) <= result.before
    assert len(result.from_later) <= result.after
    assert set(result.unknown) == {number for number in present if number >= len(ledger)}
