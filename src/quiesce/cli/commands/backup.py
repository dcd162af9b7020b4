"""`quiesce backup MACHINE…`: protect machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quiesce import wiring
from quiesce.cli import summary
from quiesce.cli.context import begin, verb
from quiesce.cli.exits import of_runs

if TYPE_CHECKING:
    from quiesce.cli.context import Common
    from quiesce.errors import ExitStatus

_EPILOG = """\b
Examples:
  quiesce backup db1
  quiesce backup db1 --qmp /run/vm/db1.qmp --qga /run/vm/db1.qga
  quiesce backup web1 db1 --json
"""


@click.command(epilog=_EPILOG)
@click.argument("machines", metavar="MACHINE...", nargs=-1, required=True)
@click.option("--qmp", type=click.Path(path_type=Path), help="QMP socket of the machine's QEMU.")
@click.option("--qga", type=click.Path(path_type=Path), help="Its guest agent's socket.")
@click.option(
    "--definition",
    type=click.Path(path_type=Path),
    help="File that describes the machine, where QEMU's command line cannot be read.",
)
@click.option(
    "--scratch",
    type=click.Path(path_type=Path),
    help="Directory for old blocks while the snapshot is read.",
)
@click.option(
    "--same-machine", is_flag=True, help="A machine with another UUID under this name is meant."
)
@verb
def backup(common: Common, *, machines: tuple[str, ...], **given: Any) -> ExitStatus:
    """Take an application-consistent backup of each MACHINE.

    A MACHINE is a QEMU VM named in quiesce.toml ([machine.NAME] with qmp and qga), or given by
    --qmp and --qga.
    """
    options = wiring.MachineOptions(**given)
    if options.qmp is not None and len(machines) > 1:
        raise click.UsageError("--qmp names the socket of one machine: give one MACHINE")
    environment = begin(common)
    runs = []
    for name in machines:
        with common.output.progress() as progress:
            runs.append(wiring.backup(environment, name, options, progress=progress))
        common.output.tell(*summary.of_run(runs[-1]))
    document = {"schema": "quiesce.backup/1", "runs": [run.to_json() for run in runs]}
    common.output.answer(document)
    return of_runs(runs)
