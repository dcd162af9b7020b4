"""Nothing can be written any more: what was brought to rest is released all the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

READ_ONLY = "mount --bind /run /run && mount -o remount,bind,ro /run"
FILL = "cat /dev/zero >/run/fill 2>/dev/null || true"


@pytest.fixture
def small(box: Box) -> Box:
    """A machine whose /run holds 1 MiB, with a log of the scripts elsewhere."""
    box.mount("/mnt/a")
    assert box.shell("mount -o remount,size=1M /run && touch /run/scripts.log").returncode == 0
    return box


def test_where_run_fills_up_while_held_nothing_is_frozen_and_all_is_released(small: Box) -> None:
    small.configure(pre=FILL, post="rm /run/fill; echo post >>/run/scripts.log")

    done = small.run("exec", "--json", "--disks", "2", "--", "true")

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"], report["outcome"]) == (3, "crash", "degraded")
    assert [error["name"] for error in report["errors"]] == ["GuardUnavailable"]
    assert small.scripts_ran()[-1] == "post"
    assert not small.is_frozen("/mnt/a")
    assert small.record() is None


def test_where_run_fills_up_in_the_window_the_snapshot_stands(small: Box) -> None:
    small.configure()

    done = small.run("exec", "--json", "--disks", "2", "--", "sh", "-c", FILL)

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"], report["outcome"]) == (
        0,
        "application",
        "complete",
    )
    assert not small.is_frozen("/mnt/a")
    assert small.record() is None


def test_where_no_report_can_be_written_the_caller_still_has_it(small: Box) -> None:
    small.write("/var/log/quiesce", "in the way")

    done = small.run("exec", "--json", "--", "sh", "-c", FILL)

    assert done.returncode == 0
    assert json.loads(done.stdout)["consistency"] == "filesystem"
    assert not small.is_frozen("/mnt/a")


def test_a_watchdog_that_dies_while_freezing_leaves_nothing_frozen(box: Box) -> None:
    """Its death shows when it is told that a mount is frozen."""
    box.mount("/mnt/a")
    program = """
from quiesce.guest.filesystems import devices, freezing
from quiesce.guest.filesystems.mounts import plan_freeze
from quiesce.system.deadline import Deadline
plan = plan_freeze(devices.read_mounts(), carriers={}, only=["/mnt/a"])
all = freezing.prepare(plan.mounts)
all.open(Deadline.after(5))
def claim(place, state):
    if state == freezing.FROZEN:
        raise BrokenPipeError
try:
    all.freeze(Deadline.after(5), until_s=1e12, claim=claim)
except BrokenPipeError:
    print("raised")
all.leave()
"""
    box.write("/tmp/program.py", program)

    done = box.shell("PYTHONPATH=/opt/guest-set python3 /tmp/program.py")

    assert done.stdout == "raised\n", done.stderr
    assert not box.is_frozen("/mnt/a")


@pytest.mark.parametrize(
    "trouble",
    ["mount -o remount,ro /run", "umount /run && rm -rf /run", "mount -o ro -t tmpfs x /run"],
)
def test_where_run_is_read_only_or_missing_nothing_is_brought_to_rest(
    box: Box, trouble: str
) -> None:
    box.mount("/mnt/a")
    box.configure()
    assert box.shell(trouble).returncode == 0

    done = box.run("exec", "--json", "--disks", "2", "--", "true")

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"], report["outcome"]) == (3, "crash", "degraded")
    assert [error["name"] for error in report["errors"]] == ["GuardUnavailable"]
    assert box.scripts_ran() == []
    box.assert_at_peace()


@pytest.mark.parametrize("trouble", [READ_ONLY, "mount -t tmpfs none /run"])
def test_where_run_goes_away_while_held_all_is_released(box: Box, trouble: str) -> None:
    box.mount("/mnt/a")
    box.configure(pre=trouble, post="umount /run; echo post >>/run/scripts.log")

    done = box.run("exec", "--json", "--disks", "2", "--", "true")

    report = json.loads(done.stdout)
    assert done.returncode == 3, done.stderr
    assert [error["name"] for error in report["errors"]] == ["GuardUnavailable"]
    assert box.scripts_ran()[-1] == "post"
    assert not box.is_frozen("/mnt/a")


def test_where_run_is_read_only_in_the_window_the_snapshot_stands(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(post="umount /run")

    done = box.run("exec", "--json", "--disks", "2", "--", "sh", "-c", READ_ONLY)

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (0, "application")
    box.assert_at_peace()


def test_where_run_stays_read_only_the_end_is_told_all_the_same(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(post=": >/tmp/released")

    done = box.run("exec", "--json", "--disks", "2", "--", "sh", "-c", READ_ONLY)

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (0, "application"), done.stderr
    assert (box.root / "tmp/released").exists()
    assert not box.is_frozen("/mnt/a")
    box.shell("umount /run")
    box.run("thaw")
    box.assert_at_peace()


def test_where_run_is_read_only_between_hold_and_release_all_is_released_and_told(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(post=": >/tmp/released")
    assert box.run("hold").returncode == 0
    assert box.shell(READ_ONLY).returncode == 0

    done = box.run("release", "--snapshot", "taken")

    assert done.returncode == 0, done.stderr
    assert (box.root / "tmp/released").exists()
    assert box.report()["consistency"] == "application"
    wait_until(lambda: box.processes() == [])
    assert not (box.root / "run/quiesce/crash.log").exists()
    box.shell("umount /run")
    box.run("thaw")
    box.assert_at_peace()
