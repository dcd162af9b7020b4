import pytest

from quiesce.demo import checks
from quiesce.demo.ledger import Commit, compare

CLEAN = """\
[    5.1] EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.
[   11.7] XFS (vdb): Mounting V5 Filesystem
[   11.9] XFS (vdb): Starting recovery (logdev: internal)
[   12.0] XFS (vdb): Ending recovery (logdev: internal)
"""
POINT = "01KAVW8Z3J5V1R9F2M4N6P8Q0S"


def shown(**report):
    steps = [
        {"name": "pre-script", "kind": "script", "status": "ok"},
        {"name": "freeze", "kind": "freeze", "status": "skipped"},
        {"name": "post-script", "kind": "script", "status": "ok"},
    ]
    whole = {
        "session": POINT,
        "reached": "application",
        "steps": steps,
        "mounts": [{"path": "/data", "frozen": "door"}, {"path": "/", "frozen": "door"}],
        "window": {"expired": False},
        "facts": {"lsn": "0/3000060"},
    }
    return {
        "point": {"id": POINT, "consistency": "application"},
        "evidence": {"consistency": "application", "report": whole | report, "errors": []},
    }


def commits(present):
    ledger = [Commit(1, 1.0, 1.5), Commit(2, 5.0, 5.5)]
    return checks.check_commits(compare(ledger, present, freeze_sent_s=2.0, thaw_answered_s=3.0))


def test_commits_pass_where_they_are_what_the_instant_allows():
    assert commits([1]).passed


@pytest.mark.parametrize(
    ("present", "says"), [([], "lost"), ([1, 2], "after the thaw"), ([1, 9], "nobody wrote")]
)
def test_commits_fail_where_one_is_missing_or_too_many(present, says):
    check = commits(present)

    assert not check.passed
    assert says in check.detail


def test_a_ledger_without_commits_on_both_sides_proves_nothing():
    only_before = compare([Commit(1, 1.0, 1.5)], [1], freeze_sent_s=2.0, thaw_answered_s=3.0)

    assert not checks.check_commits(only_before).passed


def test_the_replay_of_xfs_s_log_is_no_finding():
    check = checks.check_kernel_log(CLEAN)

    assert check.passed
    assert "XFS replayed its log" in check.detail


@pytest.mark.parametrize(
    "line",
    [
        "EXT4-fs (vda1): INFO: recovery required on readonly filesystem",
        "EXT4-fs (vda1): recovery complete",
        "EXT4-fs error (device vda1): ext4_lookup:1855: inode #12: bad inode",
        "XFS (vdb): Metadata CRC error detected at xfs_agf_read_verify",
        "XFS (vdb): Corruption of in-memory data (0x8) detected",
        "Buffer I/O error on dev vdb, logical block 3, async page read",
        "EXT4-fs (vda1): Remounting filesystem read-only",
    ],
)
def test_recovery_of_ext4_and_damage_are_findings(line):
    check = checks.check_kernel_log(f"{CLEAN}[   20.0] {line}\n")

    assert not check.passed
    assert line in check.detail


def test_orphan_inodes_are_reported_and_no_damage():
    kernel = checks.check_kernel_log(f"{CLEAN}[ 6.0] EXT4-fs (vda1): 3 orphan inodes deleted\n")
    tidied = checks.check_ext4(
        1, "system: Clearing orphaned inode 13 (uid=0)\nsystem: 12/99 files (0.0%), 4/50 blocks\n"
    )

    assert kernel.passed
    assert "orphan" in kernel.detail
    assert tidied.passed
    assert tidied.detail == "1 orphan inodes, no damage"


def test_what_e2fsck_had_to_mend_beside_orphans_is_damage():
    said = "system: Clearing orphaned inode 13 (uid=0)\nsystem: Inode 14 has illegal block(s).\n"

    assert not checks.check_ext4(1, said).passed
    assert not checks.check_ext4(4, "Block bitmap differences: +99. Fix? no\n").passed


def test_what_xfs_repair_or_pg_amcheck_finds_is_a_finding():
    assert checks.check_xfs(0, "No modify flag set, skipping phase 5").passed
    assert not checks.check_xfs(1, "would have cleared inode 132").passed
    assert checks.check_postgresql(0, "").passed
    assert not checks.check_postgresql(2, 'heap table "ledger", block 3: xmin …').passed
    assert not checks.check_postgresql(0, "warning: could not").passed


def test_a_server_short_of_the_written_down_position_fails():
    assert checks.check_position("0/3000060", reached=True, now="0/3000098").passed
    assert not checks.check_position("0/3000060", reached=False, now="0/2FFFFF0").passed
    assert not checks.check_position(None, reached=False, now="0/2FFFFF0").passed


def test_the_evidence_agrees_with_the_level():
    check = checks.check_evidence(shown())

    assert check.passed
    assert "lsn=0/3000060" in check.detail


@pytest.mark.parametrize(
    "broken",
    [
        {"reached": "filesystem"},
        {"session": "01KAVW8Z3J5V1R9F2M4N6P8Q0T"},
        {"window": {"expired": True}},
        {"window": None},
        {"steps": []},
        {"mounts": []},
        {"mounts": [{"path": "/data", "frozen": False}]},
        {"steps": [{"name": "pre-script", "kind": "script", "status": "timeout"}]},
    ],
)
def test_a_report_that_does_not_bear_the_level_out_fails(broken):
    assert not checks.check_evidence(shown(**broken)).passed


def test_a_point_without_the_guest_s_report_or_of_a_lower_level_fails():
    without = shown()
    without["evidence"]["report"] = None
    lower = shown()
    lower["point"]["consistency"] = "filesystem"

    assert not checks.check_evidence(without).passed
    assert not checks.check_evidence(lower).passed
