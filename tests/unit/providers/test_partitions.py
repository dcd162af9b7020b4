"""What disks say of themselves: made here byte by byte, the real ones are in the integration."""

import struct
import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.providers import partitions

MIB = 1 << 20
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")


def ext(*, state=1, incompatible=0x2, read_only=0):
    block = bytearray(4096)
    block[1024 + 56 : 1024 + 58] = b"\x53\xef"
    struct.pack_into("<H", block, 1024 + 58, state)
    struct.pack_into("<II", block, 1024 + 0x60, incompatible, read_only)
    return bytes(block)


def btrfs(*, log_root=0, devices=1):
    block = bytearray(65536 + 4096)
    block[65536 + 0x40 : 65536 + 0x48] = b"_BHRfS_M"
    struct.pack_into("<Q", block, 65536 + 0x60, log_root)
    struct.pack_into("<Q", block, 65536 + 0x88, devices)
    return bytes(block)


def fat(*, state=0, kind=32):
    block = bytearray(512)
    block[0] = 0xEB
    block[510:512] = b"\x55\xaa"
    if kind == 32:
        block[82:90] = b"FAT32   "
        block[0x41] = state
    else:
        block[54:62] = b"FAT16   "
        block[0x25] = state
    return bytes(block)


def disk(parts, size=8 * MIB):
    data = bytearray(size)
    for at, piece in parts.items():
        data[at : at + len(piece)] = piece
    return data


def mbr(*entries):
    record = bytearray(512)
    for number, (kind, start, count) in enumerate(entries):
        record[446 + 16 * number + 4] = kind
        struct.pack_into("<II", record, 446 + 16 * number + 8, start, count)
    record[510:512] = b"\x55\xaa"
    return bytes(record)


def gpt(*entries, sector=512, spoil_header=False, spoil_table=False, count=128):
    """Return a protective boot record and a GPT with (type, first, last) of each partition."""
    table = bytearray(128 * 128)
    for number, (kind, first, last) in enumerate(entries):
        at = 128 * number
        table[at : at + 16] = kind.bytes_le
        table[at + 16 : at + 32] = uuid.uuid4().bytes_le
        struct.pack_into("<QQ", table, at + 32, first, last)
    header = bytearray(92)
    header[:8] = b"EFI PART"
    struct.pack_into("<II", header, 8, 0x10000, 92)
    struct.pack_into("<QIII", header, 72, 2, count, 128, zlib.crc32(table))
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    if spoil_header:
        header[40] ^= 1
    if spoil_table:
        table[5000] ^= 1
    return {0: mbr((0xEE, 1, 100)), sector: bytes(header), 2 * sector: bytes(table)}


def why(data):
    def read(at, length):
        assert at >= 0
        assert 0 <= length <= 4 * MIB
        return bytes(data[at : at + length])

    return list(partitions.unclean(read, len(data)))


@pytest.mark.parametrize(
    "data", [ext(), btrfs(), fat(), fat(kind=16), b"", bytes(4086) + b"SWAPSPACE2"]
)
def test_what_is_marked_as_cleanly_unmounted_is_clean(data):
    assert why(disk({0: data})) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (ext(incompatible=0x6), "journal needs to be replayed"),
        (ext(state=0), "not marked as cleanly unmounted"),
        (ext(state=3), "errors"),
        (ext(read_only=0x10000), "orphans"),
        (ext(incompatible=0x8), "journal of another"),
        (btrfs(log_root=1 << 20), "log needs to be replayed"),
        (btrfs(devices=2), "2 devices"),
        (fat(state=1), "in use"),
        (fat(state=1, kind=16), "in use"),
        (b"LUKS\xba\xbe\x00\x02", "LUKS"),
        (bytes(512) + b"LABELONE", "LVM"),
        (b"something else", "no file system that is known"),
        (b"XFSB" + bytes(508), "log lies on another device"),
    ],
)
def test_what_is_not_or_not_understood_is_not_clean(data, told):
    (only,) = why(disk({0: data}))
    assert told in only


def test_two_file_systems_at_once_are_not_understood():
    both = bytearray(btrfs())
    both[:4096] = ext()
    assert "at once" in why(disk({0: bytes(both)}))[0]


