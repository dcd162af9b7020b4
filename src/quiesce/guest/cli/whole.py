"""A session from beginning to end in one process, for `exec` and `rehearse`."""

from __future__ import annotations

import argparse
import json
import os
import stat
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.cli import output
from quiesce.guest.filesystems.mounts import NotAMountPointError
from quiesce.guest.processes import locking, signals
from quiesce.guest.session import recovery
from quiesce.guest.session.engine import run_session
from quiesce.system.files import replace_durably
from quiesce.values import replace

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from quiesce.guest.processes.signals import Signals
    from quiesce.guest.session.snapshot import Ended, Snapshot
    from quiesce.guest.session.survey import Order

_NO_LOCK = -1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of a session that is run to its end."""
    parser.add_argument("--report", type=_file, metavar="FILE", help="write the report there too")


def run(order: Order, snapshot: Callable[[], Snapshot]) -> Ended:
    """Run one session around *snapshot*, which is made when nothing else is at rest.

    What a dead session left is ended first. Raises QuiesceError AlreadyHeld, and what *snapshot*
    raises.
    """
    try:
        lock, left = locking.acquire(), recovery.recover_all()
    except QuiesceError as exc:
        if exc.name != "GuardUnavailable":
            raise
        order, lock, left = replace(order, unguarded=exc), _NO_LOCK, None
    if left is not None:
        with output.as_far_as_it_goes():
            output.remark(phrase("ended session {session}, which had died", session=left))
    with signals.noticed() as noticed:
        ended = _run(order, snapshot(), lock=lock, noticed=noticed)
    if lock != _NO_LOCK:
        os.close(lock)
    return ended


def _run(order: Order, snapshot: Snapshot, *, lock: int, noticed: Signals) -> Ended:
    try:
        return run_session(order, snapshot, lock=lock, signals=noticed)
    except NotAMountPointError:
        snapshot.drop()
        raise


def show(arguments: Namespace, ended: Ended, lines: Sequence[str]) -> None:
    """Print the report of a session, as JSON or as the *lines* for people, and copy it."""
    document = ended.report.to_json()
    if arguments.report is not None:
        _write(document, arguments.report)
    if arguments.json:
        output.document(document)
    else:
        for text in lines:
            output.remark(text)


def _file(path: str) -> str:
    if not os.path.basename(path) or not os.access(_above(path), os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"'{path}' cannot be written")
    if os.path.lexists(path) and not _is_regular(path):
        raise argparse.ArgumentTypeError(f"{path} is no regular file")
    return path


def _above(path: str) -> str:
    return os.path.dirname(path) or "."


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _write(document: dict[str, object], path: str) -> None:
    try:
        replace_durably(path, json.dumps(document, indent=1).encode() + b"\n")
    except OSError as exc:  # what became of the snapshot counts, and the report is kept elsewhere
        template = "cannot write {path}: {reason}; see quiesce-guest report"
        output.remark(phrase(template, path=path, reason=exc.strerror))
