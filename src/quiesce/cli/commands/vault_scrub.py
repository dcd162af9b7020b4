"""`quiesce vault check` and `scrub`: read the vault back, and say what is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus
from quiesce.vault.scrubbing import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.cli.context import Common
    from quiesce.vault.damage import DiskDamage, PointDamage
    from quiesce.vault.looking import Tally
    from quiesce.vault.scrubbing import Scrubbed

_BYTES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}
_AMOUNT: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]+)")
_SHOWN_RANGES: Final = 8

_EPILOG = """\b
Examples:
  quiesce vault scrub
  quiesce vault scrub --budget 2h
  quiesce vault scrub --budget 50GiB
"""


class _Amount(click.ParamType[Budget]):
    name = "AMOUNT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Budget:
        match = _AMOUNT.fullmatch(str(value))
        number, unit = (float(match[1]), match[2]) if match else (0.0, "")
        if unit in _BYTES:
            return Budget(read_bytes=int(number * _BYTES[unit]))
        if unit in _SECONDS:
            return Budget(seconds=number * _SECONDS[unit])
        return self.fail(f"{value!r} is neither like 50GiB nor like 2h", param, ctx)


@click.command(epilog="Example: quiesce vault check")
@verb
def check(common: Common) -> ExitStatus:
    """Look whether everything is there, and read all of it back.

    What the logs need is compared with what the store has, and every pack with the hash in its
    name, which needs no key. Says which points, disks and byte ranges are lost, if any are.
    """
    return _scrub(common, Budget(), opens=False)


@click.command(epilog=_EPILOG)
@click.option(
    "--budget",
    type=_Amount(),
    help="Stop after so much time (s, min, h) or so many bytes (MiB, GiB, TiB).",
)
@verb
def scrub(common: Common, *, budget: Budget | None) -> ExitStatus:
    """Read packs back, those first that were not read for longest, and open every chunk.

    As check, and every chunk is opened and compared with its id. What was read when is kept in
    the vault, so that the next scrub goes on with the rest. What is found damaged the next backup
    stores again, as far as the machine still has it.
    """
    return _scrub(common, budget or Budget(), opens=True)


def _scrub(common: Common, budget: Budget, *, opens: bool) -> ExitStatus:
    environment = begin(common)
    with common.output.progress() as progress:
        found = wiring.scrub(environment, budget, opens=opens, progress=progress)
    whole = all(each.is_whole for each in found)
    document = {
        "schema": "quiesce.scrub/1",
        "whole": whole,
        "domains": [_to_json(each) for each in found],
    }
    common.output.answer(document, *_lines(found))
    return ExitStatus.DONE if whole else ExitStatus.VAULT


def _to_json(each: Scrubbed) -> dict[str, Any]:
    found = each.look
    return {
        "domain": found.domain.name,
        "points": len(found.domain.state.points),
        "alarms": list(found.alarms),
        "packs": {
            "live": _tally(found.live),
            "dead": _tally(found.dead),
            "open": _tally(found.open),
            "unknown": _tally(found.unknown),
        },
        "locked": each.locked,
        "level": "opened" if each.opened else "hashed",
        "read": _tally(each.read),
        "left": _tally(each.left),
        "oldest_read": each.oldest,
        "damaged_packs": [{"pack": pack, "why": why} for pack, why in _in_order(each)],
        "damaged_points": [_point(point) for point in each.points],
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"packs": tally.packs, "bytes": tally.stored_bytes}


def _point(point: PointDamage) -> dict[str, Any]:
    return {
        "id": point.sid,
        "machine": point.machine,
        "created_at": point.created_at,
        "why": point.why,
        "disks": None if point.disks is None else [_disk(disk) for disk in point.disks],
    }


def _disk(disk: DiskDamage) -> dict[str, Any]:
    return {
        "name": disk.name,
        "size_bytes": disk.size_bytes,
        "lost": [
            {"start_bytes": lost.start_bytes, "length_bytes": lost.length_bytes}
            for lost in disk.lost
        ],
    }


def _lines(found: Sequence[Scrubbed]) -> Iterator[str]:
    for each in found:
        yield _summary(each)
        yield from _damage_lines(each)
        if each.locked:
            yield "  locked   no key here opens it: what its chunks are, nobody has looked at"
        if each.left.packs:
            yield f"  left     {_packs(each.left)} for the next scrub"
        if each.look.unknown.packs:
            yield f"  unknown  {_packs(each.look.unknown)} of sessions that the log does not know"
    if not found:
        yield "nothing in the vault yet"


def _damage_lines(each: Scrubbed) -> Iterator[str]:
    for alarm in each.look.alarms:
        yield f"  [red]log[/]      {shown(alarm)}"
    for pack, why in _in_order(each):
        yield f"  [red]damaged[/]  {pack}: {shown(why)}"
    for point in each.points:
        yield from _point_lines(point)
    if each.damaged:
        yield "  next     back up again: what the machine still has is stored again"


def _in_order(each: Scrubbed) -> list[tuple[str, str]]:
    return sorted((pack.text, why) for pack, why in each.damaged.items())


def _summary(each: Scrubbed) -> str:
    state = "[green]whole[/]" if each.is_whole else "[bold red]DAMAGED[/]"
    name = shown(each.look.domain.name)
    points = _counted(len(each.look.domain.state.points), "point")
    read = f"{_packs(each.read)} read and {'opened' if each.opened else 'hashed'}"
    oldest = "" if each.oldest is None else f", none longer ago than {each.oldest}"
    return f"[bold]{name}[/]  {state}: {points}, {read}{oldest}"


def _packs(tally: Tally) -> str:
    return f"{_counted(tally.packs, 'pack')} ({size(tally.stored_bytes)})"


def _counted(many: int, what: str) -> str:
    return f"{many} {what}" if many == 1 else f"{many} {what}s"


def _point_lines(point: PointDamage) -> Iterator[str]:
    name = f"{point.sid}  {shown(point.created_at or '?')}  {shown(point.machine)}"
    if point.disks is None:
        yield f"  [red]lost[/]     {name}: {shown(point.why)}"
        return
    if not point.disks:
        yield f"  whole    {name}: nothing of it is lost"
    for disk in point.disks:
        lost = sum(extent.length_bytes for extent in disk.lost)
        yield f"  [red]lost[/]     {name}: {size(lost)} of disk {shown(disk.name)}"
        for extent in disk.lost[:_SHOWN_RANGES]:
            yield f"             bytes {extent.start_bytes} to {extent.end_bytes}"
        if len(disk.lost) > _SHOWN_RANGES:
            yield f"             and {len(disk.lost) - _SHOWN_RANGES} more ranges: see --json"
