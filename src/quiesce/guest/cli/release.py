"""`release`: thaw and release what `hold` brought to rest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.cli import output
from quiesce.guest.logs import reports
from quiesce.guest.processes import locking
from quiesce.guest.record import journal
from quiesce.guest.session import recovery
from quiesce.guest.window import line
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EXAMPLES = """\
examples:
  quiesce-guest release --snapshot taken
  quiesce-guest release --snapshot failed
"""
_END_S = 10.0
_STATUS = {"complete": 0, "degraded": 3, "aborted": 4, "failed": 5}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `release`."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--snapshot",
        choices=["taken", "failed"],
        default="unknown",
        help="what became of the snapshot; without it the report leaves that open",
    )


def run(arguments: Namespace) -> int:
    """End the window of the session that is held, and report it.

    Raises QuiesceError NothingHeld, or AlreadyHeld where another door's session is at rest.
    """
    held = journal.read()
    if held is not None and held.door != "hold":
        lock = locking.acquire()
        recovery.recover_all()
        os.close(lock)
    if held is None or line.ask(f"release {arguments.snapshot}", "hold") is None:
        raise _nothing_held()
    _see_it_end()
    document = reports.find(held.session)
    with output.as_far_as_it_goes():
        if arguments.json:
            output.document(document)
        else:
            for text in output.story(document):
                output.line(text)
    return _STATUS[document["outcome"]]


def _see_it_end() -> None:
    """Wait for the session's end, or end it where it has died; not where /run is unusable."""
    try:
        lock = locking.acquire_when_free(Deadline.after(_END_S))
    except QuiesceError as exc:
        if exc.name != "GuardUnavailable":
            raise
        return  # it has answered: its report is written, and nothing is held
    recovery.recover_all()
    os.close(lock)


def _nothing_held() -> QuiesceError:
    try:
        last = reports.find(None)
    except QuiesceError:
        return QuiesceError("NothingHeld", "nothing is held")
    message = "nothing is held; the last session {session} ended {outcome}"
    return QuiesceError("NothingHeld", message, session=last["session"], outcome=last["outcome"])
