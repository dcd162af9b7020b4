"""`quiesce forget POINT…`: let recovery points go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from quiesce.cli.context import Common


@click.command(epilog="Example: quiesce forget 01JD7Z9K; quiesce recall 01JD7Z9K")
@click.argument("points", metavar="POINT...", nargs=-1, required=True)
@verb
def forget(common: Common, *, points: tuple[str, ...]) -> ExitStatus:
    """Let each POINT go; it can be recalled until a prune makes it final."""
    vault = wiring.open_vault(begin(common))
    found = [vault.find(selector) for selector in points]
    for point in found:
        vault.forget(point)
    now = [vault.find(point.id) for point in found]
    document = {"schema": "quiesce.points/1", "points": [point.to_json() for point in now]}
    common.output.answer(
        document,
        *(f"forgot {point.id} of {shown(point.machine)}" for point in now),
    )
    return ExitStatus.DONE
