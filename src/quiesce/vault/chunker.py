"""Cut a disk into what must be read: whole chunks, a few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format.header import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quiesce.model.extent import Extent

READ_BYTES: Final = 4 * CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Span:
    """A range to read at once: whole chunks (the disk's last may be short), never over 1 MiB."""

    start_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        """The first byte after the span."""
        return self.start_bytes + self.length_bytes

    @property
    def first_chunk(self) -> int:
        """The position of its first chunk."""
        return self.start_bytes // CHUNK_BYTES


def plan_reads(extents: Iterable[Extent], size_bytes: int) -> Iterator[Span]:
    """Yield what of a disk must be read, in order; everything else is known to be zero.

    Only what *extents* call zero is left out; what they do not mention is read. No span crosses a
    multiple of 1 MiB. Raises QuiesceError SnapshotBroken where they overlap or pass the disk's end.
    """
    done = 0
    for start, end in _data_ranges(extents, size_bytes):
        first = max(done, start - start % CHUNK_BYTES)
        done = max(done, min(size_bytes, -(-end // CHUNK_BYTES) * CHUNK_BYTES))
        while first < done:
            stop = min(done, first - first % READ_BYTES + READ_BYTES)
            yield Span(first, stop - first)
            first = stop


def _data_ranges(extents: Iterable[Extent], size_bytes: int) -> Iterator[tuple[int, int]]:
    at = 0
    for extent in extents:
        if extent.start_bytes < at or extent.end_bytes > size_bytes or extent.length_bytes < 0:
            raise QuiesceError("SnapshotBroken", f"{extent} does not follow byte {at} of the disk")
        if extent.start_bytes > at:
            yield at, extent.start_bytes
        if not extent.zero and extent.length_bytes:
            yield extent.start_bytes, extent.end_bytes
        at = extent.end_bytes
    if at < size_bytes:
        yield at, size_bytes
