"""Forget and purge by the retention rules, then delete what nothing can use any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.policy.retention import is_refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.ports import Progress
    from quiesce.vault.collecting import Collected, Terms
    from quiesce.vault.maintenance import Maintenance, Planned


def plan(maintenance: Maintenance, terms: Terms) -> tuple[Planned, ...]:
    """Return what a prune would do; it does nothing."""
    return tuple(maintenance.plan(terms))


def check(planned: Sequence[Planned], *, limit_percent: int) -> None:
    """Raise QuiesceError PruneRefused where too much of a machine would be forgotten at once."""
    for each in planned:
        for machine, retention in each.plan.retention.items():
            live = len(retention.keep) + len(retention.forget) + len(retention.unclear)
            if is_refused(len(retention.forget), live, limit_percent):
                raise QuiesceError(
                    "PruneRefused",
                    f"{len(retention.forget)} of {live} points of {machine} would be forgotten,"
                    f" more than {limit_percent} %",
                )


def apply(
    maintenance: Maintenance, planned: Sequence[Planned], *, progress: Progress
) -> tuple[Collected, ...]:
    """Do what was planned, domain by domain.

    Interrupted or failed, it leaves the vault whole, and the next prune goes on.
    """
    done = []
    for each in planned:
        progress.stage(f"prune {each.domain.name}")
        done.append(maintenance.apply(each))
    return tuple(done)