def test_every_partition_of_an_mbr_is_looked_at():
    data = disk({0: mbr((0x83, 2048, 2048), (0x83, 4096, 2048)), MIB: ext(), 2 * MIB: ext(state=0)})
    assert why(data) == ["partition 2: ext4: it is not marked as cleanly unmounted"]
    data[2 * MIB : 2 * MIB + 4096] = ext()
    assert why(data) == []


def test_partitions_in_an_extended_one_are_looked_at():
    outer = 2048
    records = {
        0: mbr((0x05, outer, 10000)),
        outer * 512: mbr((0x83, 2048, 2048), (0x05, 4096, 4096)),
        (outer + 4096) * 512: mbr((0x83, 2048, 2048)),
    }
    first, second = (outer + 2048) * 512, (outer + 4096 + 2048) * 512
    assert why(disk({**records, first: ext(), second: btrfs()})) == []
    (only,) = why(disk({**records, first: ext(), second: ext(state=0)}))
    assert only.startswith("partition 6: ext4")


@pytest.mark.parametrize(
    "records",
    [
        {0: mbr((0x83, 2048, 1 << 30))},
        {0: mbr((0x05, 2048, 4096))},
        {0: mbr((0x05, 2048, 4096)), MIB: mbr((0x83, 100, 10), (0x05, 0, 4096))},
        {0: mbr((0x05, 1 << 30, 4096))},
        {0: mbr((0xEE, 1, 100))},
    ],
)
def test_a_hostile_boot_record_ends_and_is_not_clean(records):
    (only,) = why(disk({2 * MIB: ext(), **records}))
    assert "partition table is damaged" in only


@pytest.mark.parametrize("sector", [512, 4096])
def test_every_partition_of_a_gpt_is_looked_at(sector):
    first = MIB // sector
    table = gpt((BIOS_BOOT, first, 2 * first - 1), (LINUX, 2 * first, 3 * first - 1), sector=sector)
    data = disk({**table, MIB: b"a boot loader", 2 * MIB: ext()})
    assert why(data) == []
    data[2 * MIB : 2 * MIB + 4096] = ext(incompatible=6)
    assert why(data) == ["partition 2: ext4: its journal needs to be replayed"]


@pytest.mark.parametrize(
    "table",
    [
        gpt((LINUX, 2048, 4095), spoil_header=True),
        gpt((LINUX, 2048, 4095), spoil_table=True),
        gpt((LINUX, 2048, 4095), count=1 << 30),
        gpt((LINUX, 2048, 1 << 60)),
        gpt((LINUX, 4095, 2048)),
    ],
)
def test_a_hostile_gpt_is_not_clean(table):
    (only,) = why(disk({**table, MIB: ext()}))
    assert "partition table is damaged" in only


def test_a_table_and_a_file_system_at_once_are_not_understood():
    left = btrfs()[65536:]
    told = why(disk({**gpt((LINUX, 2048, 4095)), MIB: ext(), 65536: left}))
    assert told == ["it has a partition table and Btrfs at once"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1030, 5000])
def test_a_disk_of_any_size_is_read_within_its_bounds(size):
    why(bytearray(b"\xff" * size))
    why(bytearray((mbr((0xEE, 1, 1)) + bytes(5000))[:size]))


def real_places():
    """Return where bytes mean something: tables, superblocks, the head of a log."""
    ranges = ((440, 604), (1024, 1300), (2048, 2056), (MIB, MIB + 130), (MIB + 1080, MIB + 1200))
    return st.one_of(*(st.integers(first, last) for first, last in ranges))


@given(
    spoiled=st.dictionaries(real_places(), st.integers(0, 255), max_size=12),
    cut=st.one_of(st.none(), st.integers(0, 3 * MIB)),
    kind=st.sampled_from([ext(), btrfs(), fat(), b"XFSB" + bytes(4092)]),
    table=st.sampled_from(
        [gpt((LINUX, 2048, 4095)), {0: mbr((0x83, 2048, 2048))}, {0: mbr((0x05, 2048, 4096))}]
    ),
)
def test_whatever_is_on_a_disk_it_is_looked_at_within_its_bounds(spoiled, cut, kind, table):
    data = disk({**table, MIB: kind}, size=4 * MIB)
    for at, value in spoiled.items():
        data[at] = value
    why(data[:cut])
