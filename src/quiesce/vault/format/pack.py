"""Packs: several chunks in one blob, with a table at the end that names them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

from quiesce.vault.format import names
from quiesce.vault.format.header import MAX_PACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 1
HEADER_BYTES: Final = 64
FRAME_BYTES: Final = 16
TRAILER_BYTES: Final = 32
MAX_PLAIN_BYTES: Final = (1 << 24) - 1

RAW: Final = 0
ZSTD: Final = 1

_MAGIC: Final = b"quiPACK\n"
_FRAME_MAGIC: Final = b"qCHK"
_TRAILER_MAGIC: Final = b"quiTAIL\n"
_FOOTER_SLOT: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("<8sHcBI16s16sI8s")
_ROW: Final = struct.Struct("<32sIIIB")
_TRAILER: Final = struct.Struct("<8sIII8s")
_CRC: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<4sII")


@dataclass(frozen=True, slots=True)
class Stored:
    """One chunk as a pack's table has it; *offset* is where its frame begins."""

    chunk_id: bytes
    offset: int
    stored_bytes: int
    plain_bytes: int
    flags: int


def frame(slot: int, stored_bytes: int, plain_bytes: int, flags: int) -> bytes:
    """Return the 16 bytes that stand before a chunk's stored bytes."""
    return (
        _FRAME.pack(_FRAME_MAGIC, slot, stored_bytes)
        + plain_bytes.to_bytes(3, "little")
        + flags.to_bytes(1, "little")
    )


def parse_frame(raw: bytes) -> tuple[int, int, int, int]:
    """Return slot, stored bytes, plain bytes and flags of a frame. Raises ValueError."""
    if len(raw) != FRAME_BYTES or not raw.startswith(_FRAME_MAGIC):
        raise ValueError("no chunk begins here")
    _, slot, stored = _FRAME.unpack_from(raw)
    return slot, stored, int.from_bytes(raw[12:15], "little"), raw[15]


class PackBuilder:
    """Builds one pack in memory; `seal` ends it. It is full at *target_bytes*."""

    def __init__(self, vault_id: bytes, kind: str, target_bytes: int) -> None:
        self._vault_id = vault_id
        self._target_bytes = target_bytes
        self._kind = kind
        self._data = bytearray(_header(vault_id, kind, copy=0))
        self._rows = bytearray()
        self.chunks = 0

    @property
    def full(self) -> bool:
        """Whether the pack has reached its size."""
        return len(self._data) >= self._target_bytes

    def has_room(self, stored_bytes: int) -> bool:
        """Whether another chunk of *stored_bytes* keeps the pack below the hard limit."""
        rows = len(self._rows) + _ROW.size
        room = MAX_PACK_BYTES - len(self._data) - rows - 2 * FRAME_BYTES - TRAILER_BYTES
        return stored_bytes <= room and rows <= MAX_PLAIN_BYTES

    def add(self, chunk_id: bytes, stored: bytes, plain_bytes: int, flags: int) -> int:
        """Append a chunk and return the offset of its frame."""
        offset = len(self._data)
        self._data += frame(self.chunks, len(stored), plain_bytes, flags)
        self._data += stored
        self._rows += _ROW.pack(chunk_id, offset, len(stored), plain_bytes, flags)
        self.chunks += 1
        return offset

    def seal(self) -> bytearray:
        """Append the table and the trailer and return the pack; the builder is spent."""
        offset, size = len(self._data), len(self._rows)
        footer = frame(_FOOTER_SLOT, size, size, RAW) + self._rows
        trailer = _TRAILER.pack(_TRAILER_MAGIC, offset, size, self.chunks, bytes(8))
        self._data += footer
        self._data += trailer
        self._data += _CRC.pack(crc32(trailer, crc32(footer)))
        return self._data

    def twin_of(self, sealed: bytearray) -> bytearray:
        """Return the second copy of a *sealed* pack: equal but for its header's copy number."""
        twin = bytearray(sealed)
        twin[:HEADER_BYTES] = _header(self._vault_id, self._kind, copy=1)
        return twin


