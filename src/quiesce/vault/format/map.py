"""Maps: where each chunk of a disk lies; leaves of 256 chunks under inner nodes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.format.names import PackName, is_sid
from quiesce.vault.format.pack import HEADER_BYTES, MAX_PLAIN_BYTES, RAW, ZSTD
from quiesce.vault.format.sealing import TAG_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VERSION: Final = 1
LEAF_POSITIONS: Final = 256
INNER_POSITIONS: Final = 32768
LEAF_BYTES: Final = LEAF_POSITIONS * CHUNK_BYTES

_MAGIC: Final = b"qMAP"
_HEAD: Final = struct.Struct("<4sBBHII")
_PACK: Final = struct.Struct("<26sc32s32s")
_ENTRY: Final = struct.Struct("<32sHI3sB")
_NO_TWIN: Final = bytes(32)
PACK_ROW_BYTES: Final = _PACK.size


@dataclass(frozen=True, slots=True)
class Place:
    """A pack that holds chunks, and its second copy where there is one."""

    pack: PackName
    twin: bytes | None = None

    @property
    def packs(self) -> tuple[PackName, ...]:
        """The packs in which the chunks lie, at the same offsets."""
        if self.twin is None:
            return (self.pack,)
        return (self.pack, PackName(self.pack.sid, self.pack.kind, self.twin))


class Ref(NamedTuple):
    """Where one chunk lies: *offset* is that of its frame, *stored_bytes* without the frame."""

    chunk_id: bytes
    place: Place
    offset: int
    stored_bytes: int
    flags: int


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a map: *refs* by position, where a position without one reads as zeros.

    Level 0 is a leaf, whose refs are chunks of the disk; above it they are nodes.
    """

    level: int
    positions: int
    refs: Mapping[int, Ref]


def positions_at(level: int) -> int:
    """Return how many positions a node of *level* has, unless it is the last."""
    return LEAF_POSITIONS if level == 0 else INNER_POSITIONS


def counts(size_bytes: int) -> tuple[int, ...]:
    """Return the positions of a disk of *size_bytes* at each level, from the chunks up.

    The last number fits one node, which is the root; the root is never a leaf.
    """
    totals = [-(-size_bytes // CHUNK_BYTES)]
    totals.append(-(-totals[0] // LEAF_POSITIONS))
    while totals[-1] > INNER_POSITIONS:
        totals.append(-(-totals[-1] // INNER_POSITIONS))
    return tuple(totals)


def encode(level: int, positions: int, refs: Sequence[tuple[int, Ref]]) -> bytes:
    """Return the node with *refs* in the order of their positions, one way for one content."""
    table: dict[Place, int] = {}
    present = bytearray(-(-positions // 8))
    entries = bytearray()
    for position, ref in refs:
        present[position >> 3] |= 1 << (position & 7)
        number = table.setdefault(ref.place, len(table))
        entries += _ENTRY.pack(
            ref.chunk_id, number, ref.offset, ref.stored_bytes.to_bytes(3, "little"), ref.flags
        )
    head = _HEAD.pack(_MAGIC, VERSION, level, len(table), positions, len(refs))
    return b"".join((head, present, encode_places(table), entries))


def encode_places(places: Iterable[Place]) -> bytes:
    """Return the pack rows of *places*."""
    return b"".join(
        _PACK.pack(
            place.pack.sid.encode("ascii"),
            place.pack.kind.encode("ascii"),
            place.pack.digest,
            place.twin or _NO_TWIN,
        )
        for place in places
    )


def parse_places(raw: bytes) -> list[Place]:
    """Return the places of the pack rows in *raw*. Raises ValueError."""
    return [_place(fields) for fields in _PACK.iter_unpack(raw)]


def parse(raw: bytes, *, level: int, positions: int) -> Node:
    """Return the node in *raw*, which must have *level* and *positions*. Raises ValueError."""
    if len(raw) < _HEAD.size:
        raise ValueError("shorter than a node's head")
    magic, version, found_level, packs, found_positions, entries = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != VERSION:
        raise ValueError("not a node of a map")
    if (found_level, found_positions) != (level, positions):
        raise ValueError("the node is not the one that belongs here")
    bitmap_end = _HEAD.size + -(-positions // 8)
    packs_end = bitmap_end + packs * _PACK.size
    if entries > positions or len(raw) != packs_end + entries * _ENTRY.size:
        raise ValueError("the node's counts contradict its size")
    present = _present(raw[_HEAD.size : bitmap_end], positions)
    if len(present) != entries:
        raise ValueError("the node's counts contradict its bitmap")
    places = parse_places(raw[bitmap_end:packs_end])
    limit = CHUNK_BYTES + TAG_BYTES if level == 0 else MAX_PLAIN_BYTES
    refs = _refs(_ENTRY.iter_unpack(raw[packs_end:]), places, limit)
    return Node(level, positions, dict(zip(present, refs, strict=True)))


def _present(bitmap: bytes, positions: int) -> list[int]:
    found = [
        byte_at * 8 + bit
        for byte_at, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    ]
    if found and found[-1] >= positions:
        raise ValueError("the node's bitmap is longer than the node")
    return found


def _place(fields: tuple[bytes, bytes, bytes, bytes]) -> Place:
    sid, kind, digest, twin = fields
    text = sid.decode("ascii", "replace")
    if not is_sid(text) or kind not in {b"d", b"m"}:
        raise ValueError("the node names no pack")
    return Place(PackName(text, kind.decode("ascii"), digest), None if twin == _NO_TWIN else twin)


def _refs(
    rows: Iterable[tuple[bytes, int, int, bytes, int]], places: Sequence[Place], limit: int
) -> Iterable[Ref]:
    for chunk_id, number, offset, stored, flags in rows:
        stored_bytes = int.from_bytes(stored, "little")
        if (
            number >= len(places)
            or offset < HEADER_BYTES
            or not 0 < stored_bytes <= limit
            or flags not in {RAW, ZSTD}
        ):
            raise ValueError("an entry of the node is impossible")
        yield Ref(chunk_id, places[number], offset, stored_bytes, flags)
