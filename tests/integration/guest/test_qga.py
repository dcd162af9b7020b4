"""The guest agent's hook, driven as the agent does: it freezes between our hold and release."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

SESSION = "01JD5B5V7M6K2Q3R4S5T6V7W8X"
HOOK = "/etc/quiesce/qga-hook"


def hook(box: Box, action: str) -> int:
    return box.shell(f"exec {HOOK} {action} </dev/null >/dev/null 2>/run/hook.err").returncode


@pytest.fixture
def agent(box: Box) -> Box:
    box.mount("/mnt/a")
    box.mount("/mnt/b", "xfs")
    assert box.run("install", "qga").returncode == 0
    return box


def script_of_the_agent(box: Box, name: str, freeze: str = "exit 0") -> None:
    body = f'echo "{name} $1" >>/run/scripts.log\n[ "$1" = thaw ] || {{ {freeze}; }}\n'
    box.write(f"/etc/qemu/fsfreeze-hook.d/{name}", f"#!/bin/sh\n{body}", 0o755)


def test_the_application_is_held_before_the_agent_freezes_and_released_after_it_thaws(
    agent: Box,
) -> None:
    agent.configure()

    assert hook(agent, "freeze") == 0
    assert not agent.is_frozen("/mnt/a"), "the agent freezes, not we"
    agent.freeze("/mnt/a")
    assert agent.scripts_ran() == ["pre  "]
    agent.thaw("/mnt/a")
    assert hook(agent, "thaw") == 0

    report = agent.report()
    assert agent.scripts_ran() == ["pre  ", "post ok unknown"]
    assert (report["reached"], report["consistency"]) == ("application", None)
    assert report["window"]["frozen_s"] is None
    assert {m["frozen"] for m in report["mounts"] if m["path"].startswith("/mnt/")} == {"door"}


def test_a_thaw_without_a_freeze_and_a_second_one_are_fine(agent: Box) -> None:
    assert hook(agent, "thaw") == 0
    assert hook(agent, "freeze") == 0
    assert hook(agent, "thaw") == 0
    assert hook(agent, "thaw") == 0


def test_release_does_not_end_a_session_of_the_agent(agent: Box) -> None:
    agent.configure()
    assert hook(agent, "freeze") == 0

    second = agent.run("hold")
    released = agent.run("release", "--snapshot", "taken", "--json")

    assert (second.returncode, released.returncode) == (9, 9)
    assert json.loads(released.stdout)["error"]["name"] == "AlreadyHeld"
    assert agent.scripts_ran() == ["pre  "]
    assert hook(agent, "thaw") == 0
    report = agent.report()
    assert (report["snapshot"]["taken"], report["reached"]) == (None, "application")


def test_a_thaw_of_the_agent_does_not_end_a_hold(agent: Box) -> None:
    agent.configure()
    agent.run("hold")

    assert hook(agent, "freeze") == 9
    assert hook(agent, "thaw") == 0

    assert agent.scripts_ran() == ["pre  "]
    assert agent.is_frozen("/mnt/a")
    assert agent.run("release", "--snapshot", "taken").returncode == 0
    assert agent.report()["consistency"] == "application"


def test_release_ends_a_dead_session_of_the_agent_and_says_that_nothing_is_held(
    agent: Box,
) -> None:
    agent.configure()
    assert hook(agent, "freeze") == 0
    for pid in agent.guards():
        os.kill(pid, signal.SIGSTOP)
    for pid in agent.guards():
        os.kill(pid, signal.SIGKILL)

    released = agent.run("release")

    assert released.returncode == 10
    assert agent.report()["session"] in released.stderr
    assert agent.scripts_ran() == ["pre  ", "post ok unknown"]


def test_the_announced_session_and_disks_are_used_once(agent: Box) -> None:
    agent.run("hook", "qga", "announce", "--session", SESSION, "--disks", "2", "--json")

    for _ in range(2):
        assert hook(agent, "freeze") == 0
        assert hook(agent, "thaw") == 0

    announced = json.loads(agent.run("report", "--session", SESSION, "--json").stdout)
    assert announced["disks"] == {"count": 2, "source": "host"}
    assert agent.report()["session"] != SESSION


def test_an_overdue_thaw_of_the_door_is_made_by_the_watchdog_and_answered_degraded(
    agent: Box,
) -> None:
    agent.configure()
    agent.write("/etc/quiesce/guest.conf", "[freeze]\ndeadline_s = 2\n")

    assert hook(agent, "freeze") == 0
    agent.freeze("/mnt/a")
    agent.freeze("/mnt/b")
    wait_until(lambda: "post ok unknown" in agent.scripts_ran())
    assert not agent.is_frozen("/mnt/a")
    assert not agent.is_frozen("/mnt/b")
    assert not agent.thaw("/mnt/a"), "the agent counts fewer than it froze"
    assert hook(agent, "thaw") == 3

    report = agent.report()
    assert report["window"]["expired"]
    assert [error["name"] for error in report["errors"]] == ["FreezeWindowExpired"]
    wait_until(lambda: agent.record() is None)


def test_a_late_freeze_of_the_door_after_the_window_is_thawed_again(agent: Box) -> None:
    agent.write("/etc/quiesce/guest.conf", "[freeze]\ndeadline_s = 0.5\n")

    assert hook(agent, "freeze") == 0
    wait_until(lambda: agent.shell("quiesce-guest report").returncode == 0)
    agent.freeze("/mnt/b")

    wait_until(lambda: not agent.is_frozen("/mnt/b"))
    assert hook(agent, "thaw") == 3


def test_nothing_is_announced_to_an_agent_that_does_not_call_the_hook(box: Box) -> None:
    told = box.run("hook", "qga", "announce", "--session", SESSION, "--disks", "2", "--json")

    assert told.returncode == 3
    assert json.loads(told.stdout)["error"]["name"] == "HookMissing"
    assert not (box.root / "run/quiesce/announced.json").exists()


def test_where_nothing_is_to_be_frozen_and_nobody_announced_it_everything_is_released_first(
    agent: Box,
) -> None:
    agent.configure(fsFreezeEnabled=False)

    assert hook(agent, "freeze") == 3
    assert agent.scripts_ran() == ["pre  ", "post ok unknown"]
    assert agent.record() is None


def test_where_nothing_is_to_be_frozen_and_the_host_knows_it_is_held(agent: Box) -> None:
    agent.configure(fsFreezeEnabled=False)
    agent.run("hook", "qga", "announce", "--session", SESSION, "--disks", "2", "--json")

    assert hook(agent, "freeze") == 0
    assert agent.scripts_ran() == ["pre  "]
    assert hook(agent, "thaw") == 0
    assert agent.report()["reached"] == "application"


def test_a_failed_pre_script_aborts_where_the_owner_wants_no_less(agent: Box) -> None:
    agent.configure(pre="exit 1", continueBackupOnFailure=False)
    agent.run("hook", "qga", "announce", "--session", SESSION, "--disks", "2", "--json")

    assert hook(agent, "freeze") == 4
    assert agent.scripts_ran() == ["pre  ", "post failed not-taken"]
    assert agent.record() is None


def test_a_failed_post_script_is_said_by_the_thaw(agent: Box) -> None:
    agent.configure(post="exit 1")

    assert hook(agent, "freeze") == 0
    assert hook(agent, "thaw") == 3


def test_the_agents_own_scripts_run_in_order_and_thaw_in_reverse(agent: Box) -> None:
    agent.configure()
    script_of_the_agent(agent, "10-first")
    script_of_the_agent(agent, "20-second")
    script_of_the_agent(agent, "30-not.dpkg-old")

    assert hook(agent, "freeze") == 0
    assert hook(agent, "thaw") == 0

    assert agent.scripts_ran() == [
        "10-first freeze",
        "20-second freeze",
        "pre  ",
        "post ok unknown",
        "20-second thaw",
        "10-first thaw",
    ]


def test_a_failing_script_of_the_agent_vetoes_and_what_ran_is_undone(agent: Box) -> None:
    agent.configure()
    script_of_the_agent(agent, "10-first")
    script_of_the_agent(agent, "20-second", freeze="exit 1")
    script_of_the_agent(agent, "30-third")

    assert hook(agent, "freeze") == 4

    assert agent.scripts_ran() == [
        "10-first freeze",
        "20-second freeze",
        "20-second thaw",
        "10-first thaw",
    ]


def test_a_veto_of_ours_undoes_the_agents_scripts(agent: Box) -> None:
    agent.configure(pre="exit 1", continueBackupOnFailure=False)
    agent.run("hook", "qga", "announce", "--session", SESSION, "--disks", "2", "--json")
    script_of_the_agent(agent, "10-first")

    assert hook(agent, "freeze") == 4

    assert agent.scripts_ran()[-1] == "10-first thaw"
