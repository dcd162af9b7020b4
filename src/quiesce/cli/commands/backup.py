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
  quiesce backup old1 --disk /images/old1.qcow2 --disk /dev/vg/old1-data
  quiesce backup db2 --disk /dev/vg/db2-snap --report report.json --changed changed.json
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
    "--disk",
    "disks",
    metavar="PATH",
    multiple=True,
    help="A disk of a machine that does not run, or a snapshot of one: a file (raw, qcow2;"
    " raw:PATH or qcow2:PATH says which) or a block device. Once for each disk.",
)
@click.option(
    "--at-rest",
    is_flag=True,
    help="Nobody writes to the disks: back them up though they look as if somebody may.",
)
@click.option(
    "--changed",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="JSON list of [offset, length]: what changed since the newest point. Once for each disk.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Report of the quiesce-guest session in which the disks were taken.",
)
@click.option(
    "--vault-on-disk",
    is_flag=True,
    help="The vault or scratch may lie on a disk that is backed up.",
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
    --qmp and --qga; or only disks ([machine.NAME] with disks, or --disk), which are read as they
    are and never mounted.
    """
    options = wiring.MachineOptions(**given)
    _refuse_nonsense(options, len(machines))
    environment = begin(common)
    runs = []
    for name in machines:
        with common.output.progress() as progress:
            runs.append(wiring.backup(environment, name, options, progress=progress))
        common.output.tell(*summary.of_run(runs[-1]))
    document = {"schema": "quiesce.backup/1", "runs": [run.to_json() for run in runs]}
    common.output.answer(document)
    return of_runs(runs)


def _refuse_nonsense(options: wiring.MachineOptions, machines: int) -> None:
    if options.disks and (options.qmp is not None or options.qga is not None):
        raise click.UsageError("a machine is either a QEMU (--qmp, --qga) or disks alone (--disk)")
    of_one = (
        ("--qmp", options.qmp),
        ("--disk", options.disks),
        ("--changed", options.changed),
        ("--report", options.report),
    )
    for name, value in of_one:
        if value and machines > 1:
            raise click.UsageError(f"{name} is of one machine: give one MACHINE")
