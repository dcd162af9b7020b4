"""`quiesce supervise`: the process that undoes what a dead backup left; not for people."""

from __future__ import annotations

from pathlib import Path

import click

from quiesce import wiring
from quiesce.errors import ExitStatus


@click.command(hidden=True)
@click.option("--state-dir", type=click.Path(path_type=Path), required=True)
@click.option("--session", required=True)
def supervise(*, state_dir: Path, session: str) -> ExitStatus:
    """Wait for the end of a backup, and undo what it left."""
    wiring.supervise(state_dir=state_dir, session=session)
    return ExitStatus.DONE
