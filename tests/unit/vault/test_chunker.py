from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.model.extent import Extent
from quiesce.vault.chunker import READ_BYTES, Span, plan_reads
from quiesce.vault.format.header import CHUNK_BYTES


@st.composite
def disks(draw: st.DrawFn) -> tuple[int, list[Extent]]:
    """Return a size and extents over it, with gaps that nobody speaks of."""
    size = draw(st.integers(0, 20 * CHUNK_BYTES))
    cuts = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=10))})
    kinds = [draw(st.sampled_from(["zero", "data", "gap"])) for _ in cuts[1:]]
    return size, [
        Extent(start, end - start, zero=kind == "zero")
        for start, end, kind in zip(cuts, cuts[1:], kinds, strict=False)
        if kind != "gap"
    ]


@given(disks())
def test_everything_that_is_not_known_to_be_zero_is_read_once(
    disk: tuple[int, list[Extent]],
) -> None:
    size, extents = disk
    spans = list(plan_reads(extents, size))
    zero_chunks = set()
    for position in range(-(-size // CHUNK_BYTES)):
        start, end = position * CHUNK_BYTES, min(size, (position + 1) * CHUNK_BYTES)
        known = sum(
            max(0, min(end, extent.end_bytes) - max(start, extent.start_bytes))
            for extent in extents
            if extent.zero
        )
        if known == end - start:
            zero_chunks.add(position)

    read = [
        position
        for span in spans
        for position in range(span.first_chunk, -(-span.end_bytes // CHUNK_BYTES))
    ]
    everything = set(range(-(-size // CHUNK_BYTES)))
    assert read == sorted(everything - zero_chunks)


@given(disks())
def test_spans_are_whole_chunks_inside_one_mebibyte(disk: tuple[int, list[Extent]]) -> None:
    size, extents = disk
    for span in plan_reads(extents, size):
        assert span.start_bytes % CHUNK_BYTES == 0
        assert span.end_bytes % CHUNK_BYTES == 0 or span.end_bytes == size
        assert span.start_bytes // READ_BYTES == (span.end_bytes - 1) // READ_BYTES


def test_a_hole_of_terabytes_costs_nothing() -> None:
    extents = [Extent(0, 1 << 50, zero=True), Extent(1 << 50, 10)]

    assert list(plan_reads(extents, (1 << 50) + 10)) == [Span(1 << 50, 10)]


@pytest.mark.parametrize(
    "extents",
    [
        [Extent(0, 10, zero=True), Extent(5, 10)],
        [Extent(10, 10), Extent(0, 10)],
        [Extent(0, 101)],
        [Extent(50, -10)],
    ],
)
def test_extents_that_contradict_each_other_break_the_snapshot(extents: list[Extent]) -> None:
    with pytest.raises(QuiesceError) as caught:
        list(plan_reads(extents, 100))
    assert caught.value.name == "SnapshotBroken"
