"""What the configuration says of one script."""

from __future__ import annotations

from quiesce.values import dataclass


@dataclass(frozen=True)
class ScriptSpec:
    """One configured script; *timeout_s* is for all its attempts together."""

    phase: str
    path: str
    params: tuple[str, ...]
    retries: int
    timeout_s: float
