"""`quiesce show POINT`: everything about one recovery point."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.cli.context import Common
    from quiesce.model.point import Evidence, PointSummary


@click.command(epilog="Example: quiesce show db1@latest")
@click.argument("point")
@verb
def show(common: Common, *, point: str) -> ExitStatus:
    """Show POINT with the evidence for its consistency."""
    vault = wiring.open_vault(begin(common))
    summary = vault.find(point)
    evidence = vault.read(summary).evidence
    document = {
        "schema": "quiesce.point/1",
        "point": summary.to_json(),
        "evidence": _evidence_document(evidence),
    }
    common.output.answer(document, *_lines(summary, evidence))
    return ExitStatus.DONE


def _evidence_document(evidence: Evidence) -> dict[str, Any]:
    return {
        **asdict(evidence),
        "consistency": evidence.consistency.value,
        "outcome": evidence.outcome.value,
    }


def _lines(point: PointSummary, evidence: Evidence) -> Iterator[str]:
    yield f"[bold]{point.id}[/]  {shown(point.machine)}  {shown(point.created_at)}"
    yield f"  consistency  {point.consistency.value} ({point.outcome.value})"
    for disk in point.disks:
        yield f"  disk         {shown(disk.name)}  {size(disk.size_bytes)}"
    for left_out in evidence.skipped_disks:
        yield shown(f"  left out     {left_out['name']}: {left_out['reason']}")
    yield f"  new bytes    {size(point.new_bytes)} of {size(point.logical_bytes)}"
    yield from (shown(line) for line in _guest_lines(evidence))
    for error in evidence.errors:
        yield shown(f"  error        {error['name']}: {error['message']}")
    for warning in evidence.warnings:
        yield shown(f"  warning      {warning}")


def _guest_lines(evidence: Evidence) -> Iterator[str]:
    if evidence.report is None:
        yield "  guest        no report of its own"
        return
    for step in evidence.report["steps"]:
        yield f"  {step['kind']:<12} {step['name']}: {step['status']}"
    window = evidence.report["window"]
    if window is not None:
        yield f"  held         {window['held_s']:.3f} s of {window['deadline_s']:.0f} s allowed"
    for name, value in evidence.report["facts"].items():
        yield f"  fact         {name} = {value}"
