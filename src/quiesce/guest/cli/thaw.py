"""`thaw`: emergency; thaw and release everything that any session of ours holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.guest.cli import output
from quiesce.guest.session import emergency

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `thaw`."""
    parser.epilog = "examples:\n  quiesce-guest thaw\n"


def run(arguments: Namespace) -> int:
    """End whatever is at rest."""
    ended = emergency.end_everything()
    with output.as_far_as_it_goes():
        if arguments.json:
            output.document({"ended": ended})
        else:
            output.line(output.ended(ended))
    return 0
