"""`report`: print the last report, or a named one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.guest.cli import output
from quiesce.guest.logs import reports

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `report`."""
    parser.epilog = (
        "examples:\n  quiesce-guest report\n  quiesce-guest report --session 01J… --json\n"
    )
    parser.add_argument("--session", metavar="ID", help="the session; the last one unless given")


def run(arguments: Namespace) -> int:
    """Print one report."""
    document = reports.find(arguments.session)
    if arguments.json:
        output.document(document)
    else:
        for text in output.story(document):
            output.line(text)
    return 0
