"""A writing session: from its open entry to its snapshot entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.model.disk import Disk
    from quiesce.model.point import Evidence, PointSummary
    from quiesce.ports import BlockReader, Progress


@dataclass(frozen=True)
class DiskCopied:
    """What copying one disk did: *mode* is full or compare, and *why*."""

    name: str
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    mode: str
    why: str


class WritingSession:
    """One recovery point in the making."""

    sid: str

    def copy_disk(self, disk: Disk, reader: BlockReader, *, progress: Progress) -> DiskCopied:
        """Copy *disk*; when this returns or raises, *reader* is no longer used.

        Begins the stage `copy NAME` with the disk's size, and advances over holes too.
        """
        raise NotImplementedError

    def commit(self, evidence: Evidence, *, created_at: str) -> PointSummary:
        """Make the recovery point exist; before it there is none."""
        raise NotImplementedError
