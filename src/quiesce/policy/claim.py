"""What the host may claim of a backup, and whether the snapshot is taken and kept.

The rows H1 to H10 of `docs/design/framework.md`, section 7, and through them rows 11 to 16 of its
decision table. Several findings: the lowest level and the strictest outcome win, all errors stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome, lowest, strictest
from quiesce.model.report import Report, ReportedError
from quiesce.values import replace

if TYPE_CHECKING:
    from quiesce.model.alone import Alone

_HOOK_UNFROZEN = 3
_HOOK_ABORT = 4
_THAW_DEGRADED = 3
_THAW_DISCARD = 4
_THAW_DEAD = 5
_SEE_HOOK = "in the guest: quiesce-guest report; quiesce-guest install qga --restart"
_EXPIRED = "FreezeWindowExpired"
_FREEZABLE = frozenset(
    {"btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "reiserfs", "xfs"}
)
_NOT_PLANNED = frozenset({"read-only", "skipped in guest.conf"})
_DAMAGED = "quiesce-guest in the guest is damaged, and no script was run"


@dataclass(frozen=True)
class Seen:
    """What the host saw of one run.

    *agent*: one answers; None where the settings want none. *hook*: ours is installed, None where
    that cannot be known. *continue_on_failure* (C) and *freeze_enabled* (F) as announced, None:
    unknown. *frozen*, *thawed*: the agent's counts, None where it failed or did not answer.
    *freeze_status*, *thaw_status*: the numbers our hook failed with. *thaw_message*: the agent's
    error, None where it did not answer at all. *damaged*: quiesce's files in the guest are not as
    they were shipped, so that there may be no report. *alone*: the machine is only disks.
    """

    disks: int
    running: bool = True
    agent: bool | None = None
    hook: bool | None = None
    continue_on_failure: bool | None = None
    freeze_enabled: bool | None = None
    frozen: int | None = None
    freeze_status: int | None = None
    freeze_timed_out: bool = False
    freeze_message: str | None = None
    thawed: int | None = None
    thaw_status: int | None = None
    thaw_message: str | None = None
    report: Report | None = None
    damaged: bool = False
    alone: Alone | None = None

    @property
    def is_strict(self) -> bool:
        """Whether a lower level is refused rather than kept (C false, many disks)."""
        return self.continue_on_failure is False and self.disks > 1

    @property
    def is_quiesced(self) -> bool:
        """Whether the machine was asked to come to rest and said that it did."""
        if self.frozen is None:
            return False
        return self.frozen > 0 or self.freeze_enabled is False


@dataclass(frozen=True)
class Claim:
    """The host's level and outcome with their errors; *keep*: the snapshot becomes a point."""

    level: ConsistencyLevel
    outcome: Outcome
    keep: bool
    errors: tuple[ReportedError, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Finding:
    level: ConsistencyLevel = ConsistencyLevel.APPLICATION
    outcome: Outcome = Outcome.COMPLETE
    errors: tuple[ReportedError, ...] = ()
    warnings: tuple[str, ...] = ()


def may_take(seen: Seen) -> bool:
    """Return whether the snapshot is taken, after the answer to the freeze."""
    if not seen.running or not seen.agent or seen.is_quiesced:
        return True
    if seen.freeze_status == _HOOK_UNFROZEN:
        return True
    return seen.freeze_status != _HOOK_ABORT and not seen.is_strict


def claim(seen: Seen) -> Claim:
    """Return what may be claimed of a snapshot, from everything that was seen."""
    findings = _findings(seen)
    outcome = strictest(*(finding.outcome for finding in findings))
    keep = outcome.rank < Outcome.ABORTED.rank
    level = ConsistencyLevel.NONE
    if keep:
        # A snapshot that is kept is crash-consistent whatever the guest says.
        reached = lowest(*(finding.level for finding in findings))
        level = max(reached, ConsistencyLevel.CRASH, key=lambda one: one.rank)
    return Claim(
        level=level,
        outcome=outcome,
        keep=keep,
        errors=tuple(error for finding in findings for error in finding.errors),
        warnings=tuple(warning for finding in findings for warning in finding.warnings),
    )


def _findings(seen: Seen) -> list[_Finding]:
    if seen.alone is not None:
        return [_of_alone(seen.alone)]
    if not seen.running:
        return [_degraded("MachinePaused", "the machine is paused: nothing was held or frozen")]
    if seen.agent is None:
        return [_Finding(ConsistencyLevel.CRASH)]
    if not seen.agent:
        return [_degraded("AgentUnavailable", "no guest agent answers")]
    return [_of_report(seen), _of_freeze(seen), _of_thaw(seen), _of_missing_report(seen)]


def _of_alone(alone: Alone) -> _Finding:
    """The level of disks that were handed over: the report's, else H9."""
    report = alone.report
    if report is None:
        if alone.unclean:
            return _Finding(ConsistencyLevel.CRASH, Outcome.DEGRADED, warnings=alone.unclean)
        return _Finding(ConsistencyLevel.FILESYSTEM)
    level = report.consistency or ConsistencyLevel.CRASH
    if report.window is not None and report.window.expired:
        level = lowest(level, ConsistencyLevel.CRASH)
    return _Finding(level, report.outcome, report.errors, report.warnings)


def _of_report(seen: Seen) -> _Finding:
    report = seen.report
    if report is None:
        return _Finding()
    told = {error.name for error in report.errors}
    if report.window is not None and report.window.expired and _EXPIRED not in told:
        return _lowered(seen, _EXPIRED, "the guest's window expired")
    return _Finding(report.reached, report.outcome, report.errors, report.warnings)


def _of_freeze(seen: Seen) -> _Finding:
    if seen.freeze_status in (_HOOK_UNFROZEN, _HOOK_ABORT):
        return _of_veto(seen)
    if seen.freeze_timed_out:
        return _lowered(seen, "FsFreezeTimeout", "the agent did not answer the freeze in time")
    if seen.frozen is None:
        said = seen.freeze_message or "no reason given"
        return _lowered(seen, "FsFreezeFailed", f"the agent could not freeze: {said}")
    if not seen.is_quiesced:
        return _lowered(seen, "FsFreezeFailed", "the agent froze no file system")
    reachable = _reachable(seen.report)
    if seen.freeze_enabled is not False and seen.frozen < reachable:
        return _lowered(
            seen,
            "FsFreezeFailed",
            f"the agent froze {seen.frozen} file systems of {reachable} that it could",
        )
    return _Finding()


def _of_veto(seen: Seen) -> _Finding:
    aborted = seen.freeze_status == _HOOK_ABORT
    level = ConsistencyLevel.NONE if aborted else ConsistencyLevel.CRASH
    outcome = Outcome.ABORTED if aborted else Outcome.DEGRADED
    if seen.report is not None and seen.report.errors:
        return _Finding(level, outcome)
    if seen.damaged:
        return _Finding(level, outcome, (_error("IncorrectPluginhostFile", _DAMAGED),))
    wish = "no snapshot" if aborted else "a snapshot without a freeze"
    return _Finding(level, outcome, (_error("HookVeto", f"the guest's hook asked for {wish}"),))


def _of_thaw(seen: Seen) -> _Finding:
    if seen.freeze_status in (_HOOK_UNFROZEN, _HOOK_ABORT):
        return _Finding()
    if seen.thaw_status is not None:
        return _of_thaw_status(seen, seen.thaw_status)
    if seen.thawed is None:
        return _of_failed_thaw(seen)
    if seen.frozen is not None and seen.thawed < seen.frozen:
        return _lowered(
            seen,
            _EXPIRED,
            f"of {seen.frozen} frozen file systems only {seen.thawed} were still frozen",
        )
    return _Finding()


def _of_thaw_status(seen: Seen, status: int) -> _Finding:
    if status == _THAW_DEAD:
        return _lowered(seen, _EXPIRED, "the guest's session and watchdog were dead")
    if status == _THAW_DISCARD:
        errors = (_error("HookVeto", "the guest's hook asked to discard the snapshot"),)
        told = seen.report is not None and seen.report.errors
        return _Finding(ConsistencyLevel.NONE, Outcome.ABORTED, () if told else errors)
    if seen.report is None:
        return _degraded("PostUnknown", f"the thaw hook ended with status {status}, no report")
    if status == _THAW_DEGRADED:
        return _Finding(outcome=Outcome.DEGRADED)
    error = _error("ThawFailed", f"the thaw hook ended with status {status}")
    return _Finding(outcome=Outcome.DEGRADED, errors=(error,))


def _of_failed_thaw(seen: Seen) -> _Finding:
    answered = seen.thaw_message is not None
    said = seen.thaw_message if answered else "it did not answer"
    error = _error("ThawFailed", f"the agent could not thaw: {said}")
    if seen.report is not None:
        return _Finding(outcome=Outcome.DEGRADED, errors=(error,))
    # Nobody can say whether the window had expired.
    return _Finding(ConsistencyLevel.CRASH, Outcome.DEGRADED, (error,))


def _of_missing_report(seen: Seen) -> _Finding:
    """The level of a quiesced machine whose own record is missing, by H2 and H3."""
    if seen.report is not None or not seen.is_quiesced or seen.thaw_status is not None:
        return _Finding()
    frozen = seen.freeze_enabled is not False
    level = ConsistencyLevel.FILESYSTEM if frozen else ConsistencyLevel.CRASH
    if seen.hook is False:
        warning = "HookMissing: quiesce-guest's hook is not in the agent; no application was held"
        return _Finding(level, warnings=(warning,))
    if seen.damaged:
        error = _error("IncorrectPluginhostFile", _DAMAGED)
        return _Finding(level, Outcome.DEGRADED, (error,))
    error = _error("GuestReportUnavailable", "the guest's own report cannot be read")
    if seen.hook:
        error = replace(error, action=_SEE_HOOK)
    return _Finding(level, Outcome.DEGRADED, (error,))


def _lowered(seen: Seen, name: str, message: str) -> _Finding:
    if seen.is_strict:
        return _Finding(ConsistencyLevel.NONE, Outcome.ABORTED, (_error(name, message),))
    return _degraded(name, message)


def _degraded(name: str, message: str) -> _Finding:
    return _Finding(ConsistencyLevel.CRASH, Outcome.DEGRADED, (_error(name, message),))


def _error(name: str, message: str) -> ReportedError:
    return ReportedError.of(QuiesceError(name, message))


def _reachable(report: Report | None) -> int:
    """Return how many file systems the agent counts where it freezes all that it can.

    It knows nothing of our plan: it also freezes and counts what is read-only or to be skipped.
    """
    if report is None:
        return 0
    return sum(
        1
        for mount in report.mounts
        if mount.frozen == "door" or (mount.fstype in _FREEZABLE and mount.reason in _NOT_PLANNED)
    )
