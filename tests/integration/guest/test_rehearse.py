from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration


def test_a_rehearsal_runs_the_scripts_and_freezes_and_takes_no_snapshot(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="echo lsn=1 >>$QUIESCE_FACTS")

    done = box.run("rehearse", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert box.scripts_ran() == ["pre  ", "post ok not-taken"]
    assert (report["door"], report["reached"], report["consistency"], report["outcome"]) == (
        *("rehearse", "application"),
        *(None, "complete"),
    )
    assert report["snapshot"] == {"taken": False, "exit_status": None}
    assert [(step["name"], step["status"]) for step in report["steps"]] == [
        ("pre-script", "ok"),
        ("freeze", "ok"),
        ("snapshot", "skipped"),
        ("thaw", "ok"),
        ("post-script", "ok"),
    ]
    assert report["window"]["held_s"] > 0
    assert report["window"]["frozen_s"] > 0
    assert not box.is_frozen("/mnt/a")


def test_a_person_reads_how_long_the_application_would_stand_still(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    told = box.run("rehearse").stderr.splitlines()

    held_ms = box.report()["window"]["held_s"] * 1000
    assert told[0].startswith("application (if there had been a snapshot), complete")
    assert told[-2].startswith("  from the first script's start to the last one's end ")
    assert told[-1] == (
        f"besides the snapshot itself, the application would stand still for {held_ms:.1f} ms"
    )


@pytest.mark.parametrize(
    ("settings", "pre", "status", "reached", "last"),
    [
        ({}, "exit 1", 3, "filesystem", "would stand still for"),
        ({"continueBackupOnFailure": False}, "exit 1", 4, "none", "no snapshot"),
        ({"fsFreezeEnabled": False}, "exit 0", 0, "application", "would stand still for"),
    ],
)
def test_the_exit_status_is_that_of_a_backup_whose_snapshot_is_taken(
    *, box: Box, settings: dict[str, bool], pre: str, status: int, reached: str, last: str
) -> None:
    box.mount("/mnt/a")
    box.configure(pre=pre, **settings)

    done = box.run("rehearse", "--disks", "2")

    assert done.returncode == status
    assert last in done.stderr.splitlines()[-1]
    assert box.report()["reached"] == reached
    assert box.scripts_ran() == ["pre  ", f"post {'ok' if pre == 'exit 0' else 'failed'} not-taken"]


def test_where_nothing_is_configured_nothing_but_the_freeze_is_rehearsed(box: Box) -> None:
    box.mount("/mnt/a")

    done = box.run("rehearse")

    assert done.returncode == 0
    assert box.report()["reached"] == "filesystem"


def test_where_nothing_would_be_at_rest_that_is_said(box: Box) -> None:
    done = box.run("rehearse", "--no-freeze")

    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].endswith("nothing would stand still")


def test_an_interrupted_rehearsal_releases_and_ends_as_interrupted(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="echo started >>/run/scripts.log; exec sleep 60")
    running = box.start("rehearse")
    wait_until(lambda: "started" in box.scripts_ran())

    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)

    assert running.returncode == 130
    assert box.report()["outcome"] == "aborted"
    assert box.scripts_ran()[-1] == "post failed not-taken"
