"""`rehearse`: the same as `exec` with no snapshot, to see how long an application stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.guest.cli import orders, output, whole
from quiesce.guest.record.record import REHEARSAL
from quiesce.guest.session.rehearsal import RehearsedSnapshot

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

_EXAMPLES = """\
examples:
  quiesce-guest rehearse
  quiesce-guest rehearse --freeze /data --json

The scripts are run for real, and the file systems are frozen for real. The exit status is that of
a backup whose snapshot is taken.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `rehearse`."""
    parser.epilog = _EXAMPLES
    orders.add_arguments(parser)
    whole.add_arguments(parser)


def run(arguments: Namespace) -> int:
    """Run one session without a snapshot."""
    order = orders.order_from(arguments, door=REHEARSAL)
    ended = whole.run(order, RehearsedSnapshot)
    with output.as_far_as_it_goes():
        whole.show(arguments, ended, _told(ended.report.to_json()))
    return int(ended.decision.exit_status)


def _told(report: Mapping[str, Any]) -> list[str]:
    lines = output.story(report)
    scripts = [step for step in report["steps"] if step["kind"] == "script"]
    if scripts:
        around_s = scripts[-1]["end_s"] - scripts[0]["begin_s"]
        template = "from the first script's start to the last one's end {around_ms:.1f} ms"
        lines.append("  " + phrase(template, around_ms=around_s * 1000))
    return [*lines, _verdict(report)]


def _verdict(report: Mapping[str, Any]) -> str:
    if report["outcome"] in {"aborted", "failed"}:
        return phrase("a backup would take no snapshot")
    if report["window"] is None:
        return phrase("nothing is held and nothing frozen: nothing would stand still")
    still_ms = report["window"]["held_s"] * 1000
    template = (
        "besides the snapshot itself, the application would stand still for {still_ms:.1f} ms"
    )
    return phrase(template, still_ms=still_ms)
