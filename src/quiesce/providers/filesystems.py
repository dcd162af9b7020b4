"""Whether a file system says of itself that it was cleanly unmounted; nothing is ever mounted.

Everything that is read may be hostile: all sizes are bounded, and what is not understood is not
known to be clean.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from quiesce.providers import xfs_log

# Reads so many bytes at a place of the disk; fewer only at its end.
Read: TypeAlias = Callable[[int, int], bytes]

_BLANK_BYTES = 128 * 1024
_EXT_AT, _EXT_BYTES = 1024, 1024
_EXT_MAGIC = b"\x53\xef"
_EXT_CLEAN, _EXT_ERRORS = 1, 2
_EXT_RECOVER, _EXT_JOURNAL_DEVICE, _EXT_ORPHANS = 4, 8, 0x10000
_BTRFS_AT, _BTRFS_BYTES = 65536, 4096
_BTRFS_MAGIC = b"_BHRfS_M"
_FAT_DIRTY = 1
_SWAP = (b"SWAPSPACE2", b"SWAP-SPACE")
_PAGES = (4096, 8192, 16384, 65536)
_NOT_LOOKED_INTO = (
    (0, b"LUKS\xba\xbe", "LUKS encryption"),
    (0, b"NTFS    ", "NTFS"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (512, b"LABELONE", "an LVM physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0x8001, b"CD001", "ISO 9660"),
    (0x10, b"bcachefs", "bcachefs"),
)


@dataclass(frozen=True)
class Found:
    """What lies at a place: its *kind*, and why it is not known to be clean; None: it is."""

    kind: str
    why: str | None = None


def look(read: Read, start_bytes: int, length_bytes: int) -> Found | None:
    """Return what lies in this range of a disk, None where nothing is known of it.

    A range of zeros, and swap space, have no file system and are clean.
    """

    def inside(at: int, length: int) -> bytes:
        length = max(0, min(length, length_bytes - at))
        return read(start_bytes + at, length) if length else b""

    found = [one for each in _KINDS if (one := each(inside, length_bytes)) is not None]
    if len(found) > 1:
        kinds = " and ".join(one.kind for one in found)
        return Found(kinds, f"it looks like {kinds} at once")
    if found:
        return found[0]
    if not any(inside(0, _BLANK_BYTES)):
        return Found("nothing")
    return None


def _ext(read: Read, _length_bytes: int) -> Found | None:
    block = read(_EXT_AT, _EXT_BYTES)
    if len(block) < _EXT_BYTES or block[56:58] != _EXT_MAGIC:
        return None
    (state,) = struct.unpack_from("<H", block, 58)
    incompatible, read_only = struct.unpack_from("<II", block, 0x60)
    why = None
    if incompatible & _EXT_JOURNAL_DEVICE:
        why = "it is a journal of another file system"
    elif incompatible & _EXT_RECOVER:
        why = "its journal needs to be replayed"
    elif not state & _EXT_CLEAN:
        why = "it is not marked as cleanly unmounted"
    elif state & _EXT_ERRORS:
        why = "it is marked as having errors"
    elif read_only & _EXT_ORPHANS:
        why = "it has orphans to be cleared"
    return Found("ext4", why)


def _btrfs(read: Read, _length_bytes: int) -> Found | None:
    block = read(_BTRFS_AT, _BTRFS_BYTES)
    if block[0x40:0x48] != _BTRFS_MAGIC or len(block) < _BTRFS_BYTES:
        return None
    (log_root,) = struct.unpack_from("<Q", block, 0x60)
    (devices,) = struct.unpack_from("<Q", block, 0x88)
    if log_root:
        return Found("Btrfs", "its log needs to be replayed")
    if devices != 1:
        return Found("Btrfs", f"it lies on {devices} devices")
    return Found("Btrfs")


def _xfs(read: Read, length_bytes: int) -> Found | None:
    if read(0, 4) != b"XFSB":
        return None
    return Found("XFS", xfs_log.why_not_clean(read, length_bytes))


def _fat(read: Read, _length_bytes: int) -> Found | None:
    block = read(0, 512)
    if block[510:512] != b"\x55\xaa" or block[0] not in {0xEB, 0xE9}:
        return None
    if block[82:87] == b"FAT32":
        state = block[0x41]
    elif block[54:57] == b"FAT":
        state = block[0x25]
    else:
        return None
    return Found("FAT", "it is marked as in use" if state & _FAT_DIRTY else None)


def _swap(read: Read, _length_bytes: int) -> Found | None:
    if any(read(page - 10, 10) in _SWAP for page in _PAGES):
        return Found("swap")
    return None


def _other(read: Read, _length_bytes: int) -> Found | None:
    for at, magic, name in _NOT_LOOKED_INTO:
        if read(at, len(magic)) == magic:
            return Found(name, f"it is {name}, which is not looked into")
    return None


_KINDS: tuple[Callable[[Read, int], Found | None], ...] = (
    _ext,
    _btrfs,
    _xfs,
    _fat,
    _swap,
    _other,
)
