"""Packs: several chunks in one blob, with a table at the end that names them."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

from quiesce.vault.format import names
from quiesce.vault.format.header import MAX_PACK_BYTES
from quiesce.vault.format.sealing import TAG_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.vault.format.sealing import PackSeal

VERSION: Final = 1
HEADER_BYTES: Final = 64
FRAME_BYTES: Final = 16
TRAILER_BYTES: Final = 32
MAX_PLAIN_BYTES: Final = (1 << 24) - 1
_MAX_TABLE_BYTES: Final = MAX_PLAIN_BYTES - TAG_BYTES

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
    """Builds one pack; `seal` ends it. It is full at *target_bytes*.

    Chunks wait as they were given until `seal` puts them together, sealed with *pack_seal*: that
    takes time, and may be done in another thread.
    """

    def __init__(self, vault_id: bytes, kind: str, target_bytes: int, pack_seal: PackSeal) -> None:
        self._vault_id = vault_id
        self._target_bytes = target_bytes
        self._kind = kind
        self._seal = pack_seal
        self._bytes = HEADER_BYTES
        self._waiting: deque[bytes] = deque()
        self._rows = bytearray()
        self.chunks = 0

    @property
    def full(self) -> bool:
        """Whether the pack has reached its size."""
        return self._bytes >= self._target_bytes

    def has_room(self, stored_bytes: int) -> bool:
        """Whether another chunk of *stored_bytes* keeps the pack below the hard limit."""
        rows = len(self._rows) + _ROW.size
        ends = rows + 2 * FRAME_BYTES + 2 * self._seal.tag_bytes + TRAILER_BYTES
        room = MAX_PACK_BYTES - self._bytes - ends
        return stored_bytes <= room and rows <= _MAX_TABLE_BYTES

    def add(self, chunk_id: bytes, stored: bytes, plain_bytes: int, flags: int) -> tuple[int, int]:
        """Append a chunk; return the offset of its frame, and how many bytes it will take."""
        offset = self._bytes
        stored_bytes = len(stored) + self._seal.tag_bytes
        self._waiting.append(stored)
        self._bytes += FRAME_BYTES + stored_bytes
        self._rows += _ROW.pack(chunk_id, offset, stored_bytes, plain_bytes, flags)
        self.chunks += 1
        return offset, stored_bytes

    def seal(self, into: bytearray | None = None) -> bytearray:
        """Put chunks, table and trailer together and return the pack; the builder is spent.

        The pack takes the place of what *into* held, which spares the system new memory.
        """
        end = self._bytes
        size = len(self._rows) + self._seal.tag_bytes
        data = _resized(into, end + FRAME_BYTES + size + TRAILER_BYTES)
        data[:HEADER_BYTES] = self._header(copy=0)
        with memoryview(data) as view:
            for slot, row in enumerate(_ROW.iter_unpack(self._rows)):
                _, offset, stored_bytes, plain_bytes, flags = row
                head = frame(slot, stored_bytes, plain_bytes, flags)
                # What is sealed is let go at once, so that no pack is in memory twice.
                self._put(view[offset:], head, self._waiting.popleft())
            self._put(view[end:], frame(_FOOTER_SLOT, size, len(self._rows), RAW), self._rows)
            trailer = _TRAILER.pack(_TRAILER_MAGIC, end, size, self.chunks, bytes(8))
            view[-TRAILER_BYTES : -_CRC.size] = trailer
            crc = crc32(trailer, crc32(view[end:-TRAILER_BYTES]))
        data[-_CRC.size :] = _CRC.pack(crc)
        return data

    def twin_of(self, sealed: bytearray) -> bytearray:
        """Return the second copy of a *sealed* pack: equal but for its header's copy number."""
        twin = bytearray(sealed)
        twin[:HEADER_BYTES] = self._header(copy=1)
        return twin

    def _put(self, target: memoryview, head: bytes, stored: bytes | bytearray) -> None:
        target[:FRAME_BYTES] = head
        end = FRAME_BYTES + len(stored) + self._seal.tag_bytes
        self._seal.seal_into(head, stored, target[FRAME_BYTES:end])

    def _header(self, *, copy: int) -> bytes:
        kind, seal = self._kind.encode("ascii"), self._seal
        fields = _HEADER.pack(
            _MAGIC, VERSION, kind, copy, 0, self._vault_id, seal.salt, seal.generation, bytes(4)
        )
        return fields + _CRC.pack(crc32(fields))


