from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.policy.retention import DatedPoint, KeepRules, is_refused, plan_retention

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def point(name: str, taken_at: datetime, **more: object) -> DatedPoint:
    stored = more.pop("stored", (taken_at, taken_at + timedelta(minutes=5)))
    return DatedPoint(name, taken_at, stored, **more)


def every(step: timedelta, many: int) -> list[DatedPoint]:
    return [point(f"{n:03}", NOON - n * step) for n in range(many)]


def kept(points: list[DatedPoint], **rules: int) -> set[str]:
    plan = plan_retention(points, KeepRules(**rules))
    assert set(plan.keep) | set(plan.forget) | set(plan.unclear) == {each.id for each in points}
    return set(plan.keep)


def test_without_rules_nothing_is_forgotten() -> None:
    assert plan_retention(every(timedelta(days=1), 9), KeepRules()).forget == ()


@pytest.mark.parametrize(
    ("step", "rule", "expected"),
    [
        (timedelta(hours=1), "last", {"000", "001", "002"}),
        (timedelta(minutes=40), "hourly", {"000", "001", "002"}),
        (timedelta(hours=8), "daily", {"000", "002", "005"}),
        (timedelta(days=3), "weekly", {"000", "001", "004"}),
        (timedelta(days=20), "monthly", {"000", "002", "003"}),
        (timedelta(days=200), "yearly", {"000", "002", "004"}),
    ],
)
def test_the_newest_of_each_of_the_last_three_is_kept(
    step: timedelta, rule: str, expected: set[str]
) -> None:
    assert kept(every(step, 12), **{rule: 3}) == expected


def test_rules_add_up_and_say_why() -> None:
    plan = plan_retention(every(timedelta(hours=8), 12), KeepRules(last=2, daily=2))

    assert dict(plan.keep) == {
        "000": ("newest", "last", "daily"),
        "001": ("last",),
        "002": ("daily",),
    }


def test_days_without_a_point_do_not_count() -> None:
    points = [point("a", NOON), point("b", NOON - timedelta(days=40))]

    assert kept(points, daily=2) == {"a", "b"}


def test_the_newest_is_kept_even_where_no_rule_has_it() -> None:
    points = every(timedelta(days=1), 3)

    assert kept(points, yearly=1) == {"000"}


def test_what_is_always_kept_takes_no_place() -> None:
    points = every(timedelta(days=1), 4)
    points[3] = point("003", points[3].taken_at, always="held")

    assert kept(points, last=2) == {"000", "001", "003"}


def test_days_are_those_of_the_zone() -> None:
    zone = timezone(timedelta(hours=-5))
    evening = datetime(2026, 11, 24, 23, tzinfo=zone)
    points = [point("late", evening), point("early", evening - timedelta(hours=20))]

    assert kept(points, daily=1) == {"late"}
    utc = [point(each.id, each.taken_at.astimezone(UTC)) for each in points]
    assert kept(utc, daily=2) == {"late", "early"}


@pytest.mark.parametrize(
    ("began", "ended", "is_unclear"),
    [
        (0, 5, False),
        (59, 90, False),
        (-600, -59, False),
        (-600, 600, False),
        (61, 90, True),
        (-90, -61, True),
    ],
)
def test_a_point_of_doubtful_time_stays_and_takes_no_place(
    began: int, ended: int, is_unclear: bool
) -> None:
    at = NOON - timedelta(days=2)
    stored = (at + timedelta(minutes=began), at + timedelta(minutes=ended))
    points = [
        point("new", NOON),
        point("doubtful", at, stored=stored),
        point("old", at - timedelta(days=9)),
    ]
    plan = plan_retention(points, KeepRules(last=2))

    assert ("doubtful" in plan.unclear) == is_unclear
    assert ("old" in plan.forget) != is_unclear
    assert "doubtful" not in plan.forget


def test_a_point_whose_time_in_the_store_is_unknown_stays() -> None:
    points = [point("new", NOON), point("x", NOON - timedelta(days=1), stored=None)]

    assert set(plan_retention(points, KeepRules(last=1)).unclear) == {"x"}


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.booleans(), st.integers(-200, 200)), max_size=30),
    st.builds(KeepRules, *[st.integers(0, 4)] * 6),
)
def test_every_point_is_in_one_place_and_a_second_run_forgets_nothing(
    drawn: list[tuple[int, bool, int]], rules: KeepRules
) -> None:
    points = [
        point(
            f"{n:02}",
            at := NOON - timedelta(seconds=ago),
            always="held" if held else None,
            stored=(at + timedelta(minutes=off), at + timedelta(minutes=off + 1)),
        )
        for n, (ago, held, off) in enumerate(drawn)
    ]
    plan = plan_retention(points, rules)
    places = [*plan.keep, *plan.forget, *plan.unclear]

    assert sorted(places) == sorted(each.id for each in points)
    assert all(each.id not in plan.forget for each in points if each.always)
    left = [each for each in points if each.id not in plan.forget]
    again = plan_retention(left, rules)
    assert again.forget == ()
    assert again.unclear == plan.unclear


@pytest.mark.parametrize(
    ("forgotten", "live", "limit", "refused"),
    [
        (2, 2, 0, False),
        (3, 10, 50, False),
        (5, 10, 50, False),
        (6, 10, 50, True),
        (3, 3, 100, False),
    ],
)
def test_a_run_that_forgets_too_much_is_refused(
    forgotten: int, live: int, limit: int, refused: bool
) -> None:
    assert is_refused(forgotten, live, limit) == refused
