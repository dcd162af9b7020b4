"""No process can be made any more: what was brought to rest is released all the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import PROGRAM

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

EXEC = f"exec {PROGRAM} exec --json --disks 2 -- true"


def run(box: Box, most: int) -> tuple[int, dict[str, Any]]:
    done = box.shell(f"echo $$ >{box.bound(most)}; {EXEC}")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_wherever_the_processes_run_out_nothing_is_left_at_rest(box: Box) -> None:
    """One more is allowed each time, until there are enough."""
    box.mount("/mnt/a")
    box.mount("/mnt/b")
    box.configure()
    seen = []
    for most in range(1, 30):
        status, told = run(box, most)
        seen.append((status, told.get("consistency")))
        if seen[-1] == (0, "application"):
            break
        errors = told["errors"] if "errors" in told else [told["error"]]
        name = "SnapshotFailed" if most == 1 else "GuardUnavailable"
        assert [error["name"] for error in errors] == [name]
        assert box.scripts_ran() == []
        box.assert_at_peace()

    assert seen[-1] == (0, "application")
    assert seen[:2] == [(5, None), (3, "crash")]
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    box.assert_at_peace()


def test_what_runs_out_while_all_is_held_does_not_keep_it_held(box: Box) -> None:
    box.mount("/mnt/a")
    bound = box.bound(100)
    box.configure(pre=f"echo 0 >{bound.parent}/pids.max")

    status, report = run(box, 100)

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    box.assert_at_peace()


def test_a_second_attempt_that_no_process_can_be_made_for_is_a_failed_one(box: Box) -> None:
    box.mount("/mnt/a")
    bound = box.bound(100)
    box.configure(pre=f"echo 0 >{bound.parent}/pids.max; exit 1", preScriptNoOfRetries=1)

    status, report = run(box, 100)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    [error] = report["errors"]
    assert error["name"] == "Pre-ScriptExecutionFailed"
    assert "it cannot be started: Resource temporarily unavailable" in error["message"]
    assert box.scripts_ran() == ["pre  ", "post failed taken"]
    box.assert_at_peace()
