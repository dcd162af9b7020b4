"""Where reports are kept in the machine, and how one is found again.

Which one is older shows in their modification times, which grow also where the clock is set back.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.logs import log_file
from quiesce.guest.processes.locking import RUN_DIR
from quiesce.model import report as report_model
from quiesce.system.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The second is used where the first cannot be written.
DIRECTORIES = (f"{log_file.DIRECTORY}/reports", f"{RUN_DIR}/reports")

_MOST_KEPT = 100
_SUFFIX = ".json"
_LATER_NS = 1_000_000


def write(document: Mapping[str, Any], directory: str) -> None:
    """Keep a report in *directory*, durably; the last hundred are kept. Raises OSError."""
    opened = _open(directory, log_file.open_directory)
    try:
        name = f"{document['session']}{_SUFFIX}"
        others = {other: at for other, at in _in(opened).items() if other != name}
        data = json.dumps(document, indent=1).encode() + b"\n"
        replace_durably(f"/proc/self/fd/{opened}/{name}", data)
        _make_latest(name, opened, max(others.values(), default=0))
        for old in sorted(others, key=lambda other: (others[other], other))[: 1 - _MOST_KEPT]:
            with contextlib.suppress(OSError):  # another session takes them away too
                os.unlink(old, dir_fd=opened)
    finally:
        os.close(opened)


def find(session: str | None) -> dict[str, Any]:
    """Return the report of *session*, or the last one. Raises QuiesceError ReportNotFound.

    What others than root can have put there is no report.
    """
    for document in _latest_first(session):
        return document
    if session is None:
        raise QuiesceError("ReportNotFound", "there is no report")
    message = "there is no report of session {session}"
    raise QuiesceError("ReportNotFound", message, session=session)


def exists(session: str, *, started_at: str) -> bool:
    """Return whether the report of that *session* is written, not that of one with the same id."""
    return any(document["started_at"] == started_at for document in _latest_first(session))


def _latest_first(session: str | None) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as closing:
        found: list[tuple[int, str, int]] = []
        for directory in DIRECTORIES:
            with contextlib.suppress(OSError):  # there is none, or it is not root's alone
                opened = _open(directory, log_file.open_trusted)
                closing.callback(os.close, opened)
                found += [(at, name, opened) for name, at in _in(opened).items()]
        for _at, name, opened in sorted(found, reverse=True):
            if session is None or name == session + _SUFFIX:
                document = _read(name, opened)
                if document is not None:
                    yield document


def _open(directory: str, opening: Callable[[str], int]) -> int:
    """Open *directory*, and on the way the one above it, with *opening*."""
    above = opening(os.path.dirname(directory))
    try:
        return opening(f"/proc/self/fd/{above}/{os.path.basename(directory)}")
    finally:
        os.close(above)


def _read(name: str, directory: int) -> dict[str, Any] | None:
    """Return the report in that file, None where it is none, or others can have written it."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(name, flags, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not log_file.is_ours_alone(status):
                return None
            document: dict[str, Any] = json.load(file)
        report_model.from_json(document)
    except (OSError, ValueError, RecursionError):
        return None
    return document


def _in(directory: int) -> dict[str, int]:
    """Return the names of the reports in the open *directory*, and when each was written."""
    found = {}
    for name in os.listdir(directory):
        if name.endswith(_SUFFIX) and name[0] != ".":
            with contextlib.suppress(OSError):  # it has just been taken away
                found[name] = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
    return found


def _make_latest(name: str, directory: int, before_ns: int) -> None:
    """Date a report later than *before_ns*, whatever the clock says."""
    if os.stat(name, dir_fd=directory).st_mtime_ns <= before_ns:
        later_ns = before_ns + _LATER_NS
        with contextlib.suppress(OSError):  # it is kept all the same
            os.utime(name, ns=(later_ns, later_ns), dir_fd=directory)
