"""What a backup has come to: measured while it goes on, told when it has ended."""

from __future__ import annotations

import base64
import contextlib
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from quiesce.errors import KINDS, ExitStatus, QuiesceError
from quiesce.model.consistency import Outcome, strictest
from quiesce.model.point import Evidence
from quiesce.model.report import ReportedError
from quiesce.policy.claim import Claim, Seen
from quiesce.ports import FreezeAnswer, GuestOutlook, ThawAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quiesce.model.disk import MachineDefinition
    from quiesce.model.point import PointSummary
    from quiesce.model.report import Report
    from quiesce.ports import MachineFacts, PreparedSnapshot, Renewal
    from quiesce.vault.session import DiskCopied


@dataclass(frozen=True)
class BackupRun:
    """How the backup of one machine went; *error* is why there is no point, None where there is.

    *errors* and *warnings* are everything that lowered or might lower the level, the guest's own
    first. *times* are durations in seconds; *moments* are on the monotonic clock of this machine:
    right before the freeze was sent and right after the thaw was answered, None where it never
    came to that.
    """

    machine: str
    session: str
    outcome: Outcome
    point: PointSummary | None
    report: Report | None
    disks: tuple[DiskCopied, ...]
    times: Mapping[str, float]
    moments: Mapping[str, float | None]
    error: QuiesceError | None
    errors: tuple[ReportedError, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def exit_status(self) -> ExitStatus:
        """What a program exits with that did only this."""
        if self.outcome is Outcome.FAILED and self.error is not None:
            return self.error.exit_status
        return {
            Outcome.COMPLETE: ExitStatus.DONE,
            Outcome.DEGRADED: ExitStatus.DEGRADED,
            Outcome.ABORTED: ExitStatus.ABORTED,
            Outcome.FAILED: ExitStatus.SNAPSHOT,
        }[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """Return the run as an element of `runs` in `quiesce.backup/1`."""
        return {
            "machine": self.machine,
            "outcome": self.outcome.value,
            "point": None if self.point is None else self.point.to_json(),
            "report": None if self.report is None else self.report.to_json(),
            "disks": [
                {
                    "name": disk.name,
                    "mode": disk.mode,
                    "why": disk.why,
                    "read_bytes": disk.read_bytes,
                    "new_bytes": disk.new_bytes,
                }
                for disk in self.disks
            ],
            "times": dict(self.times),
            "moments": dict(self.moments),
            "errors": [vars(error) for error in self.errors],
            "warnings": list(self.warnings),
            "error": None if self.error is None else self._error_json(self.error),
        }

    def _error_json(self, error: QuiesceError) -> dict[str, Any]:
        return {
            "name": error.name,
            "message": error.message,
            "action": error.action,
            "exit_status": int(self.exit_status),
        }


@dataclass
class Account:
    """What a run has come to so far."""

    machine: str
    session: str
    wants_agent: bool
    alarms: Sequence[str] = ()
    facts: MachineFacts | None = None
    outlook: GuestOutlook = field(default_factory=lambda: GuestOutlook(agent=False))
    freeze: FreezeAnswer = field(default_factory=lambda: FreezeAnswer(frozen=None))
    thaw: ThawAnswer = field(default_factory=lambda: ThawAnswer(thawed=None))
    report: Report | None = None
    claim: Claim | None = None
    renewal: Renewal | None = None
    copied: list[DiskCopied] = field(default_factory=list)
    point: PointSummary | None = None
    failures: list[QuiesceError] = field(default_factory=list)
    created_at: str = ""
    freeze_sent_s: float | None = None
    frozen_at_s: float | None = None
    thaw_sent_s: float | None = None
    thaw_answered_s: float | None = None
    started_s: float = field(default_factory=time.monotonic)
    lap_s: float = field(default_factory=time.monotonic)
    laps: dict[str, float] = field(default_factory=dict)

    def fail(self, error: QuiesceError) -> None:
        """Keep *error*; the same one again is one."""
        if error not in self.failures:
            self.failures.append(error)

    @contextlib.contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep the body's error and pass it on; putting back may raise another in its place."""
        try:
            yield
        except QuiesceError as exc:
            self.fail(exc)
            raise

    def lap(self, name: str | None) -> None:
        """End a lap; it is kept under *name*."""
        now = time.monotonic()
        if name is not None:
            self.laps[name] = now - self.lap_s
        self.lap_s = now

    def take(self, prepared: PreparedSnapshot) -> None:
        """Take the snapshot and keep when."""
        begun = time.monotonic()
        prepared.take()
        self.laps["snapshot_s"] = time.monotonic() - begun
        moment = datetime.now(timezone.utc)
        self.created_at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def seen(self) -> Seen:
        """Return what was seen so far, for the decisions."""
        return Seen(
            disks=0 if self.facts is None else len(self.facts.disks),
            running=self.facts is not None and self.facts.running,
            agent=self.outlook.agent if self.wants_agent else None,
            hook=self.outlook.hook,
            continue_on_failure=self.outlook.continue_on_failure,
            freeze_enabled=self.outlook.freeze_enabled,
            frozen=self.freeze.frozen,
            freeze_status=self.freeze.hook_status,
            freeze_timed_out=self.freeze.timed_out,
            freeze_message=self.freeze.message,
            thawed=self.thaw.thawed,
            thaw_status=self.thaw.hook_status,
            thaw_message=self.thaw.message,
            report=self.report,
            damaged=self.outlook.damaged,
            alone=None if self.facts is None else self.facts.alone,
        )

    def evidence(self) -> Evidence:
        """Return what the manifest keeps; only of a snapshot that is kept."""
        if self.claim is None or self.facts is None:
            raise AssertionError("evidence of a backup that claims nothing")
        return Evidence(
            consistency=self.claim.level,
            outcome=self.claim.outcome,
            report=None if self.report is None else self.report.to_json(),
            definition=_definition_json(self.facts.definition),
            times=self.times(),
            errors=tuple(vars(error) for error in self.claim.errors),
            warnings=self.warnings(),
            skipped_disks=tuple(
                {"name": disk.name, "reason": disk.reason} for disk in self.facts.skipped
            ),
        )

    def warnings(self) -> tuple[str, ...]:
        """Return what everybody warned of, in order."""
        machine = () if self.facts is None else self.facts.warnings
        decided = () if self.claim is None else self.claim.warnings
        renewed = () if self.renewal is None else (_told(self.renewal),)
        return (*self.alarms, *machine, *self.outlook.warnings, *decided, *renewed)

    def times(self) -> dict[str, float]:
        """Return the durations so far, in seconds; what did not happen took none.

        `hold_s` is from the freeze's sending to its answer, `frozen_s` from there to the thaw's
        sending.
        """
        frozen_at = self.frozen_at_s if self.freeze.frozen else None
        measured = {
            "prepare_s": self.laps.get("prepare_s", 0.0),
            "hold_s": _between(self.freeze_sent_s, self.frozen_at_s),
            "frozen_s": _between(frozen_at, self.thaw_sent_s),
            "snapshot_s": self.laps.get("snapshot_s", 0.0),
            "copy_s": self.laps.get("copy_s", 0.0),
            "commit_s": self.laps.get("commit_s", 0.0),
            "total_s": time.monotonic() - self.started_s,
        }
        return {name: round(seconds, 6) for name, seconds in measured.items()}

    def told(self) -> BackupRun:
        """Return the run as it ended."""
        decided = () if self.claim is None else self.claim.errors
        errors = (*decided, *(ReportedError.of(error) for error in self.failures))
        error = self.failures[-1] if self.failures else None
        if self.point is not None:
            # The point is whole; what failed since is the tidying up.
            outcome = strictest(self.point.outcome, Outcome.DEGRADED if error else Outcome.COMPLETE)
        elif error is None:
            outcome = Outcome.ABORTED
            error = _first(errors)
        else:
            outcome = Outcome.FAILED
        return BackupRun(
            machine=self.machine,
            session=self.session,
            outcome=outcome,
            point=self.point,
            report=self.report,
            disks=tuple(self.copied),
            times=self.times(),
            moments={"freeze_sent": self.freeze_sent_s, "thaw_answered": self.thaw_answered_s},
            error=error,
            errors=errors,
            warnings=self.warnings(),
        )


def _told(renewal: Renewal) -> str:
    if renewal.renewed:
        return (
            f"quiesce-guest in the guest has been renewed ({renewal.why}):"
            " the next backup runs scripts again"
        )
    said = f"quiesce-guest in the guest is damaged and was not renewed: {renewal.why}"
    return f"{said}; in the guest: {renewal.command}" if renewal.command else said


def _first(errors: tuple[ReportedError, ...]) -> QuiesceError:
    """Return why a run was aborted: the first of *errors*."""
    if not errors:
        return QuiesceError("HookVeto", "the guest refused the backup")
    if errors[0].name not in KINDS:  # the guest's program is newer than ours
        return QuiesceError("HookVeto", f"{errors[0].name}: {errors[0].message}")
    return QuiesceError(errors[0].name, errors[0].message, action=errors[0].action)


def _between(begin_s: float | None, end_s: float | None) -> float:
    return 0.0 if begin_s is None or end_s is None else end_s - begin_s


def _definition_json(definition: MachineDefinition | None) -> dict[str, Any] | None:
    if definition is None:
        return None
    firmware = definition.firmware
    return {
        "kind": definition.kind,
        "text": definition.text,
        "firmware": None if firmware is None else base64.b64encode(firmware).decode(),
    }
