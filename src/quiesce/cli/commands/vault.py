"""`quiesce vault …`: care of the vault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quiesce import keycare
from quiesce.cli.commands.vault_key import key, recovery_lines
from quiesce.cli.context import begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.cli.context import Common

_INIT_EPILOG = """\b
Examples:
  quiesce vault init
  quiesce --vault file:///srv/vault vault init --recovery-file /root/recovery-key
"""


@click.group()
def vault() -> None:
    """Make a vault and care for it."""


vault.add_command(key)


@vault.command(epilog=_INIT_EPILOG)
@click.option(
    "--no-encryption", is_flag=True, help="Keep everything readable for whoever reads the store."
)
@click.option(
    "--recovery-file",
    type=click.Path(path_type=Path),
    help="New file for the recovery key, which is printed otherwise.",
)
@verb
def init(common: Common, *, no_encryption: bool, recovery_file: Path | None) -> ExitStatus:
    """Make a new, empty vault, encrypted unless said otherwise.

    This host becomes its first host and its keeper: its key files open the vault without asking.
    A passphrase, where one is given or typed, and the recovery key open it elsewhere.
    """
    environment = begin(common)
    if no_encryption:
        made = keycare.create_plain_vault(environment)
        common.output.say(
            "[bold yellow]this vault is NOT encrypted[/]: whoever can read it, reads all"
        )
    else:
        made = keycare.create_vault(environment, recovery_file=recovery_file)
    document = {
        "schema": "quiesce.vault/1",
        "url": made.url,
        "encrypted": not no_encryption,
        "store": {
            "conditional_create": True,
            "list_after_write": True,
            "may_delete": made.probed.may_delete,
        },
        "slots": [slot.name for slot in made.slots],
        "key_files": [str(path) for path in made.key_files],
        "recovery_key": made.recovery,
    }
    common.output.answer(document, *_made_lines(made))
    return ExitStatus.DONE


def _made_lines(made: keycare.Made) -> Iterator[str]:
    may = "may delete" if made.probed.may_delete else "may not delete (prune needs others)"
    yield f"made the vault {shown(made.url)}"
    yield f"its store creates only what is not there, lists what was just written; we {may}"
    for path in made.key_files:
        yield f"  key file      {shown(path)}"
    for slot in made.slots:
        yield f"  opened by     {slot.kind.value} ({slot.name})"
    if made.recovery is not None:
        yield from recovery_lines(made.recovery)
