"""Row 24: where nothing can guard a session nothing is brought to rest, and that is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

CASES = [(True, 2, 3, "crash"), (False, 1, 3, "crash"), (False, 2, 4, "none")]


@pytest.fixture
def machine(box: Box) -> Box:
    """A machine whose /run cannot be used."""
    box.mount("/mnt/a")
    box.write("/run/quiesce", "in the way")
    return box


@pytest.mark.parametrize(("proceeds", "disks", "status", "level"), CASES)
def test_exec_runs_the_command_only_where_a_lower_level_is_allowed(
    machine: Box, *, proceeds: bool, disks: int, status: int, level: str
) -> None:
    machine.configure(continueBackupOnFailure=proceeds)
    ended = machine.run(
        "exec", "--json", "--disks", str(disks), "--", "sh", "-c", "touch /run/taken"
    )
    report = json.loads(ended.stdout)

    assert ended.returncode == status
    assert [error["name"] for error in report["errors"]] == ["GuardUnavailable"]
    assert (report["requested"], report["consistency"]) == ("application", level)
    assert (machine.root / "run/taken").exists() is (level == "crash")
    assert machine.scripts_ran() == []


@pytest.mark.parametrize(("proceeds", "disks", "status", "level"), CASES)
def test_hold_says_that_nothing_is_at_rest(
    machine: Box, *, proceeds: bool, disks: int, status: int, level: str
) -> None:
    machine.configure(continueBackupOnFailure=proceeds)
    held = machine.run("hold", "--json", "--disks", str(disks))
    told = json.loads(held.stdout)

    assert held.returncode == status
    assert (told["held"], told["reached"]) == (False, level)
    assert told["errors"] == ["GuardUnavailable"]
    assert machine.scripts_ran() == []


@pytest.mark.parametrize(("proceeds", "status"), [(True, 3), (False, None)])
def test_the_hook_of_the_agent_says_what_the_snapshot_is_to_be(
    machine: Box, *, proceeds: bool, status: int | None
) -> None:
    machine.configure(continueBackupOnFailure=proceeds)
    count = json.loads(machine.run("check", "--json").stdout)["disks"]["count"]

    expected = status if status is not None else {True: 3, False: 4}[count == 1]
    assert machine.run("hook", "qga", "freeze").returncode == expected
    assert machine.scripts_ran() == []


def test_exec_without_a_command_is_a_usage_error(machine: Box) -> None:
    assert machine.run("exec").returncode == 2
    assert machine.run("exec", "--").returncode == 2


def test_what_was_to_be_frozen_and_was_not_is_not_reported_as_frozen(box: Box) -> None:
    box.mount("/mnt/a")
    assert (
        box.shell("mkdir /run/quiesce; mount -t tmpfs -o size=256k run /run/quiesce").stderr == ""
    )
    box.configure(pre="dd if=/dev/zero of=/run/quiesce/fill bs=4k 2>/dev/null; true")

    ended = box.run("exec", "--json", "--disks", "2", "--", "true")
    report = json.loads(ended.stdout)

    assert (ended.returncode, report["consistency"]) == (3, "crash")
    assert [error["name"] for error in report["errors"]] == ["GuardUnavailable"]
    assert {mount["frozen"] for mount in report["mounts"]} == {False}
    assert report["window"]["frozen_s"] == 0
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    assert box.shell("umount /run/quiesce").returncode == 0
