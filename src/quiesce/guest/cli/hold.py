"""`hold`: bring to rest, and stay so until `release`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.cli import orders, output
from quiesce.guest.processes import locking
from quiesce.guest.session import recovery, session

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

_EXAMPLES = """\
examples:
  quiesce-guest hold --deadline 30 && snapshot-it; quiesce-guest release --snapshot taken

exits with 0 or 3 (at a lower level) while things are at rest, 4 where everything is released again
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hold`."""
    parser.epilog = _EXAMPLES
    orders.add_arguments(parser)


def run(arguments: Namespace) -> int:
    """Start the session process, which stays."""
    order = orders.order_from(arguments, door="hold")
    left = None
    try:
        lock = locking.acquire()
        left = recovery.recover_all()
        answer = session.start(order, lock=lock)
    except QuiesceError as exc:
        answer = session.without_guard(order, exc)
    told = {"held": answer.held, **answer.told}
    with output.as_far_as_it_goes():
        if arguments.json:
            output.document(told)
        else:
            _tell(told, left)
    return int(told["exit_status"])


def _tell(told: Mapping[str, Any], left: str | None) -> None:
    if left is not None:
        output.remark(phrase("ended session {session}, which had died", session=left))
    state = phrase("at rest" if told["held"] else "not at rest: everything is released")
    output.line(f"{state} · {told['reached']} · session {told['session']}")
    for name in told["errors"]:
        output.remark("  " + phrase("{name}: see quiesce-guest report", name=name))
