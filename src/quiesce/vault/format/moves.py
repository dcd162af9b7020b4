"""Move tables: where the chunks of repacked packs lie now."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from quiesce.vault.format.map import PACK_ROW_BYTES, encode_places, parse_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.vault.format.map import Place

VERSION: Final = 1

_MAGIC: Final = b"qMOV"
_HEAD: Final = struct.Struct("<4sB3sII")
_MOVE: Final = struct.Struct("<HIHI")


class Move(NamedTuple):
    """One chunk: where its frame was, and where it is."""

    source: Place
    source_offset: int
    target: Place
    target_offset: int


def encode(moves: Sequence[Move]) -> bytes:
    """Return the table with *moves*. Raises ValueError where it names more than 65,536 packs."""
    numbers: dict[Place, int] = {}
    rows = []
    for move in moves:
        source = numbers.setdefault(move.source, len(numbers))
        target = numbers.setdefault(move.target, len(numbers))
        rows.append((source, move.source_offset, target, move.target_offset))
    if len(numbers) > 1 << 16:
        raise ValueError("a move table names too many packs")
    head = _HEAD.pack(_MAGIC, VERSION, bytes(3), len(numbers), len(rows))
    return b"".join((head, encode_places(numbers), *(_MOVE.pack(*row) for row in sorted(rows))))


def parse(raw: bytes) -> list[Move]:
    """Return the moves in *raw*, which may be hostile. Raises ValueError."""
    if len(raw) < _HEAD.size:
        raise ValueError("shorter than a move table's head")
    magic, version, _, packs, many = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != VERSION:
        raise ValueError("not a move table")
    end = _HEAD.size + packs * PACK_ROW_BYTES
    if len(raw) != end + many * _MOVE.size:
        raise ValueError("the move table's counts contradict its size")
    places = parse_places(raw[_HEAD.size : end])
    rows = list(_MOVE.iter_unpack(raw[end:]))
    if any(source >= packs or target >= packs for source, _, target, _ in rows):
        raise ValueError("a move names no pack")
    return [
        Move(places[source], source_offset, places[target], target_offset)
        for source, source_offset, target, target_offset in rows
    ]
