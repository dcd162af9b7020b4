"""A report that is handed over is evidence for one point, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from quiesce.model.report import Report
    from quiesce.vault.repository import Vault


def refuse_used(vault: Vault, machine: str, report: Report) -> tuple[str, ...]:
    """Raise QuiesceError ReportRefused where a point of *machine* has *report* already.

    Returns a warning for each point of which that cannot be known.
    """
    warnings = []
    for point in reversed(vault.points(machine)):
        try:
            kept = vault.read(point).evidence.report
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            warnings.append(f"whether the point {point.id} has the same report cannot be known")
            continue
        if kept is not None and kept.get("session") == report.session:
            raise QuiesceError(
                "ReportRefused",
                f"the point {point.id} has the report of session {report.session} already",
            )
    return tuple(warnings)
