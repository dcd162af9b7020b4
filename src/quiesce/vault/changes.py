"""Go on from the point before: what of a disk must be read, and what lies in the vault as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.model.extent import Extent
from quiesce.vault.chunker import plan_reads
from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.format.map import LEAF_POSITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from quiesce.vault.chunker import Span
    from quiesce.vault.format.map import Ref


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of the base point's map: the chunks that are there, and those that are *lost*."""

    refs: Mapping[int, Ref]
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Kept:
    """Chunks that did not change, in order: position on the disk, and where each lies.

    *sample* is one of them, to be read and compared all the same.
    """

    chunks: tuple[tuple[int, Ref], ...]
    sample: tuple[int, Ref] | None = None


def plan(
    changed: Sequence[Extent],
    leaf: Callable[[int], Leaf],
    extents: Iterable[Extent],
    *,
    sizes: tuple[int, int],
    pick: Callable[[int, int], int | None],
) -> Iterator[Span | Kept]:
    """Yield, in the order of the disk, what must be read and what is taken from the base point.

    *changed* is in order; *leaf* answers with a leaf of the base; *extents* are the disk's own, by
    which zeros are left out; *sizes* are those of the disk and of the base's. *pick* is asked, for
    each leaf and the number of its chunks that are kept, for the number of the one that is the
    sample. What is neither yielded nor lost is zero in both. Raises QuiesceError SnapshotBroken as
    `plan_reads`.
    """
    size_bytes, base_bytes = sizes
    positions = -(-size_bytes // CHUNK_BYTES)
    wanted = _Cursor(_whole_chunks(changed, size_bytes, base_bytes))
    data = _Cursor(extents)
    for first in range(0, positions, LEAF_POSITIONS):
        end = min(first + LEAF_POSITIONS, positions)
        base = leaf(first // LEAF_POSITIONS)
        must = {first + at for at in base.lost}
        for extent in wanted.within(first * CHUNK_BYTES, end * CHUNK_BYTES):
            must.update(range(extent.start_bytes // CHUNK_BYTES, extent.end_bytes // CHUNK_BYTES))
        sample = _sample(base, first, must, pick)
        at = first
        for start, stop in _runs(sorted(position for position in must if position < end)):
            yield from _kept(base, first, (at, start), sample)
            yield from _read(data, start * CHUNK_BYTES, min(stop * CHUNK_BYTES, size_bytes))
            at = stop
        yield from _kept(base, first, (at, end), sample)


class _Cursor:
    """Extents that are asked for range by range, in order."""

    def __init__(self, extents: Iterable[Extent]) -> None:
        self._extents = iter(extents)
        self._current = next(self._extents, None)

    def within(self, start_bytes: int, end_bytes: int) -> Iterator[Extent]:
        """Yield the parts of the extents in this range; it begins where the last one ended."""
        while self._current is not None and self._current.start_bytes < end_bytes:
            current = self._current
            start = max(start_bytes, current.start_bytes)
            end = min(end_bytes, current.end_bytes)
            if end > start:
                yield Extent(start, end - start, current.zero)
            if current.end_bytes > end_bytes:
                return
            self._current = next(self._extents, None)


def _whole_chunks(changed: Iterable[Extent], size_bytes: int, base_bytes: int) -> Iterator[Extent]:
    """Yield *changed* as whole chunks, and what the disk's end changed since the base."""
    limit = -(-size_bytes // CHUNK_BYTES) * CHUNK_BYTES
    done = 0
    for extent in changed:
        start = max(done, extent.start_bytes - extent.start_bytes % CHUNK_BYTES)
        done = max(done, min(limit, -(-extent.end_bytes // CHUNK_BYTES) * CHUNK_BYTES))
        if done > start:
            yield Extent(start, done - start)
    if size_bytes != base_bytes:
        shorter = min(size_bytes, base_bytes)
        start = max(done, shorter - shorter % CHUNK_BYTES)
        if limit > start:
            yield Extent(start, limit - start)


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = end = -1
    for position in positions:
        if position != end:
            if end > start:
                yield start, end
            start = position
        end = position + 1
    if end > start:
        yield start, end


def _sample(
    base: Leaf, first: int, must: Container[int], pick: Callable[[int, int], int | None]
) -> tuple[int, Ref] | None:
    kept = [(first + at, ref) for at, ref in base.refs.items() if first + at not in must]
    number = pick(first, len(kept)) if kept else None
    return None if number is None else kept[number]


def _kept(
    base: Leaf, first: int, where: tuple[int, int], sample: tuple[int, Ref] | None
) -> Iterator[Kept]:
    start, stop = where
    chunks = tuple((first + at, ref) for at, ref in base.refs.items() if start <= first + at < stop)
    if chunks:
        is_here = sample is not None and start <= sample[0] < stop
        yield Kept(chunks, sample if is_here else None)


def _read(data: _Cursor, start_bytes: int, end_bytes: int) -> Iterator[Span]:
    inside = (Extent(0, start_bytes, zero=True), *data.within(start_bytes, end_bytes))
    return plan_reads(inside, end_bytes)
