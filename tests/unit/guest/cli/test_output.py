from __future__ import annotations

import pytest

from quiesce.guest.cli import output

FREEZE = {"name": "freeze", "status": "skipped", "begin_s": 0, "end_s": 0}


@pytest.mark.parametrize(
    ("frozen_s", "mount", "steps", "said"),
    [
        (0.0, False, [], "frozen 0.0 ms"),
        (0.0025, True, [], "frozen 2.5 ms"),
        (None, "door", [], "frozen by the door"),
        (None, False, [FREEZE], "frozen by the command"),
        (None, True, [], "frozen for an unknown time"),
    ],
)
def test_what_is_unknown_is_not_said_to_be_zero(
    frozen_s: float | None, mount: bool | str, steps: list[dict[str, object]], said: str
) -> None:
    report = {
        "session": "01JD",
        "door": "exec",
        "consistency": "crash",
        "outcome": "degraded",
        "snapshot": {"taken": True},
        "window": {"held_s": 0.5, "frozen_s": frozen_s},
        "mounts": [{"path": "/data", "frozen": mount}],
        "steps": steps,
        "warnings": [],
        "errors": [],
    }

    assert f"held 500.0 ms, {said}" in "\n".join(output.story(report))
