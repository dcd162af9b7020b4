import os
import signal
import threading

import pytest

from quiesce.jobs.interruption import Interruption, interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_may_be_ended(number: int) -> None:
    reached = []
    with (
        pytest.raises(KeyboardInterrupt),
        interruptible() as interruption,
        interruption.allowed(),
    ):
        interrupt(number)
        reached.append("the end")

    assert reached == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_until_it_may_end_something(number: int) -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as interruption:
        interrupt(number)
        reached.append("preparing")
        with interruption.allowed():
            reached.append("the body")

    assert reached == ["preparing"]


def test_putting_back_is_not_interrupted_by_more_signals() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as interruption:
        try:
            with interruption.allowed():
                interrupt(signal.SIGTERM)
        finally:
            interrupt(signal.SIGINT)
            reached.append("put back")

    assert reached == ["put back"]


def test_thawing_in_the_body_is_not_interrupted_by_more_signals() -> None:
    reached = []
    with (
        pytest.raises(KeyboardInterrupt),
        interruptible() as interruption,
        interruption.allowed(),
    ):
        try:
            interrupt(signal.SIGTERM)
        finally:
            interrupt(signal.SIGTERM)
            reached.append("thawed")

    assert reached == ["thawed"]


def test_a_signal_that_comes_too_late_ends_the_command_all_the_same() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as interruption:
        with interruption.allowed():
            pass
        interrupt(signal.SIGTERM)
        reached.append("put back")

    assert reached == ["put back"]


def test_a_signal_is_not_lost_when_something_else_fails() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        interrupt(signal.SIGTERM)
        raise ValueError("something else")


def test_the_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) != before[1]

    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_signals_stay_as_they_are() -> None:
    found: list[object] = []

    def body() -> None:
        with interruptible() as interruption, interruption.allowed():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert found == [signal.getsignal(signal.SIGTERM)]


def test_nothing_is_raised_without_a_signal() -> None:
    Interruption().raise_pending()
