"""The recovery point: what one restores, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.model.consistency import ConsistencyLevel, Outcome
    from quiesce.model.disk import Disk


@dataclass(frozen=True)
class PointSummary:
    """What listing the points shows, without opening anything but the log.

    *id* is the session's ULID. *created_at* is ISO 8601 in UTC. *new_bytes* are the bytes that
    the point added to the vault. *state* is live or forgotten.
    """

    id: str
    machine: str
    created_at: str
    consistency: ConsistencyLevel
    outcome: Outcome
    logical_bytes: int
    new_bytes: int
    disks: tuple[Disk, ...]
    state: str = "live"

    def to_json(self) -> dict[str, Any]:
        """Return the POINT of `overview.md`, section 4."""
        return {
            "id": self.id,
            "machine": self.machine,
            "created_at": self.created_at,
            "consistency": self.consistency.value,
            "outcome": self.outcome.value,
            "logical_bytes": self.logical_bytes,
            "new_bytes": self.new_bytes,
            "disks": [{"name": disk.name, "size_bytes": disk.size_bytes} for disk in self.disks],
            "state": self.state,
            "proof": None,
        }


@dataclass(frozen=True)
class Evidence:
    """Everything that the manifest keeps beside the disks.

    *report* is the guest's own `quiesce.report/1`, None where it could not be read; *definition*
    the machine's definition as JSON; *times* the host's measures in seconds; *errors* and
    *warnings* what the host found. All are JSON values.
    """

    consistency: ConsistencyLevel
    outcome: Outcome
    report: Mapping[str, Any] | None
    definition: Mapping[str, Any] | None
    times: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    skipped_disks: tuple[Mapping[str, str], ...] = ()
