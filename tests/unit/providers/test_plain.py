"""Reading a plain file: holes, ends, errors."""

import os

import pytest

from quiesce.errors import QuiesceError
from quiesce.providers.plain import PlainReader


@pytest.fixture
def opened(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"x" * 5000)
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_what_is_beyond_the_end_is_no_zeros(opened):
    reader = PlainReader(opened, 5000)
    assert reader.read(4000, 1000) == b"x" * 1000
    os.ftruncate(opened, 4500)
    with pytest.raises(QuiesceError, match="ends at byte 4500") as caught:
        reader.read(4000, 1000)
    assert caught.value.name == "SnapshotBroken"


def test_extents_cover_the_disk_as_it_was_found(opened):
    os.ftruncate(opened, 1 << 20)
    reader = PlainReader(opened, 1 << 20)
    os.ftruncate(opened, 2 << 20)
    extents = list(reader.extents())
    assert extents[0].start_bytes == 0
    assert extents[-1].end_bytes == 1 << 20
    assert extents[-1].zero


def test_a_descriptor_that_cannot_be_read_is_an_error_of_the_snapshot():
    reading, writing = os.pipe()
    try:
        with pytest.raises(QuiesceError) as caught:
            PlainReader(reading, 10).read(0, 10)
        assert caught.value.name == "SnapshotBroken"
    finally:
        os.close(reading)
        os.close(writing)
