"""How long the host waits for a guest that runs its scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN_S = 120.0
_MARGIN_S = 30.0
_LONGEST_S = 4 * 3600.0


def freeze_s(check: Mapping[str, Any] | None) -> float:
    """Return the seconds within which a freeze is answered, scripts and flushing included.

    *check* is the `quiesce.check/1` that the guest announced and may be hostile; None: unknown.
    """
    return _limit_s(check, ("timeout_s",))


def thaw_s(check: Mapping[str, Any] | None) -> float:
    """Return the seconds within which a thaw is answered, scripts included."""
    return _limit_s(check, ())


def _limit_s(check: Mapping[str, Any] | None, own: tuple[str, ...]) -> float:
    """Return the sum of the *own* settings and of what each plugin's script may take."""
    try:
        settings = (check or {})["settings"]
        plugins = settings["plugins"]
        seconds = [settings[name] for name in own]
        seconds += [plugin["timeoutInSeconds"] for plugin in plugins]
        total = sum(float(one) for one in seconds)
    except (KeyError, TypeError, ValueError, IndexError):
        return _UNKNOWN_S
    return total + _MARGIN_S if 0 <= total < _LONGEST_S else _UNKNOWN_S
