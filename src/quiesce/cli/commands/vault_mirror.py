"""`quiesce vault mirror`: a second copy of the vault in another store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown, size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.cli.context import Common
    from quiesce.vault.mirroring import Mirrored

_EPILOG = """\b
Examples:
  quiesce vault mirror s3://second-copy/vault
  quiesce --vault s3://second-copy/vault vault mirror file:///srv/brought-back
"""


@click.command(epilog=_EPILOG)
@click.argument("url")
@verb
def mirror(common: Common, url: str) -> ExitStatus:
    """Copy the vault to URL, as far as it is not there yet.

    Backups and prunes may go on meanwhile, and whatever interrupts it, the next run goes on. Every
    point in the mirror can be restored from it alone (--vault URL). A vault that is backed up to
    is a mirror no more: it is refused then. What a prune frees in the vault stays in the mirror.
    """
    environment = begin(common)
    with common.output.progress() as progress:
        mirrored = wiring.mirror(environment, url, progress=progress)
    whole = not any(each.lost for each in mirrored)
    document = {
        "schema": "quiesce.mirror/1",
        "url": url,
        "whole": whole,
        "domains": [
            {
                "domain": each.name,
                "points": each.points,
                "packs": each.packs,
                "bytes": each.copied_bytes,
                "entries": each.entries,
                "lost_packs": [pack.text for pack in each.lost],
            }
            for each in mirrored
        ],
    }
    common.output.answer(document, *_lines(mirrored))
    return ExitStatus.DONE if whole else ExitStatus.VAULT


def _lines(mirrored: Sequence[Mirrored]) -> Iterator[str]:
    for each in mirrored:
        copied = f"{each.packs} packs ({size(each.copied_bytes)}), {each.entries} entries copied"
        yield f"[bold]{shown(each.name)}[/]  {each.points} points: {copied}"
        for pack in each.lost:
            yield f"  [red]lost[/]  {pack.text}: it is missing or damaged in the vault itself"
        if each.lost:
            yield "  next  quiesce vault check"
    if not mirrored:
        yield "nothing in the vault yet"
