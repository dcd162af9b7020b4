"""How much of a file system is left free, whoever else needs it."""

from __future__ import annotations

_PERCENT = 1
_MOST_BYTES = 1 << 30


def reserve_bytes(total_bytes: int) -> int:
    """Return what is kept free of a file system of *total_bytes*: 1 %, at most 1 GiB."""
    return min(total_bytes * _PERCENT // 100, _MOST_BYTES)
