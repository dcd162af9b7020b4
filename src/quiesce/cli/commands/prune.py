"""`quiesce prune`: keep what the rules say, and free the space of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.cli.context import Common
    from quiesce.vault.collecting import Collected, DomainPlan
    from quiesce.vault.maintenance import Planned

_EPILOG = """\b
Examples:
  quiesce prune --dry-run
  quiesce prune
  quiesce prune --limit 100

\b
In quiesce.toml:
  [retention]
  keep_daily = 7
  keep_weekly = 5
  keep_monthly = 12
"""


@click.command(epilog=_EPILOG)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and why.")
@click.option(
    "--limit",
    "limit_percent",
    type=click.IntRange(0, 100),
    help="Forget at most so many percent of a machine's points, in place of limit_percent.",
)
@verb
def prune(common: Common, *, dry_run: bool, limit_percent: int | None) -> ExitStatus:
    """Forget points by the rules, purge those forgotten long ago, and free their space.

    A point whose time is doubtful is never forgotten, nor is one that is held, nor the newest of a
    machine. Backups, restores and other prunes may run meanwhile.
    """
    environment = begin(common)
    maintenance, planned = wiring.plan_prune(environment)
    if dry_run:
        _tell_plan(common, planned)
        return ExitStatus.DONE
    with common.output.progress() as progress:
        done = wiring.prune(
            environment, maintenance, planned, limit_percent=limit_percent, progress=progress
        )
    document = {
        "schema": "quiesce.prune/1",
        "done": True,
        "domains": [_done(each) for each in done],
    }
    common.output.answer(document, *_lines(done))
    return ExitStatus.DONE


def _tell_plan(common: Common, planned: Sequence[Planned]) -> None:
    document = {
        "schema": "quiesce.prune/1",
        "done": False,
        "domains": [_plan(each.domain.name, each.plan) for each in planned],
    }
    lines = []
    for each in planned:
        plan = each.plan
        dead = sum(pack.blob.size_bytes for pack in plan.dead)
        lines.append(
            f"[bold]{shown(each.domain.name)}[/]  would forget {len(plan.forget)}, purge"
            f" {len(plan.purge)} and free at least {size(dead)}"
        )
        lines += _reasons(plan)
    common.output.answer(document, *lines)


def _plan(name: str, plan: DomainPlan) -> dict[str, Any]:
    kept: dict[str, list[str]] = {}
    unclear: dict[str, str] = {}
    for retention in plan.retention.values():
        kept |= {sid: list(why) for sid, why in retention.keep.items()}
        unclear |= retention.unclear
    return {
        "domain": name,
        "kept": kept,
        "unclear": unclear,
        "forgotten": [point.to_json() for point in plan.forget],
        "purged": list(plan.purge),
        "aborted": list(plan.abort),
        "deleted_packs": len(plan.dead),
        "freed_bytes": sum(pack.blob.size_bytes for pack in plan.dead),
        "unknown_packs": [],
        "mended_packs": 0,
        "repacked_packs": 0,
        "copied_bytes": 0,
        "left": None,
    }


def _done(each: Collected) -> dict[str, Any]:
    return {
        **_plan(each.name, each.plan),
        "forgotten": [point.to_json() for point in each.forgotten],
        "purged": list(each.purged),
        "aborted": list(each.aborted),
        "deleted_packs": each.deleted,
        "freed_bytes": each.freed_bytes,
        "unknown_packs": [pack.blob.name for pack in each.unknown],
        "mended_packs": each.mended.packs,
        "repacked_packs": each.repacked.packs,
        "copied_bytes": each.repacked.copied_bytes,
        "left": each.left,
    }


def _lines(done: Sequence[Collected]) -> Iterator[str]:
    for each in done:
        kept = sum(len(plan.keep) + len(plan.unclear) for plan in each.plan.retention.values())
        yield (
            f"[bold]{shown(each.name)}[/]  kept {kept}, forgot {len(each.forgotten)}, purged"
            f" {len(each.purged)}, freed {size(each.freed_bytes)}"
        )
        for point in each.forgotten:
            yield f"  forgot   {point.id}  {shown(point.created_at)}"
        for sid in each.purged:
            yield f"  purged   {sid}"
        for sid in each.aborted:
            yield f"  gave up  {sid}, a session that nobody goes on with"
        yield from _repacked(each)
        if each.left is not None:
            yield f"  [yellow]left[/]     packs that are mostly dead or damaged: {shown(each.left)}"
        yield from _unclear(each.plan)
        if each.unknown:
            bytes_left = sum(pack.blob.size_bytes for pack in each.unknown)
            yield (
                f"  [yellow]unknown[/]  {len(each.unknown)} packs ({size(bytes_left)}) of sessions"
                " that the log does not know are left alone"
            )
    freed = sum(each.freed_bytes for each in done)
    packs = sum(each.deleted for each in done)
    yield f"freed {size(freed)} in {packs} packs"


def _repacked(each: Collected) -> Iterator[str]:
    if each.mended.packs:
        yield f"  mended   {each.mended.packs} damaged packs, of which nothing was lost"
    if each.repacked.packs:
        copied = size(each.repacked.copied_bytes)
        yield f"  emptied  {each.repacked.packs} packs, mostly dead, by copying {copied}"


def _reasons(plan: DomainPlan) -> Iterator[str]:
    for point in plan.forget:
        yield f"  forget   {point.id}  {shown(point.created_at)}"
    for sid in plan.purge:
        yield f"  purge    {sid}"
    for sid in plan.abort:
        yield f"  give up  {sid}, a session that nobody goes on with"
    for retention in plan.retention.values():
        for sid, why in retention.keep.items():
            yield f"  keep     {sid}  {', '.join(why)}"
    yield from _unclear(plan)


def _unclear(plan: DomainPlan) -> Iterator[str]:
    for retention in plan.retention.values():
        for sid, why in retention.unclear.items():
            yield f"  [yellow]unclear[/]  {sid} is kept: {shown(why)}"
