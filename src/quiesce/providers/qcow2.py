"""The head of a qcow2 file, which may be hostile: what it is, and what it lies on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quiesce.errors import QuiesceError

MAGIC = b"QFI\xfb"
HEAD_BYTES = 4096
_HEAD = struct.Struct(">4sIQIIQIIQ")
_VERSION_3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_NAME_BYTES = 1023
_SIZE_BYTES = 1 << 56
_CORRUPT, _DATA_FILE = 2, 4
# Dirty (its counts of references are stale, which does not matter to who reads), compression
# type, extended L2 entries.
_KNOWN = 1 | _CORRUPT | _DATA_FILE | 8 | 16
_FORMATS = ("raw", "qcow2")


@dataclass(frozen=True)
class Head:
    """*backing* is the path of what it lies on, of *backing_format*; None where it stands alone.

    *least_bytes* is how large the file must be for its first table; QEMU reads what is cut off as
    zeros.
    """

    size_bytes: int
    least_bytes: int
    backing: str | None
    backing_format: str | None


def parse(raw: bytes) -> Head:
    """Return the head in *raw*, the first 4 KiB of a file.

    Raises QuiesceError SnapshotUnsupported, with the reason, where it is none or has something
    that is not read here: encryption, a data file outside, a network or a guess behind it.
    """
    try:
        return _parsed(raw)
    except (struct.error, UnicodeDecodeError, ValueError) as exc:
        raise QuiesceError("SnapshotUnsupported", f"its qcow2 header is damaged: {exc}") from exc


def _parsed(raw: bytes) -> Head:
    magic, version, name_at, name_bytes, cluster_bits, size_bytes, *rest = _HEAD.unpack_from(raw)
    encryption, table_entries, table_at = rest
    if magic != MAGIC or version not in {2, 3}:
        raise ValueError("no magic, or an unknown version")
    if not 9 <= cluster_bits <= 21 or size_bytes > _SIZE_BYTES:
        raise ValueError("impossible sizes")
    if encryption:
        raise QuiesceError("SnapshotUnsupported", "it is encrypted by QEMU")
    incompatible, head_bytes = 0, 72
    if version == 3:  # the version's own number
        incompatible, _, _, _, head_bytes = _VERSION_3.unpack_from(raw, 72)
    _refuse_features(incompatible)
    least_bytes = table_at + 8 * table_entries
    if not name_at:
        return Head(size_bytes, least_bytes, None, None)
    if not 0 < name_bytes <= _NAME_BYTES or name_at + name_bytes > len(raw):
        raise ValueError("its backing file's name is out of bounds")
    backing = raw[name_at : name_at + name_bytes].decode()
    return Head(size_bytes, least_bytes, _checked(backing), _backing_format(raw, head_bytes))


def _refuse_features(incompatible: int) -> None:
    if incompatible & _CORRUPT:
        raise QuiesceError(
            "SnapshotUnsupported",
            "it is marked as corrupt",
            action="see what qemu-img check says of it",
        )
    if incompatible & _DATA_FILE:
        raise QuiesceError("SnapshotUnsupported", "its data lie in another file")
    if incompatible & ~_KNOWN:
        raise QuiesceError("SnapshotUnsupported", f"unknown features {incompatible:#x}")


def _checked(backing: str) -> str:
    """Return the path *backing*; a protocol would have QEMU ask a network."""
    protocol, colon, _ = backing.partition(":")
    if "\0" in backing or (colon and "/" not in protocol):
        raise QuiesceError("SnapshotUnsupported", f"its backing file is no file: {backing!r:.200}")
    return backing


def _backing_format(raw: bytes, at: int) -> str:
    while at + _EXTENSION.size <= len(raw):
        kind, length = _EXTENSION.unpack_from(raw, at)
        at += _EXTENSION.size
        if kind == 0 or at + length > len(raw):
            break
        if kind == _BACKING_FORMAT:
            name = raw[at : at + length].decode()
            if name in _FORMATS:
                return name
            raise QuiesceError("SnapshotUnsupported", f"its backing file is {name!r:.50}")
        at += -(-length // 8) * 8
    # To guess is dangerous: a guest could make its raw disk look like a qcow2 on any file.
    raise QuiesceError(
        "SnapshotUnsupported",
        "it does not say what its backing file is",
        action="say it: qemu-img rebase -u -b BACKING -F FORMAT IMAGE",
    )
