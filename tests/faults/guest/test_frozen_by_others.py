"""Somebody else has frozen the disk that our own record lies on: no session waits for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

PLACE = "/var/lib/quiesce"


@pytest.fixture
def frozen(box: Box) -> Box:
    box.mount(PLACE)
    box.configure()
    return box


def left(box: Box) -> list[str]:
    return [each.name for each in (box.root / PLACE.lstrip("/")).glob("*session*")]


def test_what_cannot_be_put_down_in_time_costs_a_warning_and_is_not_put_down_late(
    frozen: Box,
) -> None:
    frozen.freeze(PLACE)

    done = frozen.run("exec", "--json", "--disks", "2", "--", "true")
    report = json.loads(done.stdout)
    frozen.thaw(PLACE)

    assert (done.returncode, report["consistency"]) == (3, "crash")
    assert [error["name"] for error in report["errors"]] == ["FsFreezeFailed"]
    assert any("nothing releases it at the next boot" in each for each in report["warnings"])
    assert frozen.scripts_ran() == ["pre  ", "post ok taken"]
    frozen.assert_at_peace()
    assert left(frozen) == []
    assert not (frozen.root / "run/quiesce/crash.log").exists()


def test_what_cannot_be_taken_away_in_time_is_taken_away_later(frozen: Box) -> None:
    assert frozen.run("hold", "--no-freeze").returncode == 0
    frozen.freeze(PLACE)

    released = frozen.run("release", "--snapshot", "taken")
    was_left = left(frozen)
    frozen.thaw(PLACE)

    assert released.returncode == 0, released.stderr
    assert frozen.scripts_ran() == ["pre  ", "post ok taken"]
    assert was_left == ["session.json"]
    wait_until(lambda: left(frozen) == [])
    frozen.assert_at_peace()


def test_a_session_that_holds_nothing_does_not_touch_it(frozen: Box) -> None:
    (frozen.root / "etc/azure/VMSnapshotPluginConfig.json").unlink()
    frozen.freeze(PLACE)

    done = frozen.run("exec", "--json", "--no-freeze", "--", "true")

    assert done.returncode == 0, done.stderr
    assert frozen.processes() == []
