from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.scripts.script import ScriptResult
from quiesce.guest.session.stack import RestStack
from quiesce.model.report import Attempt

if TYPE_CHECKING:
    from quiesce.guest.record.record import Held

ATTEMPT = Attempt(0, None, False, 0.1, "", "")
OK = ScriptResult("ok", (ATTEMPT,), None)
FAILED = ScriptResult("failed", (ATTEMPT,), QuiesceError("Pre-ScriptExecutionFailed", "failed"))
TIMEOUT = ScriptResult("timeout", (ATTEMPT,), QuiesceError("Pre-ScriptTimeout", "late"))
REFUSED = ScriptResult("refused", (), QuiesceError("Pre-ScriptNotFound", "gone"))


def spec(name: str) -> ScriptSpec:
    return ScriptSpec(name.partition("-")[0], f"/{name}", (), 0, 30.0)


class Scripts:
    """Runs scripts by their results, and keeps what was asked for and what was noted."""

    def __init__(self, **results: ScriptResult) -> None:
        self.results = results
        self.held: list[Held] = []
        self.events: list[str] = []
        self.variables: list[dict[str, str]] = []
        self.stack = RestStack(self.held, note=self.note, run=self.run)

    def note(self) -> None:
        self.events.append(f"note {[one.name for one in self.held]}")

    def run(self, script: ScriptSpec, variables: dict[str, str]) -> ScriptResult:
        self.events.append(script.path)
        self.variables.append(variables)
        return self.results.get(script.path[1:].replace("-", "_"), OK)

    def hold(self, name: str) -> ScriptResult:
        return self.stack.hold(name, spec(f"pre-{name}"), spec(f"post-{name}"))

    def release_all(self, snapshot: str = "taken") -> None:
        while self.held:
            self.stack.release(snapshot)


def test_what_is_about_to_be_held_is_written_down_before_its_script_runs() -> None:
    scripts = Scripts()

    scripts.hold("a")

    assert scripts.events == ["note ['a']", "/pre-a"]


def test_what_cannot_be_written_down_is_not_held_and_its_script_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripts = Scripts()
    scripts.hold("a")
    scripts.events.clear()

    def full() -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(scripts.stack, "_note", full)
    with pytest.raises(OSError, match="no space"):
        scripts.hold("b")

    assert [one.name for one in scripts.held] == ["a"]
    assert scripts.events == []


def test_a_release_that_cannot_be_written_down_still_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripts = Scripts()
    scripts.hold("a")
    scripts.hold("b")

    def full() -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(scripts.stack, "_note", full)
    scripts.release_all()

    assert scripts.events[-2:] == ["/post-b", "/post-a"]
    assert scripts.held == []


def test_everything_is_released_in_reverse() -> None:
    scripts = Scripts()
    scripts.hold("a")
    scripts.hold("b")
    scripts.events.clear()

    scripts.release_all()

    assert [event for event in scripts.events if event[0] == "/"] == ["/post-b", "/post-a"]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_what_failed_half_way_is_released_too_at_every_position(failing: str) -> None:
    scripts = Scripts(**{f"pre_{failing}": FAILED})
    for name in ("a", "b", "c"):
        if scripts.hold(name).error is not None:
            break

    scripts.release_all()

    posts = [event for event in scripts.events if event.startswith("/post")]
    started = ["a", "b", "c"][: "abc".index(failing) + 1]
    assert posts == [f"/post-{name}" for name in reversed(started)]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_a_failed_release_does_not_keep_the_others_held(failing: str) -> None:
    scripts = Scripts(**{f"post_{failing}": FAILED})
    for name in ("a", "b", "c"):
        scripts.hold(name)

    scripts.release_all()

    posts = [event for event in scripts.events if event.startswith("/post")]
    assert posts == ["/post-c", "/post-b", "/post-a"]


def test_what_never_started_is_not_released() -> None:
    scripts = Scripts(pre_a=REFUSED)

    scripts.hold("a")

    assert scripts.held == []


@pytest.mark.parametrize(
    ("result", "status"), [(OK, "ok"), (FAILED, "failed"), (TIMEOUT, "timeout")]
)
def test_the_post_script_learns_how_the_pre_script_ended(result: ScriptResult, status: str) -> None:
    scripts = Scripts(pre_a=result)
    scripts.hold("a")

    scripts.release_all("unknown")

    assert scripts.variables[-1] == {
        "QUIESCE_PHASE": "post",
        "QUIESCE_PRE_STATUS": status,
        "QUIESCE_SNAPSHOT": "unknown",
    }


def test_an_interrupted_pre_script_counts_as_held() -> None:
    scripts = Scripts()

    def interrupted(_script: ScriptSpec, _variables: dict[str, str]) -> ScriptResult:
        raise KeyboardInterrupt

    stack = RestStack(scripts.held, note=scripts.note, run=interrupted)
    with pytest.raises(KeyboardInterrupt):
        stack.hold("a", spec("pre-a"), spec("post-a"))

    assert [(one.name, one.pre_status) for one in scripts.held] == [("a", "failed")]


def test_nothing_is_released_twice() -> None:
    scripts = Scripts()
    scripts.hold("a")
    scripts.stack.release("taken")

    assert scripts.events[-1] == "note []"
