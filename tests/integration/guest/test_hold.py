"""`hold` and `release`: two processes, and a session process between them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration


def test_everything_is_at_rest_between_hold_and_release(box: Box) -> None:
    box.mount("/mnt/a")
    box.mount("/mnt/b", "xfs")
    box.configure()

    held = box.run("hold", "--json")
    frozen = [box.is_frozen("/mnt/a"), box.is_frozen("/mnt/b")]
    at_rest = json.loads(box.run("status", "--json").stdout)["at_rest"]
    released = box.run("release", "--snapshot", "taken", "--json")

    assert (held.returncode, json.loads(held.stdout)["reached"]) == (0, "application")
    assert frozen == [True, True]
    assert at_rest["alive"]
    assert sorted(at_rest["mounts"]) == ["/mnt/a", "/mnt/b"]
    report = json.loads(released.stdout)
    assert (released.returncode, report["consistency"]) == (0, "application")
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    assert not box.is_frozen("/mnt/a")
    assert not box.is_frozen("/mnt/b")
    nothing = {"at_rest": None, "left": None}
    assert json.loads(box.run("status", "--json").stdout) == nothing


def test_without_a_word_on_the_snapshot_the_report_leaves_the_level_open(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    box.run("hold")
    box.run("release")

    report = box.report()
    assert report["snapshot"]["taken"] is None
    assert (report["consistency"], report["reached"]) == (None, "application")
    assert box.scripts_ran() == ["pre  ", "post ok unknown"]


def test_a_failed_snapshot_of_the_caller_is_row_14(box: Box) -> None:
    box.mount("/mnt/a")

    box.run("hold")
    released = box.run("release", "--snapshot", "failed")

    assert released.returncode == 5
    assert box.report()["outcome"] == "failed"


def test_a_second_session_is_refused_while_one_is_at_rest(box: Box) -> None:
    box.mount("/mnt/a")
    box.run("hold")

    second = box.run("exec", "--json", "--", "true")

    assert second.returncode == 9
    assert json.loads(second.stdout)["error"]["name"] == "AlreadyHeld"
    assert box.run("release").returncode == 0


def test_releasing_where_nothing_is_held_says_so(box: Box) -> None:
    released = box.run("release", "--json")

    assert released.returncode == 10
    assert json.loads(released.stdout)["error"]["name"] == "NothingHeld"


def test_a_release_that_never_comes_ends_at_the_deadline(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    box.run("hold", "--deadline", "0.5")
    wait_until(lambda: box.record() is None)

    report = box.report()
    assert report["window"]["expired"]
    assert [error["name"] for error in report["errors"]] == ["FreezeWindowExpired"]
    assert box.scripts_ran() == ["pre  ", "post ok unknown"]
    assert not box.is_frozen("/mnt/a")
    assert report["session"] in box.run("release").stderr


def test_where_the_table_wants_no_snapshot_nothing_stays_held(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="exit 1", continueBackupOnFailure=False)

    held = box.run("hold", "--json", "--disks", "2")

    assert held.returncode == 4
    assert not json.loads(held.stdout)["held"]
    assert box.scripts_ran() == ["pre  ", "post failed not-taken"]
    assert not box.is_frozen("/mnt/a")
    assert box.record() is None


def test_thaw_ends_whatever_is_at_rest(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    box.run("hold")

    thawed = box.run("thaw")

    assert thawed.returncode == 0
    assert not box.is_frozen("/mnt/a")
    assert box.scripts_ran() == ["pre  ", "post ok unknown"]
    report = box.report()
    assert report["window"]["expired"]
    assert report["consistency"] is None


def test_a_held_session_does_not_keep_its_callers_output_open(box: Box) -> None:
    box.mount("/mnt/a")

    # It returns at the end of file of stdout and stderr: the session holds neither.
    held = box.run("hold", timeout=20)

    assert held.returncode == 0
    box.run("release")
