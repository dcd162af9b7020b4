"""Extents of a disk: dirty-bitmap and hole arithmetic, in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Extent:
    """The half-open range [start, start + length) of a disk; *zero*: it reads as zeros."""

    start_bytes: int
    length_bytes: int
    zero: bool = False

    @property
    def end_bytes(self) -> int:
        """The first byte after the extent."""
        return self.start_bytes + self.length_bytes


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join neighbours of one kind; *extents* are in order and do not overlap."""
    pending: Extent | None = None
    for extent in extents:
        if extent.length_bytes == 0:
            continue
        if (
            pending is not None
            and pending.end_bytes == extent.start_bytes
            and pending.zero == extent.zero
        ):
            pending = Extent(
                pending.start_bytes, pending.length_bytes + extent.length_bytes, extent.zero
            )
            continue
        if pending is not None:
            yield pending
        pending = extent
    if pending is not None:
        yield pending
