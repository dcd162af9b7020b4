"""The decision table: what a failure does to the snapshot, the level and the outcome.

Every failure alone is a row of `docs/design/framework.md`, section 5. Of several, the lowest
level and the strictest outcome count, and every error is kept, in the order in which it happened.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from quiesce.errors import ExitStatus
from quiesce.model.consistency import ConsistencyLevel, Outcome, lowest, strictest
from quiesce.model.report import ReportedError
from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.errors import QuiesceError

_EXIT_STATUS = {
    Outcome.COMPLETE: ExitStatus.DONE,
    Outcome.DEGRADED: ExitStatus.DEGRADED,
    Outcome.ABORTED: ExitStatus.ABORTED,
    Outcome.FAILED: ExitStatus.SNAPSHOT,
}


class Way(Enum):
    """How the snapshot is to be taken; a later member overrules an earlier one."""

    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    NO_SNAPSHOT = "no-snapshot"


class Cause(Enum):
    """Where in the session something failed: one member for each group of rows."""

    REFUSED = "rows 4-7: a configuration, a script or the installation was refused"
    GUARD = "row 24: session or watchdog cannot be set up"
    HOLD = "rows 8-10: a pre-script or an application failed, timed out, or was refused later"
    FREEZE = "rows 11-13: flushing or freezing failed or took too long"
    SNAPSHOT = "row 14: the snapshot failed, or its command was killed"
    EXPIRED = "rows 15, 16, 21: the window was over before its time"
    RELEASE = "rows 17-19: a post-script or an application's release failed"
    THAW = "row 22: FITHAW failed"
    INTERRUPTED = "row 23: a signal asked us to end"


@dataclass(frozen=True)
class Failure:
    """One failure; *step* names the step of the report in which it happened."""

    cause: Cause
    error: QuiesceError
    step: str | None = None


@dataclass(frozen=True)
class Happened:
    """What happened in a session, as plain facts.

    *configured*: a plugin configuration (also a refused one) or an application exists.
    *freeze_wanted*: F, and no `--no-freeze`. *continue_on_failure*: C. *failures* lie in the order
    in which they happened. *snapshot_taken* is None where only the caller knows.
    """

    configured: bool
    freeze_wanted: bool
    continue_on_failure: bool
    single_disk: bool
    failures: tuple[Failure, ...] = ()
    snapshot_taken: bool | None = False


@dataclass(frozen=True)
class Decision:
    """What may be claimed, how it ended, and what the program exits with.

    *level* is None where the snapshot's fate is unknown; *reached* is then the level of a snapshot
    that was taken inside the window. *discard*: a snapshot was or may have been taken, and must
    not be used.
    """

    requested: ConsistencyLevel
    reached: ConsistencyLevel
    level: ConsistencyLevel | None
    outcome: Outcome
    discard: bool
    errors: tuple[ReportedError, ...]
    exit_status: ExitStatus


@dataclass(frozen=True)
class _Row:
    """What one failure does; a *level* or *way* of None leaves it as it was."""

    way: Way | None
    level: ConsistencyLevel | None
    outcome: Outcome


_NO_SNAPSHOT = _Row(Way.NO_SNAPSHOT, ConsistencyLevel.NONE, Outcome.ABORTED)
_ONLY_CRASH = _Row(Way.UNFROZEN, ConsistencyLevel.CRASH, Outcome.DEGRADED)
_FAILED = _Row(Way.NO_SNAPSHOT, ConsistencyLevel.NONE, Outcome.FAILED)
_AS_IT_WAS = _Row(None, None, Outcome.DEGRADED)


def way_of_snapshot(happened: Happened) -> Way:
    """Return how the snapshot is to be taken after what *happened* so far."""
    wanted = Way.FROZEN if happened.freeze_wanted else Way.UNFROZEN
    ways = [wanted, *(row.way for row in _rows(happened) if row.way is not None)]
    return max(ways, key=list(Way).index)


def decide(happened: Happened) -> Decision:
    """Return what may be claimed at the end of a session in which all this *happened*."""
    rows = _rows(happened)
    levels = [row.level for row in rows if row.level is not None]
    reached = lowest(requested(happened), *levels)
    outcome = strictest(Outcome.COMPLETE, *(row.outcome for row in rows))
    taken = happened.snapshot_taken
    if taken is False:
        reached = ConsistencyLevel.NONE
    return Decision(
        requested=requested(happened),
        reached=reached,
        level=None if taken is None else reached,
        outcome=outcome,
        discard=taken is not False and reached is ConsistencyLevel.NONE,
        errors=tuple(
            ReportedError.of(failure.error, step=failure.step) for failure in happened.failures
        ),
        exit_status=_exit_status(happened, outcome),
    )


def requested(happened: Happened) -> ConsistencyLevel:
    """Return the level that was asked for, which is reached where nothing fails (rows 1-3, 20)."""
    if happened.configured:
        return ConsistencyLevel.APPLICATION
    return ConsistencyLevel.FILESYSTEM if happened.freeze_wanted else ConsistencyLevel.CRASH


def _exit_status(happened: Happened, outcome: Outcome) -> ExitStatus:
    if any(failure.cause is Cause.INTERRUPTED for failure in happened.failures):
        return ExitStatus.INTERRUPTED
    return _EXIT_STATUS[outcome]


def _rows(happened: Happened) -> list[_Row]:
    return [_row(failure.cause, happened) for failure in happened.failures]


def _row(cause: Cause, happened: Happened) -> _Row:
    if cause is Cause.SNAPSHOT:
        return _FAILED
    if cause is Cause.THAW:
        return _AS_IT_WAS
    if cause is Cause.INTERRUPTED and happened.snapshot_taken is False:
        return _NO_SNAPSHOT
    if not happened.continue_on_failure:
        return _ONLY_CRASH if happened.single_disk else _NO_SNAPSHOT
    if cause in {Cause.REFUSED, Cause.HOLD, Cause.RELEASE} and happened.freeze_wanted:
        return _Row(Way.FROZEN, ConsistencyLevel.FILESYSTEM, Outcome.DEGRADED)
    return _ONLY_CRASH
