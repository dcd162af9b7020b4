"""`quiesce vault stats`: what points, machines and the vault take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.cli.context import Common
    from quiesce.vault.looking import Tally
    from quiesce.vault.measuring import DomainSize, MachineSize, PointSize, Size


@click.command(epilog="Example: quiesce vault stats")
@verb
def stats(common: Common) -> ExitStatus:
    """Say what each point and each machine takes, and what is dead.

    logical: the disks. unique: their chunks that are not zero, equal ones once. compressed: what
    those take as they are stored. stored: with maps, manifests and their second copies. Of a
    machine, what its points share counts once. The maps of all points are read.
    """
    environment = begin(common)
    with common.output.progress() as progress:
        found = wiring.stats(environment, progress=progress)
    document = {"schema": "quiesce.stats/1", "domains": [_domain(each) for each in found]}
    common.output.answer(document, *_parts(found))
    return ExitStatus.DONE


def _domain(each: DomainSize) -> dict[str, Any]:
    look = each.look
    return {
        "domain": look.domain.name,
        "locked": each.locked,
        "packs": {
            "live": _tally(look.live),
            "dead": _tally(look.dead),
            "open": _tally(look.open),
            "unknown": _tally(look.unknown),
        },
        "dead_bytes": {"in_dead_packs": look.dead.stored_bytes, "in_live_packs": each.dead_inside},
        "machines": [_machine(machine) for machine in each.machines],
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"packs": tally.packs, "bytes": tally.stored_bytes}


def _machine(machine: MachineSize) -> dict[str, Any]:
    return {
        "machine": machine.machine,
        **_size(machine.size),
        "points": [_point(point) for point in machine.points],
    }


def _point(each: PointSize) -> dict[str, Any]:
    point = each.point
    return {
        "id": point.id,
        "created_at": point.created_at,
        "state": point.state,
        "new_bytes": point.new_bytes,
        "size": None if each.size is None else _size(each.size),
    }


def _size(each: Size) -> dict[str, int]:
    return {
        "logical_bytes": each.logical,
        "unique_bytes": each.unique,
        "compressed_bytes": each.compressed,
        "stored_bytes": each.stored,
    }


def _parts(found: Sequence[DomainSize]) -> Iterator[object]:
    if not found:
        yield "nothing in the vault yet"
        return
    table = Table("machine", "point", "logical", "unique", "compressed", "stored", "", box=None)
    for column in table.columns[2:6]:
        column.justify = "right"
    for domain in found:
        for machine in domain.machines:
            for point in machine.points:
                name, state = shown(machine.machine), point.point.state
                table.add_row(
                    name, point.point.id, *_cells(point.size), "" if state == "live" else state
                )
            if len(machine.points) > 1:
                table.add_row(shown(machine.machine), "together", *_cells(machine.size), "")
    yield table
    for domain in found:
        yield _totals(domain)


def _cells(each: Size | None) -> Sequence[str]:
    if each is None:
        return "damaged", "", "", ""
    return size(each.logical), size(each.unique), size(each.compressed), size(each.stored)


def _totals(domain: DomainSize) -> str:
    look = domain.look
    inside = "?" if domain.dead_inside is None else size(domain.dead_inside)
    line = (
        f"{shown(look.domain.name)}: {look.live.packs} packs in use ({size(look.live.stored_bytes)}"
        f", {inside} of it dead), {look.dead.packs} dead ({size(look.dead.stored_bytes)})"
    )
    if look.open.packs:
        line += f", {look.open.packs} of open sessions ({size(look.open.stored_bytes)})"
    if domain.locked:
        line += "; no key here opens it"
    if look.unknown.packs:
        line += f", {look.unknown.packs} unknown ({size(look.unknown.stored_bytes)})"
    return line
