"""`recover`: end what a session left whose processes are all dead; what the machine's boot runs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.cli import output
from quiesce.guest.logs import reports
from quiesce.guest.processes import locking
from quiesce.guest.session import recovery

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

_EXAMPLES = """\
examples:
  quiesce-guest recover

thaws and releases what a dead session left, also when the machine went down meanwhile; every
command that begins a session does so too. A session that lives is left alone (exit status 9).
exits with 3 where an application could not be released
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `recover`."""
    parser.epilog = _EXAMPLES


def run(arguments: Namespace) -> int:
    """End it, and say how; raises QuiesceError AlreadyHeld where a session lives."""
    lock = locking.acquire()
    session = recovery.recover_all()
    os.close(lock)
    report = _report_of(session)
    with output.as_far_as_it_goes():
        if arguments.json:
            output.document({"ended": session, "report": report})
        else:
            output.line(output.ended(session))
            for text in () if report is None else output.story(report):
                output.line(text)
    return ExitStatus.DONE if report is None or _is_released(report) else ExitStatus.DEGRADED


def _report_of(session: str | None) -> dict[str, Any] | None:
    if session is None:
        return None
    with contextlib.suppress(QuiesceError):  # it could not be written
        return reports.find(session)
    return None


def _is_released(report: Mapping[str, Any]) -> bool:
    posts = [step for step in report["steps"] if step["name"] == "post-script"]
    return all(step["status"] == "ok" for step in posts)
