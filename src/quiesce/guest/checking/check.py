"""Say what a backup of this machine would do, without doing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quiesce.catalogue import mark, phrase
from quiesce.errors import ExitStatus
from quiesce.guest.checking import obstacles
from quiesce.guest.record.decision import Cause, Failure, Happened, Way, decide, way_of_snapshot
from quiesce.model.consistency import Outcome
from quiesce.model.report import ReportedError, ReportedMount
from quiesce.values import asdict, dataclass

if TYPE_CHECKING:
    from quiesce.guest.checking.obstacles import Finding
    from quiesce.guest.checking.surroundings import Surroundings
    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.configuration.settings import GuestSettings
    from quiesce.guest.filesystems.mounts import FreezePlan
    from quiesce.guest.record.decision import Decision

SCHEMA = "quiesce.check/1"


@dataclass(frozen=True)
class Expectation:
    """What a backup would come to now, if every script and the snapshot succeed."""

    settings: GuestSettings
    disks: dict[str, Any]
    way: Way
    decision: Decision
    mounts: tuple[ReportedMount, ...]
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_status(self) -> ExitStatus:
        """0 as configured, 3 where a lower level is to be expected, 4 where a run would abort."""
        lowers = any(finding.lowers for finding in self.findings)
        return ExitStatus.DEGRADED if lowers and self._is_complete else self.decision.exit_status

    @property
    def _is_complete(self) -> bool:
        return self.decision.outcome is Outcome.COMPLETE

    def to_json(self) -> dict[str, Any]:
        """Return the document `quiesce.check/1`."""
        return {
            "schema": SCHEMA,
            "settings": self.settings.to_json(),
            "disks": self.disks,
            "requested": self.decision.requested.value,
            "expected": self.decision.reached.value,
            "outcome": self.decision.outcome.value,
            "way": self.way.value,
            "errors": [asdict(error) for error in self.decision.errors],
            "warnings": list(self.warnings),
            "notes": list(self.settings.notes),
            "findings": [asdict(finding) for finding in self.findings],
            "damaged": self.settings.is_damaged,
            "mounts": [asdict(mount) for mount in self.mounts],
        }


def expect(
    settings: GuestSettings, plan: FreezePlan, around: Surroundings, *, disks: dict[str, Any]
) -> Expectation:
    """Return what a backup with *settings* and *plan* would come to; *disks* as in the report."""
    failures = [Failure(Cause.REFUSED, error) for error in settings.refused]
    for failure in obstacles.failures(settings, plan, around):
        happened = _happened(settings, disks, failures)
        if failure.cause is not Cause.FREEZE or way_of_snapshot(happened) is Way.FROZEN:
            failures.append(failure)
    happened = _happened(settings, disks, failures)
    way = way_of_snapshot(happened)
    decision = decide(happened)
    return Expectation(
        settings=settings,
        disks=disks,
        way=way,
        decision=decision,
        mounts=_mounts(plan, way),
        warnings=(*settings.warnings, *plan.warnings),
        findings=(
            *(_of_error(error) for error in decision.errors),
            *(obstacles.warning(said) for said in (*settings.warnings, *plan.warnings)),
            *obstacles.findings(settings, around),
            *(obstacles.info(said) for said in settings.notes),
        ),
    )


def _of_error(error: ReportedError) -> Finding:
    return obstacles.Finding("error", error.name, error.message, error.action, lowers=True)


def _happened(settings: GuestSettings, disks: dict[str, Any], failures: list[Failure]) -> Happened:
    return Happened(
        configured=settings.configured,
        freeze_wanted=settings.freeze_enabled,
        continue_on_failure=settings.continue_on_failure,
        single_disk=disks["count"] == 1,
        failures=tuple(failures),
        snapshot_taken=True,
    )


def _mounts(plan: FreezePlan, way: Way) -> tuple[ReportedMount, ...]:
    reasons = {blocker.path: blocker.reason for blocker in plan.blockers}
    planned = [
        ReportedMount(
            mount.path,
            mount.fstype,
            mount.device,
            frozen=way is Way.FROZEN,
            reason=reasons.get(mount.path, None if way is Way.FROZEN else _WHY_NOT[way]),
        )
        for mount in plan.mounts
    ]
    return (*planned, *plan.left_out)


_WORDS = {"warning": mark("warning"), "info": mark("note")}
_SCRIPTS = {"pre": mark("pre-script"), "post": mark("post-script")}
_WHY_NOT = {
    Way.UNFROZEN: mark("nothing will be frozen"),
    Way.NO_SNAPSHOT: mark("there will be no snapshot"),
}


def told(expectation: Expectation) -> list[str]:
    """Return the lines that tell a person the same."""
    settings = expectation.settings
    decision = expectation.decision
    source = settings.source or phrase("none: no script will run")
    lines = [f"{phrase('configuration'):<15}{source}"]
    for plugin in settings.plugins:
        lines += [_told_script(spec) for spec in (plugin.pre, plugin.post)]
    lines.append(f"{phrase('disks'):<15}{expectation.disks['count']}")
    lines += [_told_mount(mount) for mount in expectation.mounts]
    for finding in expectation.findings:
        lines.append(f"{finding.name or phrase(_WORDS[finding.severity])}: {finding.what}")
        if finding.action is not None:
            lines.append("  " + phrase("next: {action}", action=finding.action))
    lines.append(_verdict(decision))
    return lines


def _told_script(spec: ScriptSpec) -> str:
    within = phrase("within {seconds:g} s", seconds=spec.timeout_s)
    return f"{phrase(_SCRIPTS[spec.phase]):<15}{spec.path} ({within})"


def _told_mount(mount: ReportedMount) -> str:
    verb = phrase("freezes" if mount.frozen else "leaves")
    reason = f" ({phrase(mount.reason)})" if mount.reason else ""
    return f"{verb:<15}{mount.path} {mount.fstype}{reason}"


def _verdict(decision: Decision) -> str:
    if decision.outcome is Outcome.ABORTED:
        return phrase("a backup would abort: continueBackupOnFailure is false")
    level, wanted = decision.reached.value, decision.requested.value
    if decision.outcome is Outcome.COMPLETE:
        return phrase("a backup would be consistent to the level {level}", level=level)
    template = "a backup would be consistent to the level {level}, not {wanted}"
    return phrase(template, level=level, wanted=wanted)
