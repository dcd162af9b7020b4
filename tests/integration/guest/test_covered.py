"""A file system below another mount is written to all the same, and nobody can freeze it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration


@pytest.fixture
def machine(box: Box) -> Box:
    box.mount("/mnt/a")
    box.mount("/mnt/b")
    box.configure()
    assert box.shell("mkdir /tmp/over; mount --bind /tmp/over /mnt/a").returncode == 0
    box.mounts.remove("/mnt/a")
    return box


def test_exec_claims_nothing_that_a_covered_file_system_belies(machine: Box) -> None:
    ended = machine.run("exec", "--json", "--", "true")
    report = json.loads(ended.stdout)

    assert [error["name"] for error in report["errors"]] == ["UnableToOpenMount"]
    assert (ended.returncode, report["consistency"]) == (3, "crash")


def test_check_says_so_before(machine: Box) -> None:
    told = machine.run("check", "--json")

    assert told.returncode == 3
    assert json.loads(told.stdout)["expected"] == "crash"


def test_the_agent_is_told_to_take_the_snapshot_without_a_freeze(machine: Box) -> None:
    assert machine.run("hook", "qga", "freeze").returncode == 3
    wait_until(lambda: machine.record() is None)


def test_what_is_asked_for_by_name_does_not_depend_on_what_is_covered(machine: Box) -> None:
    ended = machine.run("exec", "--json", "--freeze", "/mnt/b", "--", "true")

    assert (ended.returncode, json.loads(ended.stdout)["consistency"]) == (0, "application")


@pytest.mark.parametrize(
    ("what", "names", "level"),
    [
        ("mount --bind /tmp/over /mnt/b", ["UnableToOpenMount"], "crash"),
        ("mkdir /mnt/c; mount --move /mnt/b /mnt/c", ["UnableToOpenMount"], "crash"),
        ("umount /mnt/b", [], "application"),
    ],
)
def test_what_happens_to_a_mount_between_plan_and_freeze_is_seen(
    box: Box, what: str, names: list[str], level: str
) -> None:
    box.mount("/mnt/a")
    box.mount("/mnt/b")
    box.configure(pre=f"mkdir -p /tmp/over; {what}")
    report = json.loads(box.run("exec", "--json", "--", "true").stdout)
    box.mounts.remove("/mnt/b")

    assert [error["name"] for error in report["errors"]] == names
    assert report["consistency"] == level
    assert report["warnings"] == ([] if names else ["/mnt/b is no longer mounted"])
