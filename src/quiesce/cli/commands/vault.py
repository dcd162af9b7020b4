"""`quiesce vault …`: care of the vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
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
    url = wiring.create_vault(begin(common))
    common.output.say("[yellow]this vault is NOT encrypted[/]: whoever can read it, reads all")
    common.output.answer(
        {"schema": "quiesce.vault/1", "url": url, "encrypted": False}, f"made the vault {url}"
    )
    return ExitStatus.DONE
