"""How long the host waits for a guest that runs its scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN_S = 120.0
_MARGIN_S = 30.0
_LONGEST_S = 4 * 3600.0


def freeze_s(check: Mapping[str, object] | None) -> float:
    """Return the seconds within which a freeze is answered, scripts included.

    *check* is what the guest announced, which may be hostile; None: unknown.
    """
    return _limit_s(check, "hold_limit_s")


def thaw_s(check: Mapping[str, object] | None) -> float:
    """Return the seconds within which a thaw is answered, scripts included."""
    return _limit_s(check, "release_limit_s")


def _limit_s(check: Mapping[str, object] | None, key: str) -> float:
    announced = None if check is None else check.get(key)
    if isinstance(announced, bool) or not isinstance(announced, (int, float)):
        return _UNKNOWN_S
    if not 0 <= announced < _LONGEST_S:
        return _UNKNOWN_S
    return announced + _MARGIN_S
