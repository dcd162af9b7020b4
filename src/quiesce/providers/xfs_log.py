"""Whether the log of an XFS is clean: its newest record says that it was unmounted.

What `xfs_logprint -t` does, for a file system that lies somewhere in an image.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

Read: TypeAlias = Callable[[int, int], bytes]

_BLOCK = 512
_RECORD = b"\xfe\xed\xba\xbe"
_STEP_BYTES = 4 << 20
_MAX_LOG_BYTES = 2 << 30
_UNMOUNT = 0x20
_PER_HEADER_BYTES = 32768
_MAX_RECORD_BYTES = 256 * 1024
_LOG_VERSION_2 = 2


def why_not_clean(read: Read, length_bytes: int) -> str | None:
    """Return why the XFS that *read* reads, *length_bytes* long, is not clean; None: it is."""
    block = read(0, _BLOCK)
    if len(block) < _BLOCK:
        return "its superblock is cut"
    (block_bytes,) = struct.unpack_from(">I", block, 4)
    (log_start,) = struct.unpack_from(">Q", block, 48)
    group_blocks, group_count, _, log_blocks = struct.unpack_from(">IIII", block, 84)
    group_shift, in_progress = block[124], block[126]
    if in_progress:
        return "it has not been made to its end"
    if not log_start:
        return "its log lies on another device"
    group, at_block = log_start >> group_shift, log_start & ((1 << group_shift) - 1)
    start = (group * group_blocks + at_block) * block_bytes
    size = log_blocks * block_bytes
    is_possible = (
        _BLOCK <= block_bytes <= 1 << 16
        and group < group_count
        and 0 < size <= _MAX_LOG_BYTES
        and start + size <= length_bytes
    )
    if not is_possible:
        return "the place of its log is impossible"
    return _why_log_is_not_clean(read, start, size, block[32:48])


def _why_log_is_not_clean(read: Read, start: int, size: int, uuid: bytes) -> str | None:
    newest, newest_at = b"", -1
    for step in range(0, size, _STEP_BYTES):
        data = read(start + step, min(_STEP_BYTES, size - step))
        at = data.find(_RECORD)
        while at >= 0:
            # Within records the first word of a block is its cycle, which is never the magic.
            if at % _BLOCK == 0 and data[at + 16 : at + 24] >= newest:
                newest, newest_at = data[at + 16 : at + 24], step + at
            at = data.find(_RECORD, at + 1)
    if newest_at < 0:
        return "its log has no record"
    header = read(start + newest_at, _BLOCK)
    if header[304:320] != uuid:
        return "its log is that of another file system"
    version, length = struct.unpack_from(">II", header, 8)
    (operations,) = struct.unpack_from(">I", header, 40)
    (header_bytes,) = struct.unpack_from(">I", header, 320)
    headers = 1
    if version & _LOG_VERSION_2 and _PER_HEADER_BYTES < header_bytes <= _MAX_RECORD_BYTES:
        headers = -(-header_bytes // _PER_HEADER_BYTES)
    first = (newest_at + headers * _BLOCK) % size
    operation = read(start + first, _BLOCK)
    if operations == 1 and length and operation[9:10] and operation[9] & _UNMOUNT:
        return None
    return "its log needs to be replayed"
