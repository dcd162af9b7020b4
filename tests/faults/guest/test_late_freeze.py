"""A FIFREEZE that blocks in the kernel: nobody waits for it, and what it does late is undone."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import state_of, wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults


@pytest.fixture
def blocked(box: Box) -> Box:
    """A file system in a file on one that is frozen: freezing it waits for the carrier."""
    box.mount("/mnt/a")
    made = box.shell(
        "truncate -s 8M /mnt/a/image && mkfs.ext4 -q /mnt/a/image && mkdir /mnt/inner"
        " && mount -o loop /mnt/a/image /mnt/inner && touch /mnt/inner/file && sync"
    )
    assert made.returncode == 0, made.stderr
    box.mounts.append("/mnt/inner")
    box.write("/etc/quiesce/guest.conf", "[freeze]\ntimeout_s = 1\n")
    box.freeze("/mnt/a")
    return box


def test_a_freeze_that_blocks_is_left_behind_and_thawed_when_it_returns(blocked: Box) -> None:
    done = blocked.run("exec", "--json", "--freeze", "/mnt/inner", "--", "true")

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (3, "crash")
    assert [error["name"] for error in report["errors"]] == ["FsFreezeTimeout"]
    assert json.loads(blocked.run("status", "--json").stdout)["at_rest"]["alive"]
    assert blocked.run("hold").returncode == 9

    blocked.thaw("/mnt/a")

    wait_until(lambda: blocked.record() is None)
    assert not blocked.is_frozen("/mnt/inner")


def test_a_freezer_killed_in_flight_leaves_no_freeze(blocked: Box) -> None:
    blocked.run("exec", "--freeze", "/mnt/inner", "--", "true")
    freezers = [pid for pid in blocked.processes() if state_of(pid) == "D"]
    assert len(freezers) == 1

    os.kill(freezers[0], signal.SIGKILL)
    blocked.thaw("/mnt/a")

    wait_until(lambda: blocked.record() is None)
    assert not blocked.is_frozen("/mnt/inner")


def test_at_the_deadline_a_blocked_freeze_does_not_keep_others_frozen(blocked: Box) -> None:
    """The door froze one mount, and is stuck in the freeze of the other."""
    blocked.mount("/mnt/b")
    blocked.write("/etc/quiesce/guest.conf", "[freeze]\nskip = /mnt/a\ndeadline_s = 2\n")
    assert blocked.run("hook", "qga", "freeze").returncode == 0
    blocked.freeze("/mnt/b")
    blocked.freeze_behind("/mnt/inner")

    wait_until(lambda: blocked.run("report").returncode == 0)
    assert not blocked.is_frozen("/mnt/b")

    blocked.thaw("/mnt/a")
    wait_until(lambda: not blocked.is_frozen("/mnt/inner"))
