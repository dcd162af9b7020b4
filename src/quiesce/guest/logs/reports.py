"""Where reports are kept in the machine, and how one is found again."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.logs import log_file
from quiesce.guest.processes.locking import RUN_DIR
from quiesce.system.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Mapping

# The second is used where the first cannot be written.
DIRECTORIES = (f"{log_file.DIRECTORY}/reports", f"{RUN_DIR}/reports")

_MOST_KEPT = 100
_SUFFIX = ".json"


def write(document: Mapping[str, Any], directory: str) -> None:
    """Keep a report in *directory*, durably; the last hundred are kept. Raises OSError."""
    os.close(log_file.open_directory(os.path.dirname(directory)))
    os.close(log_file.open_directory(directory))
    data = json.dumps(document, indent=1).encode() + b"\n"
    replace_durably(f"{directory}/{document['session']}{_SUFFIX}", data)
    for old in sorted(_in(directory), key=_written_at)[:-_MOST_KEPT]:
        with contextlib.suppress(OSError):  # another session takes them away too
            os.unlink(old)


def find(session: str | None) -> dict[str, Any]:
    """Return the report of *session*, or the last one. Raises QuiesceError ReportNotFound."""
    found = [path for directory in DIRECTORIES for path in _in(directory)]
    if session is not None:
        found = [path for path in found if os.path.basename(path) == session + _SUFFIX]
    if not found:
        if session is None:
            raise QuiesceError("ReportNotFound", "there is no report")
        message = "there is no report of session {session}"
        raise QuiesceError("ReportNotFound", message, session=session)
    with open(max(found, key=_written_at), "rb") as file:
        document: dict[str, Any] = json.load(file)
    return document


def exists(session: str, *, started_at: str) -> bool:
    """Return whether the report of that *session* is written, not that of one with the same id."""
    try:
        return bool(find(session)["started_at"] == started_at)
    except (QuiesceError, OSError, ValueError, LookupError):
        return False


def _in(directory: str) -> list[str]:
    """Return the paths of the reports in *directory*; none where there is no such directory."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [f"{directory}/{name}" for name in names if name.endswith(_SUFFIX) and name[0] != "."]


def _written_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
