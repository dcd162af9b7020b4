"""`quiesce restore POINT`: copy a recovery point back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quiesce import wiring
from quiesce.cli.context import begin, verb
from quiesce.cli.output import size
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from quiesce.cli.context import Common

_EPILOG = """\b
Examples:
  quiesce restore db1@latest --to /srv/restored
  quiesce restore 01JD7Z9K --to /srv/restored --format qcow2
"""


@click.command(epilog=_EPILOG)
@click.argument("point")
@click.option(
    "--to",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory for the disks: DIR/<disk>.raw; made where it is missing.",
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["raw", "qcow2"]),
    default="raw",
    show_default=True,
    help="Format of the disks; both are sparse.",
)
@verb
def restore(common: Common, *, point: str, directory: Path, image_format: str) -> ExitStatus:
    """Write the disks of POINT into new files.

    POINT is a point's id, a prefix of 8 or more of it, MACHINE@latest or MACHINE@TIME.
    """
    environment = begin(common)
    with common.output.progress() as progress:
        restored = wiring.restore(
            environment, point, directory, image_format=image_format, progress=progress
        )
    document = {
        "schema": "quiesce.restore/1",
        "point": restored.point.to_json(),
        "disks": [
            {"name": disk.name, "path": str(path), "size_bytes": disk.size_bytes}
            for disk, path in restored.disks
        ],
        "times": {"total_s": round(restored.took_s, 3)},
    }
    lines = [f"{path}  {size(disk.size_bytes)}" for disk, path in restored.disks]
    lines.append(f"restored {restored.point.id} in {restored.took_s:.1f} s")
    common.output.answer(document, *lines)
    return ExitStatus.DONE
