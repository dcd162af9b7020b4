"""`exec`: hold, freeze, run a command as the snapshot, thaw, release."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.guest.cli import orders, output, whole
from quiesce.guest.session.commanded import CommandSnapshot

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

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
    whole.add_arguments(parser)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND…", help="what takes the snapshot"
    )


def run(arguments: Namespace) -> int:
    """Run one session around the command."""
    argv = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not argv:
        arguments.refuse("give the snapshot's command after --")
    order = orders.order_from(arguments, door="exec")
    stdout = 2 if arguments.json else 1
    ended = whole.run(order, lambda: CommandSnapshot(argv, session=order.session, stdout=stdout))
    with output.as_far_as_it_goes():
        whole.show(arguments, ended, output.story(ended.report.to_json()))
        if ended.decision.discard:
            output.remark(phrase("this snapshot must not be used"))
    return int(ended.decision.exit_status)
