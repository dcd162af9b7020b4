"""`quiesce doctor`: prove the set-up before it is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.cli.context import Common
    from quiesce.jobs.doctor import Examined

_EPILOG = """\b
Examples:
  quiesce doctor
  quiesce --vault s3://backups/vault doctor
"""


@click.command(epilog=_EPILOG)
@verb
def doctor(common: Common) -> ExitStatus:
    """Look whether the vault can be used from here, and what this host may do there.

    Opens the vault and tries its store, as vault init does. For a vault in S3 it prints the bucket
    policy of a host that may create and read, and can neither delete nor overwrite.
    """
    examined = wiring.examine(begin(common))
    document = {
        "schema": "quiesce.doctor/1",
        "vault": {"url": examined.url, "may_delete": examined.may_delete},
        "bucket_policy": examined.bucket_policy,
    }
    common.output.answer(document, *_lines(examined))
    return ExitStatus.DONE


def _lines(examined: Examined) -> Iterator[str]:
    yield f"[green]ok[/]  the vault {shown(examined.url)} can be used from here"
    if examined.may_delete:
        yield "[yellow]![/]   this host may delete in it: only the one that prunes needs that"
    else:
        yield "[green]ok[/]  this host may not delete in it; quiesce prune needs one that may"
    if examined.bucket_policy is not None:
        yield "the bucket policy of a host that can neither delete nor overwrite:"
        yield shown(json.dumps(examined.bucket_policy, indent=2))
