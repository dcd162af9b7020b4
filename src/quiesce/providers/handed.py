"""What the caller hands over with disks: the report of their session, lists of what changed.

Both are files that may be hostile: they are bounded, and a report is evidence only where nobody
but root or the caller could have written it.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.model import report as reports
from quiesce.model.changes import ChangeList
from quiesce.model.extent import Extent
from quiesce.system import ulid

if TYPE_CHECKING:
    from pathlib import Path

    from quiesce.model.report import Report

_REPORT_BYTES = 8 << 20
# What is read of it takes some ten times as much memory.
_CHANGES_BYTES = 8 << 20
_MAX_BYTES = 1 << 62


def read_report(path: Path) -> Report:
    """Return the report in *path*. Raises QuiesceError ReportRefused, with the reason."""
    try:
        report = reports.from_json(json.loads(_trusted(path)))
    except OSError as exc:
        raise _refused(path, f"it cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise _refused(path, f"{exc}") from exc
    if report.snapshot.taken is not True:
        raise _refused(
            path, "no snapshot was taken in its session, or nobody knows whether one was"
        )
    if report.consistency is None:
        raise _refused(path, "it does not say how consistent the snapshot is")
    if not ulid.is_ulid(report.session):
        raise _refused(path, "it has no session's id")
    return report


def _trusted(path: Path) -> bytes:
    with open(path, "rb", opener=_opener) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "it is no regular file")
        if status.st_uid not in {0, os.geteuid()}:
            raise _refused(path, f"it belongs to uid {status.st_uid}, not to root or to you")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _refused(path, "others than its owner may write it")
        if status.st_size > _REPORT_BYTES:
            raise _refused(path, f"it has more than {_REPORT_BYTES >> 20} MiB")
        return file.read(_REPORT_BYTES)


def _refused(path: Path, why: str) -> QuiesceError:
    return QuiesceError("ReportRefused", f"{path}: {why}")


def read_changes(path: Path) -> ChangeList:
    """Return the change list in *path*.

    It is a JSON list of [offset, length] or {"offset": …, "length": …} in bytes, in any order, or
    an object that has such a list as `changed` and in `since` the id of the point from which it
    counts. Raises QuiesceError IncorrectChangeList, with the reason.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _no_list(path, "it is no regular file")
            if status.st_size > _CHANGES_BYTES:
                raise _no_list(
                    path, f"it has more than {_CHANGES_BYTES >> 20} MiB: join neighbours"
                )
            document = json.loads(file.read(_CHANGES_BYTES))
    except OSError as exc:
        raise _no_list(path, f"it cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise _no_list(path, f"it is no JSON: {exc}") from exc
    try:
        since, listed = _parts(document)
        extents = _in_order([_extent(one) for one in listed])
    except (ValueError, TypeError, KeyError) as exc:
        raise _no_list(path, f"{exc}") from exc
    return ChangeList(extents, since, status.st_mtime)


def _parts(document: Any) -> tuple[str | None, list[Any]]:
    since = None
    if isinstance(document, dict):
        since, document = document["since"], document["changed"]
        if not isinstance(since, str) or not ulid.is_ulid(since.upper()):
            raise ValueError(f"since is no point's id: {since!r:.80}")
    if not isinstance(document, list):
        raise TypeError("it is no list of offset and length")
    return since, document


def _extent(value: Any) -> Extent:
    if isinstance(value, dict):
        value = [value["offset"], value["length"]]
    start, length = value
    for number in (start, length):
        if type(number) is not int or not 0 <= number < _MAX_BYTES:
            raise ValueError(f"{number!r:.80} is no number of bytes")
    return Extent(start, length)


def _in_order(extents: list[Extent]) -> tuple[Extent, ...]:
    """Return *extents* sorted, with what overlaps or touches joined."""
    joined: list[Extent] = []
    for extent in sorted(extents, key=lambda one: one.start_bytes):
        if joined and extent.start_bytes <= joined[-1].end_bytes:
            start = joined[-1].start_bytes
            joined[-1] = Extent(start, max(joined[-1].end_bytes, extent.end_bytes) - start)
        elif extent.length_bytes:
            joined.append(extent)
    return tuple(joined)


def _no_list(path: Path, why: str) -> QuiesceError:
    return QuiesceError("IncorrectChangeList", f"{path}: {why}")


def _opener(path: str, flags: int) -> int:
    # A pipe would have us wait.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
