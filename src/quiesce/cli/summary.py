"""What a person reads in five seconds after a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.cli.output import shown, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.jobs.account import BackupRun
    from quiesce.model.report import Report

_COLOUR = {"complete": "green", "degraded": "yellow", "aborted": "red", "failed": "red"}


def of_run(run: BackupRun) -> Iterator[str]:
    """Yield the lines about *run*, in rich's markup."""
    colour = _COLOUR[run.outcome.value]
    if run.point is None:
        yield f"[bold]{shown(run.machine)}[/]  [{colour}]{run.outcome.value}: no recovery point[/]"
    else:
        level = f"{run.point.consistency.value}-consistent"
        if run.outcome.value != "complete":
            level += f", {run.outcome.value}"
        yield f"[bold]{shown(run.machine)}[/]  [{colour}]{level}[/]  {run.point.id}"
    if run.report is not None:
        yield f"  guest   {_guest(run.report)}"
    if run.point is not None:
        yield f"  stood   held {_ms(_held_s(run))}, frozen {_frozen(run)}"
    for disk in run.disks:
        copied = f"{size(disk.read_bytes)} read, {size(disk.new_bytes)} new"
        yield f"  disk    {shown(disk.name)}: {disk.mode}, {copied}"
    if run.point is not None:
        yield f"  took    copy {run.times['copy_s']:.1f} s, all {run.times['total_s']:.1f} s"
    yield from _findings(run)


def _findings(run: BackupRun) -> Iterator[str]:
    for error in run.errors:
        yield f"  [yellow]error[/]   {error.name}: {shown(error.message)}"
        yield f"          next: {shown(error.action)}"
    named = {error.name for error in run.errors}
    if run.error is not None and run.error.name not in named:
        yield f"  [red]error[/]   {run.error.name}: {shown(run.error.message)}"
        yield f"          next: {shown(run.error.action)}"
    for warning in run.warnings:
        yield f"  warning {shown(warning)}"


def _guest(report: Report) -> str:
    parts = [
        f"{step.name} {step.status} {_ms(step.end_s - step.begin_s)}"
        for step in report.steps
        if step.kind in {"script", "app"}
    ]
    frozen = sum(1 for mount in report.mounts if mount.frozen)
    parts.append(f"{frozen} file systems frozen")
    return shown(", ".join(parts))


def _held_s(run: BackupRun) -> float:
    if run.report is None or run.report.window is None:
        return 0.0
    return run.report.window.held_s


def _frozen(run: BackupRun) -> str:
    """Say for how long; where the freeze was not ours to send, the guest alone may know it."""
    if run.moments["freeze_sent"] is not None or run.report is None or run.report.window is None:
        return _ms(run.times["frozen_s"])
    seconds = run.report.window.frozen_s
    return "for an unknown time" if seconds is None else _ms(seconds)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
