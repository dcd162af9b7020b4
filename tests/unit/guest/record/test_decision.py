"""Every row of the decision table (`docs/design/framework.md`, section 5), and every pair."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from quiesce.errors import KINDS, ExitStatus, QuiesceError
from quiesce.guest.record.decision import Cause, Failure, Happened, Way, decide, way_of_snapshot
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.values import replace

APPLICATION = ConsistencyLevel.APPLICATION
FILESYSTEM = ConsistencyLevel.FILESYSTEM
CRASH = ConsistencyLevel.CRASH
NONE = ConsistencyLevel.NONE
COMPLETE = Outcome.COMPLETE
DEGRADED = Outcome.DEGRADED
ABORTED = Outcome.ABORTED
FAILED = Outcome.FAILED

REFUSALS = (
    "IncorrectJSONConfigFile",
    "IncorrectPluginhostFile",
    "IncorrectGuestConf",
    "Pre-ScriptNotFound",
    "Post-ScriptNotFound",
    "InsufficientPermissionforPre-Script",
    "InsufficientPermissionforPost-Script",
)
HOLD_ERRORS = (
    "Pre-ScriptExecutionFailed",
    "Pre-ScriptTimeout",
    "InsufficientPermissionforPre-Script",
)
FREEZE_ERRORS = ("FsFreezeFailed", "FsFreezeTimeout", "UnableToOpenMount")
RELEASE_ERRORS = (
    "Post-ScriptExecutionFailed",
    "Post-ScriptTimeout",
    "InsufficientPermissionforPost-Script",
    "Post-ScriptNotFound",
)
FLAGS = list(itertools.product((True, False), repeat=3))
LATE = {Cause.SNAPSHOT, Cause.EXPIRED, Cause.RELEASE, Cause.THAW}


@dataclass(frozen=True)
class Row:
    """One line of the document's table; None: the column has an asterisk."""

    number: str
    cause: Cause
    errors: tuple[str, ...]
    proceeds: bool | None
    single_disk: bool | None
    freezes: bool | None
    way: Way | None
    level: ConsistencyLevel
    outcome: Outcome


ROWS = (
    *(
        row
        for cause, errors, numbers in (
            (Cause.REFUSED, REFUSALS, ("4", "5", "6", "7")),
            (Cause.HOLD, HOLD_ERRORS, ("8", "8", "9", "10")),
        )
        for row in (
            Row(numbers[0], cause, errors, True, None, True, Way.FROZEN, FILESYSTEM, DEGRADED),
            Row(numbers[1], cause, errors, True, None, False, Way.UNFROZEN, CRASH, DEGRADED),
            Row(numbers[2], cause, errors, False, False, None, Way.NO_SNAPSHOT, NONE, ABORTED),
            Row(numbers[3], cause, errors, False, True, None, Way.UNFROZEN, CRASH, DEGRADED),
        )
    ),
    *(
        row
        for cause, errors, numbers in (
            (Cause.FREEZE, FREEZE_ERRORS, ("11", "12", "13")),
            (Cause.GUARD, ("GuardUnavailable",), ("24/5", "24/6", "24/7")),
        )
        for row in (
            Row(numbers[0], cause, errors, True, None, None, Way.UNFROZEN, CRASH, DEGRADED),
            Row(numbers[1], cause, errors, False, False, None, Way.NO_SNAPSHOT, NONE, ABORTED),
            Row(numbers[2], cause, errors, False, True, None, Way.UNFROZEN, CRASH, DEGRADED),
        )
    ),
    Row("14", Cause.SNAPSHOT, ("SnapshotFailed",), None, None, None, None, NONE, FAILED),
    Row("15", Cause.EXPIRED, ("FreezeWindowExpired",), True, None, None, None, CRASH, DEGRADED),
    Row("15", Cause.EXPIRED, ("FreezeWindowExpired",), False, True, None, None, CRASH, DEGRADED),
    Row("16", Cause.EXPIRED, ("FreezeWindowExpired",), False, False, None, None, NONE, ABORTED),
    Row("17", Cause.RELEASE, RELEASE_ERRORS, True, None, True, None, FILESYSTEM, DEGRADED),
    Row("17", Cause.RELEASE, RELEASE_ERRORS, True, None, False, None, CRASH, DEGRADED),
    Row("18", Cause.RELEASE, RELEASE_ERRORS, False, False, None, None, NONE, ABORTED),
    Row("19", Cause.RELEASE, RELEASE_ERRORS, False, True, None, None, CRASH, DEGRADED),
    Row("22", Cause.THAW, ("ThawFailed",), None, None, None, None, APPLICATION, DEGRADED),
)


def _settings(row: Row) -> list[Happened]:
    """Every machine and configuration that the row speaks of."""
    both = (True, False)
    return [
        Happened(
            configured=True, freeze_wanted=freezes, continue_on_failure=proceeds, single_disk=single
        )
        for proceeds in (both if row.proceeds is None else (row.proceeds,))
        for single in (both if row.single_disk is None else (row.single_disk,))
        for freezes in (both if row.freezes is None else (row.freezes,))
    ]


