from hypothesis import given
from hypothesis import strategies as st

from quiesce.model.extent import Extent, merged


@given(st.lists(st.tuples(st.integers(0, 64), st.booleans())))
def test_merging_keeps_every_byte_and_leaves_no_equal_neighbours(parts) -> None:
    extents, start = [], 0
    for length, zero in parts:
        extents.append(Extent(start, length, zero))
        start += length

    result = list(merged(extents))

    flat = [extent.zero for extent in result for _ in range(extent.length_bytes)]
    assert flat == [zero for length, zero in parts for _ in range(length)]
    assert not any(result[at].zero == result[at + 1].zero for at in range(len(result) - 1))
