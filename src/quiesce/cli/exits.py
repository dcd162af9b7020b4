"""The exit status of several machines together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quiesce.jobs.account import BackupRun

_WORST_FIRST = (
    ExitStatus.INTERRUPTED,
    ExitStatus.UNEXPECTED,
    ExitStatus.VAULT,
    ExitStatus.SNAPSHOT,
    ExitStatus.ABORTED,
    ExitStatus.NOT_FOUND,
    ExitStatus.BUSY,
    ExitStatus.DEGRADED,
)


def of_runs(runs: Iterable[BackupRun]) -> ExitStatus:
    """Return the first that is present of 130, 1, 6, 5, 4, 10, 9, 3, else 0."""
    present = {run.exit_status for run in runs}
    return next((status for status in _WORST_FIRST if status in present), ExitStatus.DONE)
