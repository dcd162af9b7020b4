"""The rows of framework.md, section 7."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome, lowest, strictest
from quiesce.model.report import ReportedError, ReportedMount, Window
from quiesce.policy.claim import Claim, Seen, claim, may_take
from quiesce.testing.fakes import guest_report

APPLICATION = ConsistencyLevel.APPLICATION
FILESYSTEM = ConsistencyLevel.FILESYSTEM
CRASH = ConsistencyLevel.CRASH
NONE = ConsistencyLevel.NONE
COMPLETE = Outcome.COMPLETE
DEGRADED = Outcome.DEGRADED
ABORTED = Outcome.ABORTED
STRICT = {"continue_on_failure": False, "disks": 2}


def good(**changes: Any) -> Seen:
    values: dict[str, Any] = {
        "disks": 2,
        "agent": True,
        "hook": True,
        "continue_on_failure": True,
        "freeze_enabled": True,
        "frozen": 2,
        "thawed": 2,
        "report": guest_report("s"),
    }
    return Seen(**{**values, **changes})


def names(claimed: Claim) -> list[str]:
    return [error.name for error in claimed.errors]


def reported(name: str) -> tuple[ReportedError, ...]:
    return (ReportedError.of(QuiesceError(name, "in the guest")),)


def test_a_report_and_matching_counts_are_worth_what_the_guest_reached() -> None:
    claimed = claim(good())

    assert claimed == Claim(APPLICATION, COMPLETE, keep=True)


def test_with_the_freeze_off_the_counts_say_nothing() -> None:
    assert claim(good(freeze_enabled=False, frozen=0, thawed=0)).level is APPLICATION


def test_without_configuration_the_guest_reaches_the_file_system() -> None:
    assert claim(good(report=guest_report("s", reached=FILESYSTEM))).level is FILESYSTEM


# row, what was seen beside what is good, level, outcome, errors, kept
ROWS: list[tuple[str, dict[str, Any], ConsistencyLevel, Outcome, list[str]]] = [
    ("H1", {"agent": False}, CRASH, DEGRADED, ["AgentUnavailable"]),
    ("H1 wanted", {"agent": None}, CRASH, COMPLETE, []),
    ("H2", {"hook": False, "report": None}, FILESYSTEM, COMPLETE, []),
    ("H3", {"report": None}, FILESYSTEM, DEGRADED, ["GuestReportUnavailable"]),
    ("H3 unknown", {"hook": None, "report": None}, FILESYSTEM, DEGRADED,
     ["GuestReportUnavailable"]),
    ("H3 unfrozen", {"report": None, "freeze_enabled": False, "frozen": 0, "thawed": 0}, CRASH,
     DEGRADED, ["GuestReportUnavailable"]),
    ("H4 fails", {"frozen": None, "freeze_message": "EIO", "report": None}, CRASH, DEGRADED,
     ["FsFreezeFailed"]),
    ("H4 late", {"frozen": None, "freeze_timed_out": True, "report": None}, CRASH, DEGRADED,
     ["FsFreezeTimeout"]),
    ("H4 C false", {"frozen": None, "freeze_timed_out": True, **STRICT}, NONE, ABORTED,
     ["FsFreezeTimeout"]),
    ("H4 C false, one disk", {"frozen": None, "freeze_timed_out": True, **STRICT, "disks": 1},
     CRASH, DEGRADED, ["FsFreezeTimeout"]),
    ("H4 C unknown", {"frozen": None, "freeze_message": "EIO", "continue_on_failure": None}, CRASH,
     DEGRADED, ["FsFreezeFailed"]),
    ("H4 nothing frozen", {"frozen": 0, "thawed": 0, "report": None}, CRASH, DEGRADED,
     ["FsFreezeFailed"]),
    ("H5 3", {"frozen": None, "freeze_status": 3, "report": None}, CRASH, DEGRADED, ["HookVeto"]),
    ("H5 4", {"frozen": None, "freeze_status": 4, "report": None}, NONE, ABORTED, ["HookVeto"]),
    ("H5 else", {"frozen": None, "freeze_status": 7, "report": None}, CRASH, DEGRADED,
     ["FsFreezeFailed"]),
    ("H6", {"thawed": None, "thaw_status": 3, "report": None}, CRASH, DEGRADED, ["PostUnknown"]),
    ("H7", {"thawed": None, "thaw_status": 4, "report": None}, NONE, ABORTED, ["HookVeto"]),
    ("H8", {"running": False}, CRASH, DEGRADED, ["MachinePaused"]),
    ("H10 fewer", {"thawed": 1}, CRASH, DEGRADED, ["FreezeWindowExpired"]),
    ("H10 dead", {"thawed": None, "thaw_status": 5, "report": None}, CRASH, DEGRADED,
     ["FreezeWindowExpired"]),
    ("H10 C false", {"thawed": 1, **STRICT}, NONE, ABORTED, ["FreezeWindowExpired"]),
    ("H10 C false, one disk", {"thawed": 1, **STRICT, "disks": 1}, CRASH, DEGRADED,
     ["FreezeWindowExpired"]),
    ("thaw fails", {"thawed": None, "thaw_message": "EIO"}, APPLICATION, DEGRADED, ["ThawFailed"]),
    ("thaw unanswered, with a report", {"thawed": None}, APPLICATION, DEGRADED, ["ThawFailed"]),
    ("thaw fails, no report", {"thawed": None, "thaw_message": "EIO", "report": None}, CRASH,
     DEGRADED, ["ThawFailed", "GuestReportUnavailable"]),
    ("thaw unanswered", {"thawed": None, "report": None}, CRASH, DEGRADED,
     ["ThawFailed", "GuestReportUnavailable"]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "seen", "level", "outcome", "errors"), ROWS)
def test_each_row_is_claimed_as_written(
    row: str,
    seen: dict[str, Any],
    level: ConsistencyLevel,
    outcome: Outcome,
    errors: list[str],
) -> None:
    claimed = claim(good(**seen))

    assert (claimed.level, claimed.outcome, names(claimed)) == (level, outcome, errors), row
    assert claimed.keep == (outcome is not ABORTED), row


def test_where_the_hook_announced_and_left_no_report_the_hook_is_to_be_looked_at() -> None:
    (announced,) = claim(good(report=None)).errors
    (unknown,) = claim(good(report=None, hook=None)).errors

    assert "install qga" in announced.action
    assert "guest-exec" in unknown.action


def test_a_missing_hook_is_a_warning() -> None:
    (warning,) = claim(good(hook=False, report=None)).warnings

    assert warning.startswith("HookMissing")


@pytest.mark.parametrize("status", [3, 4])
def test_a_vetos_reason_is_the_guests_own_where_it_can_be_read(status: int) -> None:
    report = guest_report(
        "s", reached=CRASH, outcome=DEGRADED, errors=reported("Pre-ScriptTimeout")
    )
    seen = good(frozen=None, freeze_status=status, thawed=0, report=report)

    assert names(claim(seen)) == ["Pre-ScriptTimeout"]


def test_fewer_file_systems_frozen_than_adopted_is_a_failed_freeze() -> None:
    mounts = tuple(ReportedMount(f"/{n}", "ext4", f"8:{n}", frozen="door") for n in range(3))
    claimed = claim(good(report=guest_report("s", mounts=mounts)))

    assert (claimed.level, names(claimed)) == (CRASH, ["FsFreezeFailed"])


@pytest.mark.parametrize(
    ("fstype", "reason", "expected"),
    [
        ("xfs", "read-only", ["FsFreezeFailed"]),
        ("ext4", "skipped in guest.conf", ["FsFreezeFailed"]),
        # The agent cannot freeze it either, or it is not there.
        ("squashfs", "read-only", []),
        ("ext4", "no longer mounted", []),
    ],
)
def test_what_the_agent_freezes_beside_the_plan_does_not_make_up_for_what_it_missed(
    fstype: str, reason: str, expected: list[str]
) -> None:
    adopted = tuple(ReportedMount(f"/{n}", "ext4", f"8:{n}", frozen="door") for n in range(2))
    beside = ReportedMount("/beside", fstype, "8:9", frozen=False, reason=reason)
    claimed = claim(good(report=guest_report("s", mounts=(*adopted, beside)), frozen=2))

    assert names(claimed) == expected


def test_a_report_of_an_expired_window_is_worth_a_crash_whatever_it_says_it_reached() -> None:
    report = guest_report("s", window=Window(61.0, None, 60.0, expired=True))
    claimed = claim(good(report=report))

    assert (claimed.level, names(claimed)) == (CRASH, ["FreezeWindowExpired"])


def test_an_expiry_that_the_guest_reported_is_listed_once() -> None:
    report = guest_report(
        "s",
        reached=CRASH,
        outcome=DEGRADED,
        errors=reported("FreezeWindowExpired"),
        window=Window(61.0, None, 60.0, expired=True),
    )

    assert names(claim(good(report=report))) == ["FreezeWindowExpired"]


def test_with_the_freeze_off_no_adopted_file_system_is_missed() -> None:
    mounts = (ReportedMount("/", "ext4", "8:1", frozen="door"),)
    report = guest_report("s", mounts=mounts)
    claimed = claim(good(freeze_enabled=False, frozen=0, thawed=0, report=report))

    assert claimed.level is APPLICATION


def test_a_guest_that_aborted_has_its_snapshot_discarded() -> None:
    report = guest_report("s", reached=NONE, outcome=ABORTED, errors=reported("Pre-ScriptTimeout"))

    assert not claim(good(report=report)).keep


def test_a_kept_snapshot_is_worth_a_crash_at_least() -> None:
    assert claim(good(report=guest_report("s", reached=NONE))).level is CRASH


@pytest.mark.parametrize(
    ("seen", "taken"),
    [
        ({}, True),
        ({"agent": False, "frozen": None}, True),
        ({"agent": None, "frozen": None}, True),
        ({"running": False, "frozen": None}, True),
        ({"running": False, "frozen": None, **STRICT}, True),
        ({"frozen": None, "freeze_status": 3, **STRICT}, True),
        ({"frozen": None, "freeze_status": 4}, False),
        ({"frozen": None, "freeze_status": 7}, True),
        ({"frozen": None, "freeze_status": 7, **STRICT}, False),
        ({"frozen": None, "freeze_timed_out": True, **STRICT}, False),
        ({"frozen": None, "freeze_timed_out": True, **STRICT, "disks": 1}, True),
        ({"frozen": 0, **STRICT}, False),
        ({"frozen": 0, "freeze_enabled": False, **STRICT}, True),
    ],
)
def test_the_snapshot_is_taken_unless_somebody_refuses_it(
    seen: dict[str, Any], *, taken: bool
) -> None:
    assert may_take(good(thawed=None, report=None, **seen)) is taken


FREEZES: list[tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]]] = [
    ({}, APPLICATION, COMPLETE, []),
    ({"frozen": None, "freeze_message": "EIO"}, CRASH, DEGRADED, ["FsFreezeFailed"]),
    ({"frozen": None, "freeze_timed_out": True}, CRASH, DEGRADED, ["FsFreezeTimeout"]),
]
THAWS: list[tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]]] = [
    ({}, APPLICATION, COMPLETE, []),
    ({"thawed": None, "thaw_status": 3}, APPLICATION, DEGRADED, []),
    ({"thawed": None, "thaw_status": 4}, NONE, ABORTED, ["HookVeto"]),
    ({"thawed": None, "thaw_status": 5}, CRASH, DEGRADED, ["FreezeWindowExpired"]),
    ({"thawed": None, "thaw_message": "EIO"}, APPLICATION, DEGRADED, ["ThawFailed"]),
]
REPORTS: list[tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]]] = [
    ({}, APPLICATION, COMPLETE, []),
    (
        {"reached": FILESYSTEM, "outcome": DEGRADED, "errors": reported("Pre-ScriptTimeout")},
        FILESYSTEM,
        DEGRADED,
        ["Pre-ScriptTimeout"],
    ),
]


@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize("thaw", THAWS)
@pytest.mark.parametrize("told", REPORTS)
def test_of_several_failures_the_lowest_level_and_the_strictest_outcome_win_and_all_are_listed(
    freeze: tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]],
    thaw: tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]],
    told: tuple[dict[str, Any], ConsistencyLevel, Outcome, list[str]],
) -> None:
    report = guest_report("s", **told[0])
    claimed = claim(good(**freeze[0], **thaw[0], report=report))
    expected = told[3] + freeze[3] + thaw[3]
    if told[3]:
        # What the guest itself gives as its reason stands for its veto.
        expected = [name for name in expected if name != "HookVeto"]

    assert claimed.level is lowest(freeze[1], thaw[1], told[1])
    assert claimed.outcome is strictest(freeze[2], thaw[2], told[2])
    assert names(claimed) == expected


COUNTS = st.none() | st.integers(0, 3)
STATUSES = st.none() | st.integers(0, 6)
FLAGS = st.none() | st.booleans()


@given(
    st.builds(
        Seen,
        disks=st.integers(1, 3),
        running=st.booleans(),
        agent=FLAGS,
        hook=FLAGS,
        continue_on_failure=FLAGS,
        freeze_enabled=FLAGS,
        frozen=COUNTS,
        freeze_status=STATUSES,
        freeze_timed_out=st.booleans(),
        thawed=COUNTS,
        thaw_status=STATUSES,
        report=st.none()
        | st.builds(
            lambda reached, outcome: guest_report("s", reached=reached, outcome=outcome),
            st.sampled_from(ConsistencyLevel),
            st.sampled_from(Outcome),
        ),
    )
)
def test_no_claim_goes_beyond_its_evidence(seen: Seen) -> None:
    claimed = claim(seen)

    if claimed.level is APPLICATION:
        assert seen.report is not None
        assert seen.report.reached is APPLICATION
        assert seen.is_quiesced
    if claimed.level is FILESYSTEM:
        assert seen.frozen
        assert seen.agent
    assert claimed.keep == (claimed.level is not NONE)
    assert claimed.keep == (claimed.outcome.rank < ABORTED.rank)
    if seen.freeze_status == 4 and seen.agent and seen.running and not seen.is_quiesced:
        assert not claimed.keep


@pytest.mark.parametrize(
    ("changes", "level", "outcome"),
    [
        ({}, FILESYSTEM, DEGRADED),
        ({"freeze_enabled": False, "frozen": None, "freeze_status": 3}, CRASH, DEGRADED),
        ({"frozen": None, "freeze_status": 4}, NONE, ABORTED),
    ],
)
def test_a_damaged_guest_without_a_report_is_called_damaged(
    changes: dict[str, Any], level: ConsistencyLevel, outcome: Outcome
) -> None:
    claimed = claim(good(report=None, hook=None, damaged=True, **changes))

    assert (claimed.level, claimed.outcome) == (level, outcome)
    assert names(claimed) == ["IncorrectPluginhostFile"]


def test_a_damaged_guest_s_own_report_says_it_already() -> None:
    report = guest_report(
        "01", reached=FILESYSTEM, outcome=DEGRADED, errors=reported("SnapshotFailed")
    )

    assert names(claim(good(report=report, damaged=True))) == ["SnapshotFailed"]
