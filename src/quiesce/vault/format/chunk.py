"""Chunks: plain bytes to stored bytes, and back with proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from quiesce.vault.format.pack import FRAME_BYTES, RAW, ZSTD, is_plausible, parse_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.vault.format.sealing import DomainKeys, PackSeal

LEVEL = 1


def packed(
    plain: bytes | memoryview, compress: Callable[[bytes | memoryview], bytes]
) -> tuple[bytes, int]:
    """Return the stored bytes of *plain* and their flags: compressed where that is shorter."""
    stored = compress(plain)
    if len(stored) < len(plain):
        return stored, ZSTD
    return bytes(plain), RAW


def opened(raw: bytes | memoryview, pack_seal: PackSeal) -> bytes:
    """Return the stored bytes of the framed chunk in *raw*, opened. Raises ValueError."""
    head = bytes(raw[:FRAME_BYTES])
    _, stored_bytes, plain_bytes, flags = parse_frame(head)
    stored = raw[FRAME_BYTES:]
    if len(stored) != stored_bytes or not is_plausible(
        stored_bytes - pack_seal.tag_bytes, plain_bytes, flags
    ):
        raise ValueError("the chunk's sizes contradict each other")
    return bytes(pack_seal.open(head, stored))


def unpacked(
    raw: bytes | memoryview,
    chunk_id: bytes,
    pack_seal: PackSeal,
    keys: DomainKeys,
    decompressor: zstandard.ZstdDecompressor | None = None,
) -> bytes:
    """Return the plain bytes of the framed chunk in *raw*, whose id must be *chunk_id*.

    *raw* may be hostile: nothing is allocated beyond the 16 MiB that a chunk can have. Who reads
    many gives the *decompressor* of the thread, as a new one takes time. Raises ValueError, saying
    what is wrong.
    """
    plain = opened(raw, pack_seal)
    _, _, plain_bytes, flags = parse_frame(bytes(raw[:FRAME_BYTES]))
    if flags != RAW:
        plain = _decompressed(plain, plain_bytes, decompressor or zstandard.ZstdDecompressor())
    if not keys.is_id(chunk_id, plain):
        raise ValueError("the chunk's content is not what its id says")
    return plain


def _decompressed(
    stored: bytes, plain_bytes: int, decompressor: zstandard.ZstdDecompressor
) -> bytes:
    try:
        if zstandard.frame_content_size(stored) != plain_bytes:
            raise ValueError("the chunk's sizes contradict each other")
        return decompressor.decompress(stored, max_output_size=plain_bytes)
    except zstandard.ZstdError as exc:
        raise ValueError(f"the chunk does not decompress: {exc}") from exc
