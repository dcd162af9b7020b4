"""Whoever is killed at whatever step: on a real guest nothing stays as it was at rest."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tools.backup_under_test import kill_supervisor
from vm.inside import wait_until
from vm.protected import NAME, ended
from vm.scene import Scene, as_found

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

GO = "/run/go"
HELD = "/run/held"
# The pre-script has the application at rest, and waits for a file.
SLOW_PRE = f"touch {HELD}; until [ -e {GO} ]; do sleep 0.2; done"


@pytest.fixture
def scene(postgresql_scene: Scene, request: pytest.FixtureRequest) -> Iterator[Scene]:
    for path in (GO, HELD):
        postgresql_scene.inside.remove(path)
    with as_found(postgresql_scene):
        postgresql_scene.configure(pre=SLOW_PRE)
        yield postgresql_scene
        postgresql_scene.expect_no_longer_freeze()
        # The most that can be at rest; after other steps the next test's backup has to get on.
        if request.node.callspec.params["step"] == "frozen":
            postgresql_scene.expect_good_backup()


def is_stopped(process: subprocess.Popen[str]) -> bool:
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def go_to(step: str, scene: Scene, process: subprocess.Popen[str]) -> None:
    """Return when the backup has come to *step* and stays there."""
    if step == "held":
        wait_until(lambda: scene.inside.read(HELD) is not None, "the pre-script")
        return
    scene.inside.write(GO, "")
    wait_until(lambda: is_stopped(process), f"the backup to be {step}")


def go_on(step: str, scene: Scene, process: subprocess.Popen[str]) -> None:
    """Let the backup go on from *step*, where it lives."""
    if step == "held":
        scene.inside.write(GO, "")
    else:
        os.kill(process.pid, signal.SIGCONT)


def kill(victim: str, scene: Scene, process: subprocess.Popen[str]) -> None:
    if victim == "supervisor":
        kill_supervisor(scene.protected.state_dir)
    elif victim == "host":
        process.kill()
    elif victim == "agent":
        scene.inside.kill(scene.agent_pid())
    else:
        session, watchdog = scene.guards()
        scene.inside.kill(session if victim == "session" else watchdog)


@pytest.mark.parametrize("step", ["held", "frozen", "copying"])
def test_a_killed_backup_is_undone_by_its_supervisor(scene: Scene, step: str) -> None:
    known = scene.protected.points()
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        kill("host", scene, process)
        process.wait()
        if step == "held":
            scene.inside.write(GO, "")
        scene.expect_as_before()

    assert scene.protected.points() == known


@pytest.mark.parametrize("step", ["held", "frozen", "copying"])
def test_a_backup_whose_supervisor_is_killed_comes_to_its_end(scene: Scene, step: str) -> None:
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        kill("supervisor", scene, process)
        go_on(step, scene, process)
        done = ended(process)

    assert (done.status, done.level, done.errors) == (0, "application", [])
    assert scene.protected.points()[-1]["id"] == done.run["point"]["id"]


@pytest.mark.parametrize(
    ("victim", "step", "outcome"),
    [
        ("session", "held", (3, "crash", "GuardUnavailable")),
        ("session", "frozen", (3, "crash", "FreezeWindowExpired")),
        ("watchdog", "held", (3, "crash", "FreezeWindowExpired")),
        ("watchdog", "frozen", (3, "crash", "FreezeWindowExpired")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_guard_that_is_killed_ends_the_window_and_the_claim(
    scene: Scene, victim: str, step: str, outcome: tuple[int, str | None, str]
) -> None:
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        kill(victim, scene, process)
        if step == "frozen":
            wait_until(lambda: "post ok" in scene.scripts_ran(), "the release")
            scene.inside.expect_beats()
        go_on(step, scene, process)
        done = ended(process)

    assert (done.status, done.level) == outcome[:2], done
    assert outcome[2] in done.errors


@pytest.mark.parametrize("step", ["copying"])
def test_while_it_is_copied_there_is_no_session_to_be_killed(scene: Scene, step: str) -> None:
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        guards, ran = scene.guards(), scene.scripts_ran()
        scene.inside.expect_beats()
        go_on(step, scene, process)
        done = ended(process)

    assert guards == []
    assert ran == ["pre ", "post ok"]
    assert (done.status, done.level) == (0, "application")


@pytest.mark.parametrize(
    ("step", "status", "level"),
    # Held, the agent's hook dies with it: nobody is left to take the snapshot.
    [("held", 4, None), ("frozen", 0, "application"), ("copying", 0, "application")],
)
def test_an_agent_that_is_killed_is_another_the_next_moment(
    scene: Scene, step: str, status: int, level: str | None
) -> None:
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        first = scene.agent_pid()
        kill("agent", scene, process)
        wait_until(lambda: scene.agent_pid() not in {0, first}, "another agent")
        go_on(step, scene, process)
        done = ended(process)

    assert (done.status, done.level) == (status, level), done


@pytest.mark.parametrize("step", ["held", "frozen", "stopped", "copying"])
def test_where_backup_and_supervisor_are_killed_the_next_command_undoes(
    scene: Scene, step: str
) -> None:
    scene.configure(pre=SLOW_PRE, deadline_s=8)
    known = scene.protected.points()
    with scene.protected.started("backup", NAME, stop_at=step) as process:
        go_to(step, scene, process)
        kill("supervisor", scene, process)
        kill("host", scene, process)
        process.wait()
    if step == "stopped":
        paused = scene.monitor("query-status")["status"]
    else:
        scene.inside.write(GO, "")
        wait_until(lambda: "post ok" in scene.scripts_ran(), "the guest's own deadline")
        scene.inside.expect_beats()
        paused = "paused"
    points = scene.protected.points()
    scene.expect_as_before()

    assert paused == "paused"
    assert points == known