CASES = [
    pytest.param(row, settings, error, id=f"row {row.number} {error} {index}")
    for row in ROWS
    for index, settings in enumerate(_settings(row))
    for error in row.errors
]


def _failure(cause: Cause, name: str) -> Failure:
    return Failure(cause, QuiesceError(name, f"{name} happened"), "somewhere")


def _after(settings: Happened, *failures: Failure) -> Happened:
    """The facts at the end, with a snapshot wherever one is taken at all."""
    happened = replace(settings, failures=failures)
    no_snapshot = way_of_snapshot(happened) is Way.NO_SNAPSHOT
    return replace(happened, snapshot_taken=not no_snapshot)


@pytest.mark.parametrize(("row", "settings", "name"), CASES)
def test_a_single_failure_has_the_level_and_outcome_of_its_row(
    row: Row, settings: Happened, name: str
) -> None:
    happened = _after(settings, _failure(row.cause, name))
    decision = decide(happened)

    assert decision.level is row.level
    assert decision.outcome is row.outcome
    assert [error.name for error in decision.errors] == [name]
    assert decision.requested is APPLICATION
    if row.way is not None:
        assert way_of_snapshot(happened) is row.way


@pytest.mark.parametrize(("row", "settings", "name"), CASES)
def test_where_no_snapshot_was_taken_there_is_no_level(
    row: Row, settings: Happened, name: str
) -> None:
    happened = replace(settings, failures=(_failure(row.cause, name),), snapshot_taken=False)
    decision = decide(happened)

    assert decision.level is NONE
    assert decision.reached is NONE
    assert not decision.discard


def _row(cause: Cause, settings: Happened) -> Row:
    return next(row for row in ROWS if row.cause is cause and settings in _settings(row))


@pytest.mark.parametrize("first", [cause for cause in Cause if cause is not Cause.INTERRUPTED])
@pytest.mark.parametrize("second", [cause for cause in Cause if cause is not Cause.INTERRUPTED])
@pytest.mark.parametrize("flags", FLAGS)
def test_of_two_failures_the_lowest_level_and_the_strictest_outcome_count(
    first: Cause, second: Cause, flags: tuple[bool, bool, bool]
) -> None:
    proceeds, single, freezes = flags
    settings = Happened(
        configured=True, freeze_wanted=freezes, continue_on_failure=proceeds, single_disk=single
    )
    rows = [_row(first, settings), _row(second, settings)]
    failures = [_failure(row.cause, row.errors[-1]) for row in rows]

    decision = decide(_after(settings, *failures))

    assert decision.level is min((row.level for row in rows), key=lambda level: level.rank)
    assert decision.outcome is max((row.outcome for row in rows), key=lambda outcome: outcome.rank)
    assert [error.name for error in decision.errors] == [row.errors[-1] for row in rows]


@pytest.mark.parametrize("first", [Cause.REFUSED, Cause.GUARD, Cause.HOLD, Cause.FREEZE])
@pytest.mark.parametrize("second", [Cause.REFUSED, Cause.GUARD, Cause.HOLD, Cause.FREEZE])
@pytest.mark.parametrize("flags", FLAGS)
def test_of_two_failures_before_the_snapshot_the_more_careful_way_counts(
    first: Cause, second: Cause, flags: tuple[bool, bool, bool]
) -> None:
    proceeds, single, freezes = flags
    settings = Happened(
        configured=True, freeze_wanted=freezes, continue_on_failure=proceeds, single_disk=single
    )
    rows = [_row(first, settings), _row(second, settings)]
    order = [Way.FROZEN, Way.UNFROZEN, Way.NO_SNAPSHOT]

    way = way_of_snapshot(
        replace(settings, failures=tuple(_failure(row.cause, row.errors[0]) for row in rows))
    )

    assert order.index(way) == max(order.index(row.way or Way.FROZEN) for row in rows)


@pytest.mark.parametrize(
    ("configured", "freezes", "level", "way"),
    [
        pytest.param(False, True, FILESYSTEM, Way.FROZEN, id="row 1"),
        pytest.param(True, True, APPLICATION, Way.FROZEN, id="row 2"),
        pytest.param(True, False, APPLICATION, Way.UNFROZEN, id="row 3"),
        pytest.param(False, False, CRASH, Way.UNFROZEN, id="row 20"),
    ],
)
@pytest.mark.parametrize("proceeds", [True, False])
@pytest.mark.parametrize("single", [True, False])
def test_without_a_failure_the_requested_level_is_reached(
    *,
    configured: bool,
    freezes: bool,
    level: ConsistencyLevel,
    way: Way,
    proceeds: bool,
    single: bool,
) -> None:
    happened = Happened(configured, freezes, proceeds, single, snapshot_taken=True)
    decision = decide(happened)

    assert way_of_snapshot(happened) is way
    assert (decision.requested, decision.reached, decision.level) == (level, level, level)
    assert decision.outcome is COMPLETE
    assert decision.exit_status is ExitStatus.DONE
    assert decision.errors == ()
    assert not decision.discard


