"""What this machine's owner wants of a backup: the configuration files, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quiesce.errors import QuiesceError


@dataclass(frozen=True)
class ScriptSpec:
    """One configured script; *timeout_s* is for all its attempts together."""

    phase: str
    path: str
    params: tuple[str, ...]
    retries: int
    timeout_s: float


@dataclass(frozen=True)
class Plugin:
    """One ScriptRunner configuration; *source* is its file."""

    source: str
    pre: ScriptSpec
    post: ScriptSpec


@dataclass(frozen=True)
class GuestSettings:
    """All that the files say; with anything *refused* no script is run (rows 4-7).

    *source* is the first plugin configuration, None where there is none; *configured* is also true
    of a refused one. *notes* are findings that change nothing.
    """

    source: str | None
    plugins: tuple[Plugin, ...]
    continue_on_failure: bool
    freeze_enabled: bool
    skip: tuple[str, ...]
    freeze_timeout_s: float
    deadline_s: float
    max_timeout_s: float
    refused: tuple[QuiesceError, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    configured: bool

    def to_json(self) -> dict[str, Any]:
        """Return the report's `settings`; of script parameters only their number."""
        raise NotImplementedError


def load(*, root: str = "/", plugin_config: str | None = None) -> GuestSettings:
    """Read and check every configuration file and every configured script below *root*.

    Never raises for what it finds: that is in `refused`, whose scripts then never run.
    """
    raise NotImplementedError
