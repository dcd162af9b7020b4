"""Session ids: random, and sorted by the time they were made."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26


def new() -> str:
    """Return a new ULID: 48 bits of milliseconds, 80 bits of randomness, in Crockford's base 32."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    """Return whether *text* has the form of a ULID."""
    return len(text) == LENGTH and text[0] <= "7" and all(char in _ALPHABET for char in text)
