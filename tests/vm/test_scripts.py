"""Scripts on a machine that systemd runs, in v2 of control groups; and a clock that is set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from vm.scene import GUEST, Scene, as_found

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

# Never many at a time, but gone before anybody has looked: each goes on in a child of its own.
RUNS_FOR_EVER = """exec python3 -c '
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        while True:
            os.setsid()
            if os.fork():
                os._exit(0)
signal.pause()
'"""
LEFT = "cat /sys/fs/cgroup/quiesce-script-*/cgroup.procs 2>/dev/null"


@pytest.fixture
def scene(idle_scene: Scene) -> Iterator[Scene]:
    with as_found(idle_scene):
        yield idle_scene


def run(scene: Scene, *command: str) -> tuple[int, dict[str, Any]]:
    argv = [GUEST, "exec", "--json", "--report", "/run/report.json", "--", *command]
    status, said = scene.inside.status(*argv)
    report = scene.inside.read("/run/report.json")
    assert report is not None, said
    scene.inside.remove("/run/report.json")
    return status, json.loads(report)


def test_a_script_runs_in_a_control_group_of_its_own_that_bounds_it(scene: Scene) -> None:
    scene.configure(
        pre="cat /proc/self/cgroup; cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/pids.max"
    )

    status, report = run(scene, "true")

    assert (status, report["consistency"]) == (0, "application"), report
    said = report["steps"][0]["attempts"][0]["stdout"].splitlines()
    assert said[0].startswith(f"0::/quiesce-script-{report['session']}-pre-")
    assert said[1] == "4096"
    assert scene.inside.sh("ls -d /sys/fs/cgroup/quiesce-script-*", check=False).count("-pre-") == 0


def test_what_runs_from_being_killed_is_ended_with_its_control_group(scene: Scene) -> None:
    scene.configure(pre=RUNS_FOR_EVER, timeoutInSeconds=3)

    status, report = run(scene, "true")

    assert (status, report["consistency"]) == (3, "filesystem"), report
    assert [error["name"] for error in report["errors"]] == ["Pre-ScriptTimeout"]
    assert scene.inside.sh(LEFT, check=False) == ""
    assert scene.scripts_ran() == ["pre ", "post timeout"]


@pytest.mark.parametrize("there_and_back", [("+3 hours", "-3 hours"), ("-3 hours", "+3 hours")])
def test_a_clock_that_is_set_in_the_window_changes_nothing(
    scene: Scene, there_and_back: tuple[str, str]
) -> None:
    there, back = there_and_back
    scene.configure()

    status, report = run(scene, "date", "-s", there)
    scene.inside.run("date", "-s", back)

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")
    assert report["errors"] == []
    assert 0 < report["window"]["frozen_s"] <= report["window"]["held_s"] < 60
    assert scene.scripts_ran() == ["pre ", "post ok"]
