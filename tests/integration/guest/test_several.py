"""Several configurations in one window: held in order, released in reverse, at every failure."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import state_of, wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

COUNT = 3
LOG = 'echo "$QUIESCE_PHASE {number} $QUIESCE_PRE_STATUS" >>/run/scripts.log\n'
ALL_HELD = ["pre 0 ", "pre 1 ", "pre 2 "]
ALL_RELEASED = ["post 2 ok", "post 1 ok", "post 0 ok"]


def configure(box: Box, bodies: dict[tuple[str, int], str], **settings: Any) -> None:
    lines = ["[pre_post]", f"numberOfPlugins = {COUNT}"]
    for number in range(COUNT):
        for phase in ("pre", "post"):
            body = LOG.format(number=number) + bodies.get((phase, number), "exit 0")
            box.write(f"/etc/quiesce/scripts/{phase}{number}", f"#!/bin/sh\n{body}\n", 0o700)
        config = f"/etc/azure/plugin{number}.json"
        document = {
            "preScriptLocation": f"/etc/quiesce/scripts/pre{number}",
            "postScriptLocation": f"/etc/quiesce/scripts/post{number}",
            "timeoutInSeconds": 1,
        }
        box.write(config, json.dumps({**document, **settings}))
        lines += [f"pluginName{number} = ScriptRunner", f"pluginConfigPath{number} = {config}"]
    box.write("/etc/azure/VMSnapshotPluginHost.conf", "\n".join(lines), 0o644)
    box.mount("/mnt/a")


def run(box: Box, command: str = "touch /run/taken") -> tuple[int, dict[str, Any]]:
    ended = box.run("exec", "--json", "--disks", "2", "--", "sh", "-c", command)
    report: dict[str, Any] = json.loads(ended.stdout)
    return ended.returncode, report


def names(report: dict[str, Any]) -> list[str]:
    return [error["name"] for error in report["errors"]]


def test_all_are_held_in_order_and_released_in_reverse(box: Box) -> None:
    configure(box, {})
    status, report = run(box)

    assert box.scripts_ran() == ALL_HELD + ALL_RELEASED
    assert (status, report["consistency"]) == (0, "application")


@pytest.mark.parametrize("position", range(COUNT))
@pytest.mark.parametrize(
    ("body", "name", "told"),
    [
        ("exit 1", "Pre-ScriptExecutionFailed", "failed"),
        ("exec sleep 600", "Pre-ScriptTimeout", "timeout"),
    ],
)
@pytest.mark.parametrize("proceeds", [True, False])
def test_after_the_first_failed_hold_no_further_one_starts_and_all_that_started_are_released(
    box: Box, *, position: int, body: str, name: str, told: str, proceeds: bool
) -> None:
    configure(box, {("pre", position): body}, continueBackupOnFailure=proceeds)
    status, report = run(box)

    held = ALL_HELD[: position + 1]
    released = [f"post {position} {told}", *ALL_RELEASED[COUNT - position :]]
    assert box.scripts_ran() == held + released
    assert names(report) == [name]
    assert (status, report["consistency"]) == ((3, "filesystem") if proceeds else (4, "none"))
    assert (box.root / "run/taken").exists() is proceeds


@pytest.mark.parametrize("position", range(COUNT))
@pytest.mark.parametrize(
    ("body", "name"),
    [("exit 1", "Post-ScriptExecutionFailed"), ("exec sleep 600", "Post-ScriptTimeout")],
)
def test_a_failed_release_does_not_keep_the_others_held(
    box: Box, position: int, body: str, name: str
) -> None:
    configure(box, {("post", position): body})
    status, report = run(box)

    assert box.scripts_ran() == ALL_HELD + ALL_RELEASED
    assert names(report) == [name]
    assert (status, report["consistency"]) == (3, "filesystem")


@pytest.mark.parametrize("position", range(COUNT))
def test_a_release_that_is_refused_right_before_it_does_not_keep_the_others_held(
    box: Box, position: int
) -> None:
    configure(box, {("pre", 2): f"chmod 777 /etc/quiesce/scripts/post{position}"})
    status, report = run(box)

    assert box.scripts_ran() == ALL_HELD + [
        line for line in ALL_RELEASED if line != f"post {position} ok"
    ]
    assert names(report) == ["InsufficientPermissionforPost-Script"]
    assert (status, report["consistency"]) == (3, "filesystem")


@pytest.mark.parametrize("position", range(1, COUNT))
def test_a_hold_that_is_refused_right_before_it_needs_no_release(box: Box, position: int) -> None:
    configure(box, {("pre", 0): f"chmod 777 /etc/quiesce/scripts/pre{position}"})
    _status, report = run(box)

    assert box.scripts_ran() == ALL_HELD[:position] + ALL_RELEASED[COUNT - position :]
    assert names(report) == ["InsufficientPermissionforPre-Script"]


@pytest.mark.parametrize("position", range(COUNT))
def test_one_refused_configuration_stops_all_scripts(box: Box, position: int) -> None:
    configure(box, {})
    (box.root / f"etc/azure/plugin{position}.json").chmod(0o644)
    status, report = run(box)

    assert box.scripts_ran() == []
    assert names(report) == ["IncorrectJSONConfigFile"]
    assert (status, report["requested"], report["consistency"]) == (3, "application", "filesystem")


@pytest.mark.parametrize("first", range(COUNT))
@pytest.mark.parametrize(
    ("command", "post", "late", "outcome"),
    [
        ("exit 9", "exit 0", ["SnapshotFailed"], (5, "failed")),
        ("exit 0", "exit 1", ["Post-ScriptExecutionFailed"], (3, "degraded")),
        ("exit 9", "exit 1", ["SnapshotFailed", "Post-ScriptExecutionFailed"], (5, "failed")),
    ],
)
def test_of_several_failures_all_are_told_in_order(
    box: Box, *, first: int, command: str, post: str, late: list[str], outcome: tuple[int, str]
) -> None:
    configure(box, {("pre", first): "exit 1", ("post", 0): post})
    status, report = run(box, command)

    assert names(report) == ["Pre-ScriptExecutionFailed", *late]
    assert (status, report["outcome"]) == outcome


def test_what_an_earlier_script_left_lives_on_where_the_engine_dies_in_a_later_one(
    box: Box,
) -> None:
    leave = "setsid sleep 600 >/dev/null 2>&1 & echo $! >/run/daemon"
    hang = "echo $$ >/run/hanging; exec sleep 600"
    configure(box, {("pre", 0): leave, ("pre", 1): hang}, timeoutInSeconds=60)
    process = box.start("exec", "--", "true")
    wait_until((box.root / "run/hanging").exists)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: box.record() is None)

    daemon = int(box.read("/run/daemon"))
    assert state_of(daemon) == "S"
    os.kill(daemon, signal.SIGKILL)
    assert box.scripts_ran() == ["pre 0 ", "pre 1 ", "post 1 failed", "post 0 ok"]