def _resized(data: bytearray | None, size_bytes: int) -> bytearray:
    if data is not None:
        # A store's client may still hold on to what it has sent.
        with suppress(BufferError):
            del data[size_bytes:]
            data.extend(bytes(size_bytes - len(data)))
            return data
    return bytearray(size_bytes)


def parse_header(raw: bytes, vault_id: bytes, kind: str) -> tuple[int, bytes]:
    """Return key generation and salt of the pack of *kind* of *vault_id* that begins with *raw*.

    Raises ValueError where it is none.
    """
    if len(raw) < HEADER_BYTES:
        raise ValueError("shorter than a pack's header")
    fields, (crc,) = raw[: _HEADER.size], _CRC.unpack_from(raw, _HEADER.size)
    magic, version, found_kind, _, _, found_vault, salt, generation, _ = _HEADER.unpack(fields)
    if magic != _MAGIC or crc != crc32(fields):
        raise ValueError("not a pack's header")
    if version != VERSION:
        raise ValueError(f"pack version {version} is not known")
    if found_kind != kind.encode("ascii"):
        raise ValueError("a pack of another kind")
    if found_vault != vault_id:
        raise ValueError("a pack of another vault")
    return generation, salt


def footer_range(trailer: bytes, pack_bytes: int, pack_seal: PackSeal) -> tuple[int, int]:
    """Return where in a pack of *pack_bytes* the footer begins and its length, frame included.

    *trailer* are the pack's last 32 bytes. Raises ValueError.
    """
    if len(trailer) != TRAILER_BYTES or pack_bytes > MAX_PACK_BYTES:
        raise ValueError("not a pack's size")
    magic, offset, size, count, _ = _TRAILER.unpack_from(trailer)
    if magic != _TRAILER_MAGIC:
        raise ValueError("not a pack's end")
    whole = offset + FRAME_BYTES + size + TRAILER_BYTES == pack_bytes
    rows_bytes = size - pack_seal.tag_bytes
    if not whole or offset < HEADER_BYTES or rows_bytes != count * _ROW.size:
        raise ValueError("the pack's end contradicts its size")
    if size > MAX_PLAIN_BYTES:
        raise ValueError("the pack's end contradicts its size")
    return offset, FRAME_BYTES + size


def parse_footer(footer: bytes, trailer: bytes, pack_seal: PackSeal) -> Sequence[Stored]:
    """Return the table in *footer*. Raises ValueError where it is damaged or impossible."""
    tag_bytes = pack_seal.tag_bytes
    if _CRC.unpack_from(trailer, _TRAILER.size)[0] != crc32(
        trailer[: _TRAILER.size], crc32(footer)
    ):
        raise ValueError("the pack's table fails its checksum")
    _, end, size, count, _ = _TRAILER.unpack_from(trailer)
    head = footer[:FRAME_BYTES]
    if parse_frame(head) != (_FOOTER_SLOT, size, size - tag_bytes, RAW):
        raise ValueError("the pack's table does not begin where it should")
    table = pack_seal.open(head, footer[FRAME_BYTES:])
    rows = [Stored(*fields) for fields in _ROW.iter_unpack(table)]
    offset = HEADER_BYTES
    for row in rows:
        stored_bytes = row.stored_bytes - tag_bytes
        if row.offset != offset or not is_plausible(stored_bytes, row.plain_bytes, row.flags):
            raise ValueError("the pack's table contradicts itself")
        offset += FRAME_BYTES + row.stored_bytes
    if offset != end or len(rows) != count:
        raise ValueError("the pack's table does not cover the pack")
    return rows


def is_plausible(stored_bytes: int, plain_bytes: int, flags: int) -> bool:
    """Return whether a chunk can have these sizes: raw ones equal, compressed ones smaller.

    *stored_bytes* are those without a tag.
    """
    if not 0 < plain_bytes <= MAX_PLAIN_BYTES:
        return False
    if flags == RAW:
        return stored_bytes == plain_bytes
    return flags == ZSTD and 0 < stored_bytes < plain_bytes


def size_of(chunks: int, framed_bytes: int) -> int:
    """Return the size of a pack of *chunks* whose frames and stored bytes are *framed_bytes*.

    The tag of an encrypted table is left out.
    """
    return HEADER_BYTES + framed_bytes + FRAME_BYTES + chunks * _ROW.size + TRAILER_BYTES


def pack_of(sid: str, kind: str, data: bytes | bytearray) -> names.PackName:
    """Return the name of the sealed pack *data* written by session *sid*."""
    return names.PackName(sid, kind, names.digest(data))
