"""`exec`: hold, freeze, run a command as the snapshot, thaw, release."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest import locking, recovery, signals
from quiesce.guest.cli import orders, output
from quiesce.guest.commanded import CommandSnapshot
from quiesce.guest.engine import run_session
from quiesce.system.files import replace_durably
from quiesce.values import replace

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_NO_LOCK = -1
_EXAMPLES = """\
examples:
  quiesce-guest exec -- /usr/local/sbin/storage-snapshot data
  quiesce-guest exec --freeze /data -- /usr/local/sbin/storage-snapshot data
  quiesce-guest exec --command-freezes -- lvcreate -s -n snap -L 1G vg/data
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `exec`."""
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    orders.add_arguments(parser)
    parser.add_argument("--report", type=_file, metavar="FILE", help="write the report there too")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND…", help="what takes the snapshot"
    )


def run(arguments: Namespace) -> int:
    """Run one session around the command."""
    argv = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not argv:
        arguments.refuse("give the snapshot's command after --")
    order = orders.order_from(arguments, door="exec")
    try:
        lock, left = locking.acquire(), recovery.recover_all()
    except QuiesceError as exc:
        if exc.name != "GuardUnavailable":
            raise
        order, lock, left = replace(order, unguarded=exc), _NO_LOCK, None
    with signals.noticed() as noticed:
        snapshot = CommandSnapshot(argv, session=order.session, stdout=2 if arguments.json else 1)
        ended = run_session(order, snapshot, lock=lock, signals=noticed)
    if lock != _NO_LOCK:
        os.close(lock)
    document = ended.report.to_json()
    if arguments.report is not None:
        _write(document, arguments.report)
    if arguments.json:
        output.document(document)
    else:
        _tell(document, left)
    if ended.decision.discard:
        output.remark("this snapshot must not be used")
    return int(ended.decision.exit_status)


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def _write(document: dict[str, object], path: Path) -> None:
    try:
        replace_durably(path, json.dumps(document, indent=1).encode() + b"\n")
    except OSError as exc:  # what became of the snapshot counts, and the report is kept elsewhere
        output.remark(f"cannot write {path}: {exc.strerror}; see quiesce-guest report")


def _tell(document: dict[str, object], left: str | None) -> None:
    if left is not None:
        output.remark(f"ended session {left}, which had died")
    for text in output.story(document):
        output.remark(text)
