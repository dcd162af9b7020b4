"""`quiesce-guest exec` on real file systems: the rows of the decision table."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import PROGRAM, wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

# Freezing what is frozen is refused: status 1 says that the file system is at rest.
IS_FROZEN = "! fsfreeze -f /mnt/a 2>/dev/null"
IS_NOT_FROZEN = "fsfreeze -f /mnt/a && fsfreeze -u /mnt/a"


def run(box: Box, command: str, *options: str) -> tuple[int, dict[str, Any]]:
    done = box.run("exec", "--json", "--disks", "2", *options, "--", "sh", "-c", command)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def names(report: dict[str, Any]) -> list[str]:
    return [error["name"] for error in report["errors"]]


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_row_1_the_file_system_is_frozen_while_the_command_runs(box: Box, fstype: str) -> None:
    box.mount("/mnt/a", fstype)

    status, report = run(box, IS_FROZEN)

    assert (status, report["consistency"], report["outcome"]) == (0, "filesystem", "complete")
    assert report["requested"] == "filesystem"
    assert [mount["frozen"] for mount in report["mounts"] if mount["path"] == "/mnt/a"] == [True]
    assert not box.is_frozen("/mnt/a")


def test_row_2_scripts_run_around_the_window(box: Box) -> None:
    box.mount("/mnt/a")
    box.mount("/mnt/b", "xfs")
    box.configure(pre="echo lsn=0/30 >>$QUIESCE_FACTS")

    status, report = run(box, f"echo snapshot >>/run/scripts.log; {IS_FROZEN}")

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")
    assert box.scripts_ran() == ["pre  ", "snapshot", "post ok taken"]
    assert report["facts"] == {"lsn": "0/30"}
    assert [step["name"] for step in report["steps"]] == [
        "pre-script",
        "freeze",
        "snapshot",
        "thaw",
        "post-script",
    ]


def test_row_3_with_freezing_off_the_scripts_alone_make_it_application_consistent(
    box: Box,
) -> None:
    box.mount("/mnt/a")
    box.configure(fsFreezeEnabled=False)

    status, report = run(box, IS_NOT_FROZEN)

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")
    assert box.scripts_ran() == ["pre  ", "post ok taken"]


def test_row_4_no_script_of_a_configuration_that_others_may_write_is_run(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    (box.root / "etc/azure/VMSnapshotPluginConfig.json").chmod(0o666)

    status, report = run(box, IS_FROZEN)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == ["IncorrectJSONConfigFile"]
    assert box.scripts_ran() == []


def test_row_8_after_a_failed_pre_script_the_post_script_still_runs(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="exit 7")

    status, report = run(box, IS_FROZEN)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == ["Pre-ScriptExecutionFailed"]
    assert box.scripts_ran() == ["pre  ", "post failed taken"]


def test_row_9_a_failed_pre_script_aborts_where_the_owner_wants_no_less(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="exit 7", continueBackupOnFailure=False)

    status, report = run(box, "echo snapshot >>/run/scripts.log")

    assert (status, report["consistency"], report["outcome"]) == (4, "none", "aborted")
    assert box.scripts_ran() == ["pre  ", "post failed not-taken"]


def test_row_11_what_somebody_else_froze_stays_frozen_and_everything_of_ours_is_thawed(
    box: Box,
) -> None:
    box.mount("/mnt/a")
    box.mount("/mnt/b")
    box.freeze("/mnt/b")

    status, report = run(box, "true")

    assert (status, report["consistency"], report["outcome"]) == (3, "crash", "degraded")
    assert names(report) == ["FsFreezeFailed"]
    assert not box.is_frozen("/mnt/a")
    assert box.thaw("/mnt/b")


def test_row_14_a_failed_command_is_a_failed_snapshot(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    status, report = run(box, "exit 9")

    assert (status, report["consistency"], report["outcome"]) == (5, "none", "failed")
    assert names(report) == ["SnapshotFailed"]
    assert report["snapshot"] == {"taken": False, "exit_status": 9}
    assert box.scripts_ran() == ["pre  ", "post ok failed"]


def test_rows_14_and_15_a_command_that_hangs_is_killed_at_the_deadline(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    status, report = run(box, "sleep 600", "--deadline", "0.5")

    assert (status, report["consistency"], report["outcome"]) == (5, "none", "failed")
    assert names(report) == ["FreezeWindowExpired", "SnapshotFailed"]
    assert report["window"]["expired"]
    assert box.scripts_ran() == ["pre  ", "post ok failed"]
    assert not box.is_frozen("/mnt/a")


@pytest.mark.parametrize("command", ["exec touch /mnt/a/file", "(touch /mnt/a/file; :); :"])
def test_a_command_that_writes_to_a_frozen_file_system_is_freed_at_the_deadline(
    box: Box, command: str
) -> None:
    box.mount("/mnt/a")

    status, report = run(box, command, "--deadline", "1")

    assert status == 5
    assert names(report) == ["FreezeWindowExpired", "SnapshotFailed"]
    assert "--command-freezes" in report["errors"][1]["action"]
    assert not box.is_frozen("/mnt/a")


def test_row_17_after_a_failed_post_script_the_level_is_lower(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(post="exit 3")

    status, report = run(box, "true")

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == ["Post-ScriptExecutionFailed"]


def test_row_18_a_failed_post_script_discards_where_the_owner_wants_no_less(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(post="exit 3", continueBackupOnFailure=False)

    done = box.run("exec", "--disks", "2", "--", "true")

    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "this snapshot must not be used"
    assert box.report()["snapshot"]["taken"] is True


def test_row_20_without_configuration_and_freeze_nothing_is_held(box: Box) -> None:
    box.mount("/mnt/a")

    status, report = run(box, IS_NOT_FROZEN, "--no-freeze")

    assert (status, report["consistency"], report["outcome"]) == (0, "crash", "complete")
    assert report["window"] is None


def test_row_21_a_mount_that_somebody_thawed_early_makes_the_window_an_expired_one(
    box: Box,
) -> None:
    box.mount("/mnt/a")

    status, report = run(box, "fsfreeze -u /mnt/a")

    assert (status, report["consistency"], report["outcome"]) == (3, "crash", "degraded")
    assert names(report) == ["FreezeWindowExpired"]


def test_row_23_a_signal_before_the_snapshot_releases_and_aborts(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="sleep 600")
    process = box.start("exec", "--json", "--", "sh", "-c", "echo snapshot >>/run/scripts.log")
    wait_until(lambda: box.scripts_ran() == ["pre  "])

    process.send_signal(signal.SIGTERM)
    stdout, _stderr = process.communicate(timeout=60)

    report = json.loads(stdout)
    assert (process.returncode, report["consistency"], report["outcome"]) == (
        130,
        "none",
        "aborted",
    )
    assert names(report) == ["Interrupted"]
    assert box.scripts_ran() == ["pre  ", "post failed not-taken"]


def test_a_signal_while_the_application_is_released_ends_us_when_it_is(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(
        post="while [ ! -e /run/go-on ]; do sleep 0.02; done; echo end >>/run/scripts.log"
    )
    process = box.start("exec", "--json", "--", "true")
    wait_until(lambda: len(box.scripts_ran()) > 1)

    process.send_signal(signal.SIGTERM)
    box.write("/run/go-on", "")
    stdout, _stderr = process.communicate(timeout=60)

    report = json.loads(stdout)
    assert (process.returncode, report["consistency"], report["outcome"]) == (
        130,
        "application",
        "complete",
    )
    assert any("a signal came after the snapshot" in each for each in report["warnings"])
    assert box.scripts_ran() == ["pre  ", "post ok taken", "end"]


@pytest.mark.parametrize("words", ["--freeze /nowhere -- true", "-- sh -c 'kill -9 $PPID'"])
def test_nothing_of_the_commands_own_directory_is_left(box: Box, words: str) -> None:
    box.mount("/mnt/a")

    done = box.shell(f"{PROGRAM} exec {words}")

    assert done.returncode != 0
    box.assert_at_peace()
    assert list((box.root / "run/quiesce").glob("*.home")) == []


def test_a_directory_that_a_command_could_not_leave_is_taken_away_by_the_next_one(box: Box) -> None:
    box.shell("mkdir -p /run/quiesce/01JD5B5V7M6K2Q3R4S5T6V7W8X.home/deep; touch /run/quiesce/lock")

    assert box.run("exec", "--no-freeze", "--", "true").returncode == 0
    assert list((box.root / "run/quiesce").glob("*.home")) == []


@pytest.mark.parametrize(
    "mount",
    [
        'mount --bind /mnt/a "$(mktemp -d)"',
        'mkdir "$HOME/deep" && mount --bind /mnt/a/precious "$HOME/deep"',
        'mount --bind /mnt/a "$HOME"',
        'touch "$TMPDIR/one" && mount --bind /mnt/a/precious/file "$TMPDIR/one"',
        'ln -s /mnt/a "$HOME/link"',
    ],
)
@pytest.mark.parametrize("ending", ["true", "sleep 600"], ids=["ends", "is killed"])
def test_what_a_command_leaves_mounted_in_its_own_directory_stays_whole(
    box: Box, mount: str, ending: str
) -> None:
    box.mount("/mnt/a")
    box.shell("mkdir /mnt/a/precious && echo data >/mnt/a/precious/file")
    box.configure()

    box.run("exec", "--no-freeze", "--deadline", "2", "--", "sh", "-c", f"{mount} && {ending}")
    assert box.run("exec", "--no-freeze", "--", "true").returncode == 0

    assert box.shell("cat /mnt/a/precious/file").stdout == "data\n"


def test_a_signal_while_the_command_runs_thaws_and_releases(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    command = "echo snapshot >>/run/scripts.log; sleep 600"
    process = box.start("exec", "--json", "--", "sh", "-c", command)
    wait_until(lambda: "snapshot" in box.scripts_ran())

    process.send_signal(signal.SIGINT)
    stdout, _stderr = process.communicate(timeout=60)

    report = json.loads(stdout)
    assert (process.returncode, report["consistency"], report["outcome"]) == (130, "none", "failed")
    assert names(report) == ["Interrupted", "SnapshotFailed"]
    assert box.scripts_ran() == ["pre  ", "snapshot", "post ok failed"]
    assert not box.is_frozen("/mnt/a")


def test_only_the_named_mounts_are_frozen(box: Box) -> None:
    box.mount("/mnt/a")
    box.mount("/mnt/b")

    status, report = run(box, IS_NOT_FROZEN, "--freeze", "/mnt/b")

    assert status == 0
    assert [mount["path"] for mount in report["mounts"] if mount["frozen"] is True] == ["/mnt/b"]


def test_a_path_that_is_no_mount_point_is_a_usage_error(box: Box) -> None:
    box.mount("/mnt/a")

    done = box.run("exec", "--freeze", "/mnt/a/deeper", "--", "true")

    assert done.returncode == 2
    assert "/mnt/a/deeper" in done.stderr


def test_a_missing_command_is_found_out_before_anything_is_at_rest(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    done = box.run("exec", "--json", "--", "no-such-command")

    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["name"] == "SnapshotFailed"
    assert box.scripts_ran() == []
    assert os.listdir(box.root / "run/quiesce") == ["lock"]


def test_a_command_that_freezes_by_itself_finds_the_file_system_unfrozen(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    status, report = run(box, IS_NOT_FROZEN, "--command-freezes")

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")


def test_what_the_command_prints_stays_off_the_one_document(box: Box) -> None:
    box.mount("/mnt/a")

    done = box.run("exec", "--json", "--", "echo", "hello")

    assert done.stderr == "hello\n"
    json.loads(done.stdout)


def test_the_report_goes_into_a_named_file_too(box: Box) -> None:
    box.mount("/mnt/a")

    done = box.run("exec", "--report", "/tmp/report.json", "--", "true")

    assert done.returncode == 0
    assert json.loads(box.read("/tmp/report.json")) == box.report()


@pytest.mark.parametrize("path", ["/tmp/missing/report.json", "/tmp"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_at_rest(
    box: Box, path: str
) -> None:
    box.mount("/mnt/a")
    box.configure()

    done = box.run("exec", "--report", path, "--", "touch", "/run/taken")

    assert done.returncode == 2
    assert path in done.stderr
    assert box.scripts_ran() == []
    assert not (box.root / "run/taken").exists()


def test_a_report_that_can_no_longer_be_written_does_not_hide_what_became_of_the_snapshot(
    box: Box,
) -> None:
    box.mount("/mnt/a")
    (box.root / "tmp/reports").mkdir()

    done = box.run("exec", "--json", "--report", "/tmp/reports/a", "--", "rmdir", "/tmp/reports")

    assert done.returncode == 0
    assert json.loads(done.stdout)["consistency"] == "filesystem"
    assert "cannot write /tmp/reports/a" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_the_log_cannot_be_written_the_report_lies_in_run(box: Box) -> None:
    box.mount("/mnt/a")
    box.write("/var/log/quiesce", "in the way")

    status, report = run(box, "true")

    assert status == 0
    assert box.report()["session"] == report["session"]