def _header(vault_id: bytes, kind: str, *, copy: int) -> bytes:
    fields = _HEADER.pack(
        _MAGIC, VERSION, kind.encode("ascii"), copy, 0, vault_id, bytes(16), 0, bytes(4)
    )
    return fields + _CRC.pack(crc32(fields))


def check_header(raw: bytes, vault_id: bytes, kind: str) -> None:
    """Raise ValueError unless *raw* begins a pack of *kind* that belongs to *vault_id*."""
    if len(raw) < HEADER_BYTES:
        raise ValueError("shorter than a pack's header")
    fields, (crc,) = raw[: _HEADER.size], _CRC.unpack_from(raw, _HEADER.size)
    magic, version, found_kind, _, _, found_vault, _, _, _ = _HEADER.unpack(fields)
    if magic != _MAGIC or crc != crc32(fields):
        raise ValueError("not a pack's header")
    if version != VERSION:
        raise ValueError(f"pack version {version} is not known")
    if found_kind != kind.encode("ascii"):
        raise ValueError("a pack of another kind")
    if found_vault != vault_id:
        raise ValueError("a pack of another vault")


def footer_range(trailer: bytes, pack_bytes: int) -> tuple[int, int]:
    """Return where in a pack of *pack_bytes* the footer begins and its length, frame included.

    *trailer* are the pack's last 32 bytes. Raises ValueError.
    """
    if len(trailer) != TRAILER_BYTES or pack_bytes > MAX_PACK_BYTES:
        raise ValueError("not a pack's size")
    magic, offset, size, count, _ = _TRAILER.unpack_from(trailer)
    if magic != _TRAILER_MAGIC:
        raise ValueError("not a pack's end")
    whole = offset + FRAME_BYTES + size + TRAILER_BYTES == pack_bytes
    if not whole or offset < HEADER_BYTES or size != count * _ROW.size or size > MAX_PLAIN_BYTES:
        raise ValueError("the pack's end contradicts its size")
    return offset, FRAME_BYTES + size


def parse_footer(footer: bytes, trailer: bytes) -> Sequence[Stored]:
    """Return the table in *footer*. Raises ValueError where it is damaged or impossible."""
    if _CRC.unpack_from(trailer, _TRAILER.size)[0] != crc32(
        trailer[: _TRAILER.size], crc32(footer)
    ):
        raise ValueError("the pack's table fails its checksum")
    _, end, size, count, _ = _TRAILER.unpack_from(trailer)
    if parse_frame(footer[:FRAME_BYTES]) != (_FOOTER_SLOT, size, size, RAW):
        raise ValueError("the pack's table does not begin where it should")
    rows = [Stored(*fields) for fields in _ROW.iter_unpack(footer[FRAME_BYTES:])]
    offset = HEADER_BYTES
    for row in rows:
        if row.offset != offset or not is_plausible(row.stored_bytes, row.plain_bytes, row.flags):
            raise ValueError("the pack's table contradicts itself")
        offset += FRAME_BYTES + row.stored_bytes
    if offset != end or len(rows) != count:
        raise ValueError("the pack's table does not cover the pack")
    return rows


def is_plausible(stored_bytes: int, plain_bytes: int, flags: int) -> bool:
    """Return whether a chunk can have these sizes: raw ones equal, compressed ones smaller."""
    if not 0 < plain_bytes <= MAX_PLAIN_BYTES:
        return False
    if flags == RAW:
        return stored_bytes == plain_bytes
    return flags == ZSTD and 0 < stored_bytes < plain_bytes


def size_of(chunks: int, framed_bytes: int) -> int:
    """Return the size of a pack of *chunks* whose frames and stored bytes are *framed_bytes*."""
    return HEADER_BYTES + framed_bytes + FRAME_BYTES + chunks * _ROW.size + TRAILER_BYTES


def pack_of(sid: str, kind: str, data: bytes | bytearray) -> names.PackName:
    """Return the name of the sealed pack *data* written by session *sid*."""
    return names.PackName(sid, kind, names.digest(data))
