"""Where reports are kept in the machine, and how one is found again."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest import log_file
from quiesce.guest.locking import RUN_DIR
from quiesce.system.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Mapping

# The second is used where the first cannot be written.
DIRECTORIES = (Path(log_file.DIRECTORY, "reports"), RUN_DIR / "reports")

_MOST_KEPT = 100


def write(document: Mapping[str, Any], directory: Path) -> None:
    """Keep a report in *directory*, durably; the last hundred are kept. Raises OSError."""
    os.close(log_file.open_directory(str(directory.parent)))
    os.close(log_file.open_directory(str(directory)))
    data = json.dumps(document, indent=1).encode() + b"\n"
    replace_durably(directory / f"{document['session']}.json", data)
    for old in sorted(directory.glob("*.json"), key=_written_at)[:-_MOST_KEPT]:
        with contextlib.suppress(OSError):  # another session takes them away too
            old.unlink()


def find(session: str | None) -> dict[str, Any]:
    """Return the report of *session*, or the last one. Raises QuiesceError ReportNotFound."""
    found = [path for path in _all() if session in (None, path.stem)]
    if not found:
        if session is None:
            raise QuiesceError("ReportNotFound", "there is no report")
        message = "there is no report of session {session}"
        raise QuiesceError("ReportNotFound", message, session=session)
    document: dict[str, Any] = json.loads(max(found, key=_written_at).read_bytes())
    return document


def exists(session: str, *, started_at: str) -> bool:
    """Return whether the report of that *session* is written, not that of one with the same id."""
    try:
        return bool(find(session)["started_at"] == started_at)
    except (QuiesceError, ValueError, LookupError):
        return False


def _all() -> list[Path]:
    return [path for directory in DIRECTORIES for path in directory.glob("*.json")]


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
