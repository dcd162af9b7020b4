"""Which names a blob can have."""

from __future__ import annotations

import re
from typing import Final

_SEGMENT: Final = r"[A-Za-z0-9_%-][A-Za-z0-9._%-]{0,127}"
_NAME: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}")


def is_name(name: str) -> bool:
    """Return whether *name* can be a blob's: up to eight plain segments, none hidden."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise ValueError unless *name* can be a blob's; only a programming error asks for another."""
    if not is_name(name):
        raise ValueError(f"not a blob's name: {name!r:.200}")
