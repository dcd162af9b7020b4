"""`quiesce vault …`: care of the vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus, QuiesceError

if TYPE_CHECKING:
    from quiesce.cli.context import Common


@click.group()
def vault() -> None:
    """Make a vault and care for it."""


@vault.command(epilog="Example: quiesce --vault file:///srv/vault vault init --no-encryption")
@click.option(
    "--no-encryption", is_flag=True, help="Keep everything readable for whoever reads the store."
)
@verb
def init(common: Common, *, no_encryption: bool) -> ExitStatus:
    """Make a new, empty vault."""
    if not no_encryption:
        raise QuiesceError("EncryptionUnavailable", "this version makes no encrypted vaults yet")
    environment = begin(common)
    probed = wiring.create_vault(environment)
    url = environment.vault_url
    common.output.say("[yellow]this vault is NOT encrypted[/]: whoever can read it, reads all")
    may = "may delete" if probed.may_delete else "may not delete (prune needs others)"
    common.output.answer(
        {
            "schema": "quiesce.vault/1",
            "url": url,
            "encrypted": False,
            "store": {
                "conditional_create": True,
                "list_after_write": True,
                "may_delete": probed.may_delete,
            },
        },
        f"made the vault {shown(url)}",
        f"its store creates only what is not there, lists what was just written; we {may}",
    )
    return ExitStatus.DONE
