"""Where reports are kept in the machine, and how one is found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.locking import RUN_DIR
from quiesce.system.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIRECTORY = Path("/var/log/quiesce/reports")
_FALLBACK = RUN_DIR / "reports"


def write(document: Mapping[str, Any]) -> Path:
    """Keep a report, durably; in /run where /var/log cannot be written. Raises OSError."""
    data = json.dumps(document, indent=1).encode() + b"\n"
    name = f"{document['session']}.json"
    try:
        return _write(_DIRECTORY, name, data)
    except OSError:
        return _write(_FALLBACK, name, data)


def find(session: str | None) -> dict[str, Any]:
    """Return the report of *session*, or the last one. Raises QuiesceError ReportNotFound."""
    found = [path for path in _all() if session in (None, path.stem)]
    if not found:
        which = "no report" if session is None else f"no report of session {session}"
        raise QuiesceError("ReportNotFound", f"there is {which}")
    last = max(found, key=lambda path: path.stat().st_mtime_ns)
    document: dict[str, Any] = json.loads(last.read_bytes())
    return document


def exists(session: str, *, started_at: str) -> bool:
    """Return whether the report of that *session* is written, not that of one with the same id."""
    try:
        return bool(find(session)["started_at"] == started_at)
    except (QuiesceError, ValueError, LookupError):
        return False


def _all() -> list[Path]:
    return [*_DIRECTORY.glob("*.json"), *_FALLBACK.glob("*.json")]


def _write(directory: Path, name: str, data: bytes) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    replace_durably(path, data)
    return path
