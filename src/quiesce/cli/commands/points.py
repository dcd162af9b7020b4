"""`quiesce points`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.cli.context import Common
    from quiesce.model.point import PointSummary

_HEAD: Final = ("point", "machine", "created", "consistency", "disks", "size", "new", "")


@click.command(epilog="Example: quiesce points db1")
@click.argument("machine", required=False)
@verb
def points(common: Common, *, machine: str | None) -> ExitStatus:
    """List the recovery points, of one MACHINE or of all."""
    vault = wiring.open_vault(begin(common))
    found = vault.points(machine)
    for alarm in vault.alarms(machine):
        common.output.say(f"[bold red]damaged[/]: {shown(alarm)}")
    document = {"schema": "quiesce.points/1", "points": [point.to_json() for point in found]}
    common.output.answer(document, _table(found) if found else "no recovery points yet")
    return ExitStatus.DONE


def _table(found: Sequence[PointSummary]) -> str:
    """Return lines with columns. A table of rich takes longer than reading a thousand points."""
    rows = [
        _HEAD,
        *(
            (
                point.id,
                shown(point.machine),
                shown(point.created_at),
                point.consistency.value,
                str(len(point.disks)),
                size(point.logical_bytes),
                size(point.new_bytes),
                "" if point.state == "live" else point.state,
            )
            for point in found
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (map(str.ljust, row, widths) for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)
