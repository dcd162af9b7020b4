"""`quiesce hold POINT` and `quiesce unhold POINT`: forbid and allow forgetting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from quiesce.cli.context import Common


@click.command(epilog="Example: quiesce hold db1@latest")
@click.argument("point")
@click.option("--legal", is_flag=True, help="A hold that ends only by unhold --legal.")
@verb
def hold(common: Common, *, point: str, legal: bool) -> ExitStatus:
    """Hold POINT: nothing forgets or purges it until every hold of it has ended."""
    _answer(common, wiring.hold(begin(common), point, legal=legal))
    return ExitStatus.DONE


@click.command(epilog="Example: quiesce unhold 01JD7Z9K")
@click.argument("point")
@click.option("--legal", is_flag=True, help="End the legal holds too.")
@verb
def unhold(common: Common, *, point: str, legal: bool) -> ExitStatus:
    """End the holds of POINT."""
    _answer(common, wiring.unhold(begin(common), point, legal=legal))
    return ExitStatus.DONE


def _answer(common: Common, held: wiring.Holds) -> None:
    document = {
        "schema": "quiesce.holds/1",
        "point": held.point.to_json(),
        "holds": [{"hold": each.hold, "legal": each.legal} for each in held.holds],
    }
    legal = sum(each.legal for each in held.holds)
    many = f"{len(held.holds)} holds, {legal} of them legal" if held.holds else "not held"
    common.output.answer(document, f"{held.point.id}: {many}")
