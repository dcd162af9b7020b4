"""`quiesce recall POINT…`: undo a forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from quiesce.cli.context import Common


@click.command(epilog="Example: quiesce recall 01JD7Z9K")
@click.argument("points", metavar="POINT...", nargs=-1, required=True)
@verb
def recall(common: Common, *, points: tuple[str, ...]) -> ExitStatus:
    """Undo the forgetting of each POINT, by its id."""
    vault = wiring.open_vault(begin(common))
    found = [vault.find(selector) for selector in points]
    for point in found:
        vault.recall(point)
    now = [vault.find(point.id) for point in found]
    document = {"schema": "quiesce.points/1", "points": [point.to_json() for point in now]}
    common.output.answer(
        document,
        *(f"recalled {point.id} of {shown(point.machine)}" for point in now),
    )
    return ExitStatus.DONE
