"""Walk the partition table of a disk, MBR or GPT, which may be hostile: everything is bounded."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.providers import filesystems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.providers.filesystems import Read

_SECTORS = (512, 4096)
_MBR_SIGNATURE = b"\x55\xaa"
_GPT_SIGNATURE = b"EFI PART"
_PROTECTIVE = 0xEE
_EXTENDED = (0x05, 0x0F, 0x85)
_MAX_PARTITIONS = 256
_MAX_ENTRY_BYTES = 4096
# A boot loader's own, without a file system: BIOS boot, PowerPC PReP, Microsoft reserved.
_WITHOUT_FILE_SYSTEM = {
    uuid.UUID("21686148-6449-6e6f-744e-656564454649"),
    uuid.UUID("9e1a2d38-c612-4316-aa26-8b49521e5a8b"),
    uuid.UUID("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
}
_PREP_TYPE = 0x41


@dataclass(frozen=True)
class Partition:
    """A partition by its *number*; *bare*: its type says that it has no file system."""

    number: int
    start_bytes: int
    length_bytes: int
    bare: bool = False


def unclean(read: Read, size_bytes: int) -> Iterator[str]:
    """Yield why a disk is not known to be cleanly unmounted, file system by file system.

    Nothing is yielded where every file system on it is.
    """
    try:
        partitions = _partitions(read, size_bytes)
    except (ValueError, struct.error) as exc:
        yield f"its partition table is damaged: {exc}"
        return
    whole = filesystems.look(read, 0, size_bytes)
    if partitions is None:
        yield from _told("", whole)
        return
    if whole is not None:
        yield f"it has a partition table and {whole.kind} at once"
    for one in partitions:
        if not one.bare:
            found = filesystems.look(read, one.start_bytes, one.length_bytes)
            yield from _told(f"partition {one.number}: ", found)


def _told(where: str, found: filesystems.Found | None) -> Iterator[str]:
    if found is None:
        yield f"{where}no file system that is known"
    elif found.why is not None:
        yield f"{where}{found.kind}: {found.why}"


def _partitions(read: Read, size_bytes: int) -> list[Partition] | None:
    """Return the partitions, None where there is no table. Raises ValueError, struct.error."""
    first = read(0, min(512, size_bytes))
    if first[510:512] != _MBR_SIGNATURE or _is_boot_sector(first):
        return None
    entries = list(_entries(first))
    if not entries:
        return None
    if any(kind == _PROTECTIVE for kind, _, _ in entries):
        found = list(_gpt(read, size_bytes))
    else:
        found = list(_mbr(read, size_bytes, entries))
    for one in found:
        if one.length_bytes <= 0 or one.start_bytes + one.length_bytes > size_bytes:
            raise ValueError(f"partition {one.number} lies outside the disk")
    return found


def _is_boot_sector(sector: bytes) -> bool:
    """Return whether *sector* begins a FAT or NTFS, which has the same signature."""
    return sector[54:57] == b"FAT" or sector[82:87] == b"FAT32" or sector[3:7] == b"NTFS"


def _entries(sector: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, first sector and number of sectors of the entries of a boot record."""
    for at in range(446, 510, 16):
        kind = sector[at + 4]
        start, count = struct.unpack_from("<II", sector, at + 8)
        if kind and count:
            yield kind, start, count


def _mbr(read: Read, size_bytes: int, entries: list[tuple[int, int, int]]) -> Iterator[Partition]:
    for number, (kind, start, count) in enumerate(entries, 1):
        if kind in _EXTENDED:
            yield from _logical(read, size_bytes, start)
        else:
            yield Partition(number, start * 512, count * 512, bare=kind == _PREP_TYPE)


def _logical(read: Read, size_bytes: int, outer: int) -> Iterator[Partition]:
    at, number = outer, 4
    while at:
        if number == _MAX_PARTITIONS or (at + 1) * 512 > size_bytes:
            raise ValueError("its extended partitions do not end")
        record = read(at * 512, 512)
        if record[510:512] != _MBR_SIGNATURE:
            raise ValueError("an extended partition without a signature")
        following = 0
        for kind, start, count in _entries(record):
            if kind in _EXTENDED:
                following = outer + start
            else:
                number += 1
                yield Partition(number, (at + start) * 512, count * 512)
        if following and following <= at:
            raise ValueError("its extended partitions go round in a circle")
        at = following


def _gpt(read: Read, size_bytes: int) -> Iterator[Partition]:
    for sector in _SECTORS:
        if 2 * sector > size_bytes:
            continue
        header = read(sector, 92)
        if header[:8] == _GPT_SIGNATURE:
            yield from _gpt_entries(read, size_bytes, header, sector)
            return
    raise ValueError("a protective boot record without a GPT")


def _gpt_entries(read: Read, size_bytes: int, header: bytes, sector: int) -> Iterator[Partition]:
    header_bytes, checksum = struct.unpack_from("<II", header, 12)
    table, count, entry_bytes, table_checksum = struct.unpack_from("<QIII", header, 72)
    blank = header[:16] + bytes(4) + header[20:]
    if header_bytes != len(header) or zlib.crc32(blank) != checksum:
        raise ValueError("the GPT's header has a wrong checksum")
    is_possible = count <= _MAX_PARTITIONS and 128 <= entry_bytes <= _MAX_ENTRY_BYTES
    if not is_possible or table * sector + count * entry_bytes > size_bytes:
        raise ValueError("the GPT's table has an impossible size")
    entries = read(table * sector, count * entry_bytes)
    if zlib.crc32(entries) != table_checksum:
        raise ValueError("the GPT's table has a wrong checksum")
    for number in range(count):
        entry = entries[number * entry_bytes : (number + 1) * entry_bytes]
        kind = uuid.UUID(bytes_le=entry[:16])
        if kind.int:
            first, last = struct.unpack_from("<QQ", entry, 32)
            length = (last - first + 1) * sector
            yield Partition(number + 1, first * sector, length, kind in _WITHOUT_FILE_SYSTEM)
