"""Logs of XFS, made here block by block, hostile ones too; real ones are in the integration."""

import struct

import pytest

from quiesce.providers.xfs_log import why_not_clean

BLOCK = 512
LOG_AT, LOG_BLOCKS = 65536, 16
UUID = bytes(range(16))
UNMOUNT, COMMIT = 0x20, 0x02


def disk(*records, block_bytes=4096, log_start=16, log_blocks=16, in_progress=0, groups=4):
    """Return an XFS with *records*: (block in the log, cycle, operations, flags) each."""
    data = bytearray(256 * 1024)
    data[:4] = b"XFSB"
    struct.pack_into(">I", data, 4, block_bytes)
    data[32:48] = UUID
    struct.pack_into(">Q", data, 48, log_start)
    struct.pack_into(">IIII", data, 84, 1024, groups, 0, log_blocks)
    data[124], data[126] = 10, in_progress
    for at, cycle, operations, flags in records:
        record(data, at, cycle, operations, flags)
    return data


def record(data, at, cycle, operations, flags):
    header = bytearray(BLOCK)
    header[:4] = b"\xfe\xed\xba\xbe"
    struct.pack_into(">IIIII", header, 4, cycle, 2, BLOCK, cycle, at)
    struct.pack_into(">I", header, 40, operations)
    header[304:320] = UUID
    struct.pack_into(">I", header, 320, 32768)
    place = LOG_AT + at * BLOCK
    data[place : place + BLOCK] = header
    body = LOG_AT + (at + 1) % 128 * BLOCK
    data[body + 9] = flags


def why(data):
    def read(at, length):
        assert 0 <= length <= 4 << 20
        return bytes(data[at : at + length])

    return why_not_clean(read, len(data))


def test_an_unmount_record_that_is_the_newest_makes_it_clean():
    assert why(disk((0, 1, 1, UNMOUNT))) is None
    assert why(disk((0, 1, 5, COMMIT), (8, 1, 1, UNMOUNT))) is None
    # The log goes round: what is newer need not lie behind.
    assert why(disk((0, 2, 1, UNMOUNT), (8, 1, 5, COMMIT))) is None
    # A record at the very end has its body at the beginning.
    assert why(disk((4, 1, 5, COMMIT), (127, 1, 1, UNMOUNT))) is None


@pytest.mark.parametrize(
    "records",
    [
        [(0, 1, 1, COMMIT)],
        [(0, 1, 2, UNMOUNT)],
        [(0, 1, 1, UNMOUNT), (8, 1, 1, COMMIT)],
        [(0, 2, 5, COMMIT), (8, 1, 1, UNMOUNT)],
        [(0, 1 << 31, 5, COMMIT), (8, 1, 1, UNMOUNT)],
    ],
)
def test_whatever_else_is_the_newest_is_to_be_replayed(records):
    assert why(disk(*records)) == "its log needs to be replayed"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"in_progress": 1}, "not been made"),
        ({"log_start": 0}, "another device"),
        ({"log_start": 1 << 60}, "impossible"),
        ({"log_blocks": 0}, "impossible"),
        ({"log_blocks": 1 << 31}, "impossible"),
        ({"log_blocks": 60}, "impossible"),
        ({"block_bytes": 1 << 31}, "impossible"),
        ({"block_bytes": 0}, "impossible"),
        ({"groups": 0}, "impossible"),
        ({}, "no record"),
    ],
)
def test_hostile_superblocks_are_not_clean(changes, told):
    assert told in why(disk(**changes))


def test_a_log_of_another_file_system_and_a_cut_disk_are_not_clean():
    data = disk((0, 1, 1, UNMOUNT))
    data[LOG_AT + 304] ^= 1
    assert "another file system" in why(data)
    assert "cut" in why(data[:100])


def test_shifts_of_any_size_are_bounded():
    data = disk((0, 1, 1, UNMOUNT))
    for shift in (0, 63, 64, 255):
        data[124] = shift
        assert why(data) is None or isinstance(why(data), str)