@pytest.mark.parametrize(
    ("taken", "failures", "proceeds", "single", "level", "outcome"),
    [
        pytest.param(False, (), True, True, NONE, ABORTED, id="row 23 before the snapshot"),
        pytest.param(
            False, (Cause.SNAPSHOT,), True, False, NONE, FAILED, id="row 23 in the command"
        ),
        pytest.param(True, (Cause.EXPIRED,), True, False, CRASH, DEGRADED, id="row 23 after it"),
        pytest.param(True, (), True, False, CRASH, DEGRADED, id="row 23 after it, unnoticed"),
        pytest.param(True, (), False, True, CRASH, DEGRADED, id="row 23 after it, one disk"),
        pytest.param(True, (), False, False, NONE, ABORTED, id="row 23 after it, many disks"),
    ],
)
def test_an_interruption_counts_by_what_had_become_of_the_snapshot(
    *,
    taken: bool,
    failures: tuple[Cause, ...],
    proceeds: bool,
    single: bool,
    level: ConsistencyLevel,
    outcome: Outcome,
) -> None:
    names = {Cause.SNAPSHOT: "SnapshotFailed", Cause.EXPIRED: "FreezeWindowExpired"}
    happened = Happened(
        configured=True,
        freeze_wanted=True,
        continue_on_failure=proceeds,
        single_disk=single,
        failures=(
            *(_failure(cause, names[cause]) for cause in failures),
            _failure(Cause.INTERRUPTED, "Interrupted"),
        ),
        snapshot_taken=taken,
    )
    decision = decide(happened)

    assert decision.level is level
    assert decision.outcome is outcome
    assert decision.exit_status is ExitStatus.INTERRUPTED


@pytest.mark.parametrize(
    ("cause", "name", "reached", "discard"),
    [
        (None, None, APPLICATION, False),
        (Cause.HOLD, "Pre-ScriptTimeout", NONE, True),
        (Cause.EXPIRED, "FreezeWindowExpired", NONE, True),
        (Cause.RELEASE, "Post-ScriptTimeout", NONE, True),
        (Cause.THAW, "ThawFailed", APPLICATION, False),
    ],
)
def test_of_a_snapshot_that_only_the_caller_knows_the_level_is_open_and_what_is_reached_is_said(
    cause: Cause | None, name: str | None, reached: ConsistencyLevel, discard: bool
) -> None:
    failures = () if cause is None or name is None else (_failure(cause, name),)
    decision = decide(Happened(True, True, False, False, failures, snapshot_taken=None))

    assert decision.level is None
    assert decision.reached is reached
    assert decision.discard is discard


@pytest.mark.parametrize("cause", sorted(LATE, key=lambda cause: cause.name))
def test_a_snapshot_that_was_taken_is_to_be_discarded_only_where_nothing_may_be_claimed(
    cause: Cause,
) -> None:
    name = next(row.errors[0] for row in ROWS if row.cause is cause)
    settings = Happened(True, True, False, False, (_failure(cause, name),), snapshot_taken=True)

    decision = decide(settings)

    assert decision.discard is (decision.level is NONE)


@pytest.mark.parametrize(
    ("outcome_of", "status"),
    [
        (Cause.THAW, ExitStatus.DEGRADED),
        (Cause.REFUSED, ExitStatus.ABORTED),
        (Cause.SNAPSHOT, ExitStatus.SNAPSHOT),
    ],
)
def test_the_exit_status_says_the_outcome(outcome_of: Cause, status: ExitStatus) -> None:
    name = next(row.errors[0] for row in ROWS if row.cause is outcome_of)
    settings = Happened(True, True, False, False, (_failure(outcome_of, name),))

    assert decide(_after(settings, *settings.failures)).exit_status is status


def test_a_refused_configuration_asks_for_the_application_level_all_the_same() -> None:
    refused = _failure(Cause.REFUSED, "IncorrectJSONConfigFile")

    assert decide(_after(Happened(True, True, True, False), refused)).requested is APPLICATION


def test_without_a_configuration_a_failed_freeze_is_row_11() -> None:
    frozen = _failure(Cause.FREEZE, "FsFreezeFailed")
    decision = decide(_after(Happened(False, True, True, False), frozen))

    assert (decision.requested, decision.level, decision.outcome) == (FILESYSTEM, CRASH, DEGRADED)


def test_an_error_keeps_its_step_number_message_and_action() -> None:
    failure = _failure(Cause.HOLD, "Pre-ScriptTimeout")
    error = decide(_after(Happened(True, True, True, False), failure)).errors[0]

    assert (error.name, error.number, error.step) == ("Pre-ScriptTimeout", 308, "somewhere")
    assert error.message == "Pre-ScriptTimeout happened"
    assert error.action == KINDS["Pre-ScriptTimeout"].action
