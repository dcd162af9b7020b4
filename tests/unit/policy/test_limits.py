from typing import Any

import pytest

from quiesce.policy import limits


def check(*timeouts: Any) -> dict[str, Any]:
    plugins = [{"timeoutInSeconds": timeout} for timeout in timeouts]
    return {"settings": {"plugins": plugins, "timeout_s": 10}}


def test_every_plugins_script_is_waited_for() -> None:
    assert limits.freeze_s(check(30, 200.0)) == 10 + 230 + 30
    assert limits.thaw_s(check(30, 200.0)) == 230 + 30


def test_a_guest_without_scripts_is_not_waited_for_long() -> None:
    assert limits.freeze_s(check()) == 40
    assert limits.thaw_s(check()) == 30


@pytest.mark.parametrize(
    "announced",
    [
        None,
        {},
        {"settings": None},
        {"settings": {"plugins": 5, "timeout_s": 1}},
        {"settings": {"plugins": [[]], "timeout_s": 1}},
        check("soon"),
        check(None),
        check(-1000),
        check(1e9),
        check(float("nan")),
    ],
)
def test_nonsense_is_taken_as_unknown(announced: dict[str, Any] | None) -> None:
    assert limits.freeze_s(announced) == limits.freeze_s(None)
