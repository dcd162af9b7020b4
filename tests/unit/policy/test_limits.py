import pytest

from quiesce.policy import limits


def test_what_the_guest_announced_is_waited_for_and_a_margin() -> None:
    check = {"hold_limit_s": 200.0, "release_limit_s": 10}

    assert limits.freeze_s(check) == 230.0
    assert limits.thaw_s(check) == 40.0


@pytest.mark.parametrize("announced", [None, "60", -1, 1e9, float("nan"), [], True])
def test_nonsense_is_taken_as_unknown(announced: object) -> None:
    assert limits.freeze_s({"hold_limit_s": announced}) == limits.freeze_s(None)
