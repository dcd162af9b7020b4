from quiesce.system import deadline
from quiesce.system.deadline import Deadline


def test_time_left_never_is_negative(monkeypatch) -> None:
    monkeypatch.setattr(deadline.time, "monotonic", lambda: 100.0)

    assert Deadline(101.5).left_s() == 1.5
    assert Deadline(99.0).left_s() == 0.0
    assert Deadline(99.0).passed()
    assert not Deadline(101.5).passed()


def test_the_sooner_of_two_moments_counts(monkeypatch) -> None:
    monkeypatch.setattr(deadline.time, "monotonic", lambda: 100.0)

    assert Deadline(101.0).sooner(5.0) == Deadline(101.0)
    assert Deadline(110.0).sooner(5.0) == Deadline(105.0)
