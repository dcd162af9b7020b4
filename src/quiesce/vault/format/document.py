"""Canonical JSON: one document, one spelling."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TEXT: Final = 4096
_HASH: Final = re.compile("[0-9a-f]{64}")


def encode(document: Mapping[str, Any]) -> bytes:
    """Return *document* as canonical JSON: ASCII, keys sorted, no blanks.

    Raises ValueError where it holds what JSON does not have (NaN, infinities, other types).
    """
    try:
        text = json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (TypeError, RecursionError) as exc:
        raise ValueError(f"cannot be stored as JSON: {exc}") from exc
    return text.encode("ascii")


def decode(raw: bytes, *, fractions: bool = True) -> dict[str, Any]:
    """Return the JSON object in *raw*, which may be hostile; with *fractions* or without.

    Raises ValueError where it is none; never anything else.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"),
            parse_constant=_refused,
            parse_float=float if fractions else _refused,
        )
    except RecursionError as exc:
        raise ValueError("JSON nested too deeply") from exc
    return mapping(document)


def decode_canonical(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in *raw*. Raises ValueError unless *raw* is its canonical spelling.

    Fractions have many spellings and so none here.
    """
    document = decode(raw, fractions=False)
    if encode(document) != raw:
        raise ValueError("not canonical JSON")
    return document


def text(value: Any) -> str:
    """Return *value*. Raises ValueError unless it is a string of at most 4,096 characters."""
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(f"not a text: {value!r:.100}")
    return value


def long_text(value: Any) -> str:
    """Return *value*. Raises ValueError unless it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.100}")  # noqa: TRY004 - the one error of a parser
    return value


def number(value: Any, limit: int = (1 << 63) - 1) -> int:
    """Return *value*. Raises ValueError unless it is a whole number from 0 to *limit*."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError(f"not a number up to {limit}: {value!r:.100}")
    return value


def flag(value: Any) -> bool:
    """Return *value*. Raises ValueError unless it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r:.100}")  # noqa: TRY004 - the one error of a parser
    return value


def hexadecimal(value: Any, size: int) -> bytes:
    """Return the *size* bytes that *value* spells in lower-case hexadecimal. Raises ValueError."""
    spelt = value if isinstance(value, str) and len(value) == 2 * size else ""
    raw = bytes.fromhex(spelt)
    if not raw or raw.hex() != value:
        raise ValueError(f"not {size} bytes in hexadecimal: {value!r:.100}")
    return raw


def hash_of(value: Any) -> bytes:
    """Return the 32 bytes that *value* spells in hexadecimal. Raises ValueError."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ValueError(f"not a hash: {value!r:.100}")
    return bytes.fromhex(value)


def mapping(value: Any) -> dict[str, Any]:
    """Return *value*. Raises ValueError unless it is a JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {value!r:.100}")  # noqa: TRY004 - the one error of a parser
    return value


def sequence(value: Any) -> list[Any]:
    """Return *value*. Raises ValueError unless it is a JSON array."""
    if not isinstance(value, list):
        raise ValueError(f"not an array: {value!r:.100}")  # noqa: TRY004 - the one error of a parser
    return value


def _refused(text: str) -> None:
    raise ValueError(f"{text:.100} cannot stand here")
