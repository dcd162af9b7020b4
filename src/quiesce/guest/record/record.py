"""What has happened in one session so far: enough to end and report it, in another process too."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.processes.guards import Guard
from quiesce.guest.record.decision import Cause, Decision, Failure, Happened, decide
from quiesce.model.report import (
    Attempt,
    Report,
    ReportedMount,
    SnapshotFate,
    Step,
    Window,
)
from quiesce.values import asdict, dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.guest.scripts.script import ScriptResult

REHEARSAL = "rehearse"


@dataclass(frozen=True)
class Held:
    """An application that is held, or may be: what releases it.

    *pre_status* is what holding it came to: ok, failed or timeout.
    """

    name: str
    post: ScriptSpec
    pre_status: str


@dataclass(frozen=True)
class Times:
    """Moments of the window on the monotonic clock; None where they have not come."""

    held: float | None = None
    freezing: float | None = None
    thawed: float | None = None
    releasing: float | None = None


@dataclass(frozen=False)
class Record:
    """The session as far as it has come; the engine writes it down before it goes on.

    *started_s* is the monotonic moment of its beginning. *freeze_wanted*: F, and no
    `--no-freeze`. *frozen_by*: engine, door or command. *guards*: engine and watchdog.
    *hurried*: the kernel was told to hurry, and is to be told that it need not.
    """

    session: str
    machine: str
    door: str
    started_at: str
    started_s: float
    deadline_s: float
    settings: Mapping[str, Any]
    configured: bool
    freeze_wanted: bool
    continue_on_failure: bool
    disks: Mapping[str, Any]
    frozen_by: str = "engine"
    guards: list[Guard] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    mounts: list[ReportedMount] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    fate: SnapshotFate = field(default_factory=lambda: SnapshotFate(taken=False))
    facts: dict[str, str] = field(default_factory=dict)
    hurried: bool = False

    @property
    def is_rehearsal(self) -> bool:
        """Whether there is to be no snapshot; *fate* then says what one would have come to."""
        return self.door == REHEARSAL

    def fail(self, cause: Cause, error: QuiesceError, step: str | None = None) -> None:
        """Keep a failure; all of them are reported, in order."""
        self.failures.append(Failure(cause, error, step))

    def has_failed(self, cause: Cause) -> bool:
        """Return whether something failed for *cause*."""
        return any(failure.cause is cause for failure in self.failures)

    def step(
        self, name: str, kind: str, status: str, *, since: float, reason: str | None = None
    ) -> None:
        """Keep a step that began at *since* (monotonic) and has just ended."""
        begin = since - self.started_s
        end = time.monotonic() - self.started_s
        self.steps.append(Step(name, kind, status, begin, end, reason=reason))

    def script_step(self, name: str, result: ScriptResult, *, since: float) -> None:
        """Keep the step of a script that began at *since* and has just ended with *result*."""
        status = "failed" if result.status == "refused" else result.status
        self.step(name, "script", status, since=since)
        self.steps[-1] = replace(self.steps[-1], attempts=result.attempts)

    def happened(self) -> Happened:
        """Return the facts that the decision table asks for."""
        return Happened(
            configured=self.configured,
            freeze_wanted=self.freeze_wanted,
            continue_on_failure=self.continue_on_failure,
            single_disk=self.disks["count"] == 1,
            failures=tuple(self.failures),
            snapshot_taken=self.fate.taken,
        )

    def decide(self) -> Decision:
        """Return what may be claimed after what has happened so far."""
        return decide(self.happened())

    def report(self) -> Report:
        """Return the report of the session, which ends now."""
        decision = self.decide()
        return Report(
            session=self.session,
            machine=self.machine,
            door=self.door,
            started_at=self.started_at,
            finished_at=now_text(),
            settings=self.settings,
            requested=decision.requested,
            reached=decision.reached,
            consistency=None if self.is_rehearsal else decision.level,
            outcome=decision.outcome,
            window=self._window(),
            snapshot=SnapshotFate(taken=False) if self.is_rehearsal else self.fate,
            errors=decision.errors,
            warnings=tuple(self.warnings),
            facts=self.facts,
            disks=self.disks,
            steps=tuple(self.steps),
            mounts=tuple(self.mounts),
        )

    def _window(self) -> Window | None:
        times = self.times
        if times.held is None:
            return None
        end = times.releasing if times.releasing is not None else time.monotonic()
        expired = self.has_failed(Cause.EXPIRED)
        return Window(end - times.held, self._frozen_s(end), self.deadline_s, expired)

    def _frozen_s(self, end: float) -> float | None:
        """Return how long ours was frozen; None where that is unknown, zero where nothing was."""
        times = self.times
        if times.freezing is not None:
            return (times.thawed if times.thawed is not None else end) - times.freezing
        foreseen = any(mount.frozen for mount in self.mounts)  # and it died before it said more
        return None if foreseen or self.frozen_by != "engine" else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON."""
        document = asdict(replace(self, failures=[]))
        document["failures"] = [
            {
                "cause": failure.cause.name,
                "name": failure.error.name,
                "message": failure.error.message,
                "action": failure.error.action,
                "step": failure.step,
            }
            for failure in self.failures
        ]
        return document


def from_json(document: Mapping[str, Any]) -> Record:
    """Return the record in *document*; raises ValueError where it is none of this version."""
    try:
        return _from_whole_json(document)
    except (LookupError, TypeError, AttributeError) as exc:
        raise ValueError("not the record of a session") from exc


def _from_whole_json(document: Mapping[str, Any]) -> Record:
    values = dict(document)
    values["guards"] = [Guard(**guard) for guard in values["guards"]]
    values["held"] = [
        Held(held["name"], _spec(held["post"]), held["pre_status"]) for held in values["held"]
    ]
    values["mounts"] = [ReportedMount(**mount) for mount in values["mounts"]]
    values["failures"] = [_failure(failure) for failure in values["failures"]]
    values["steps"] = [_step(step) for step in values["steps"]]
    values["times"] = Times(**values["times"])
    values["fate"] = SnapshotFate(**values["fate"])
    return Record(**values)


def now_text() -> str:
    """Return the time of day as reports have it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _spec(spec: Mapping[str, Any]) -> ScriptSpec:
    return ScriptSpec(**{**spec, "params": tuple(spec["params"])})


def _failure(failure: Mapping[str, Any]) -> Failure:
    error = QuiesceError(failure["name"], failure["message"], action=failure["action"])
    return Failure(Cause[failure["cause"]], error, failure["step"])


def _step(step: Mapping[str, Any]) -> Step:
    attempts = tuple(Attempt(**attempt) for attempt in step["attempts"])
    return Step(**{**step, "attempts": attempts})
