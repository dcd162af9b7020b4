"""`check`: say what a backup would do; run nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quiesce.guest.checking import surroundings
from quiesce.guest.checking.check import expect, told
from quiesce.guest.cli import orders, output
from quiesce.guest.configuration import settings
from quiesce.guest.filesystems import devices
from quiesce.guest.filesystems.mounts import plan_freeze
from quiesce.guest.record import durable
from quiesce.values import replace

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EXAMPLES = """\
examples:
  quiesce-guest check
  quiesce-guest check --json

Whether somebody else has frozen a file system shows only when a session tries to.

exit statuses: 0 as configured, 3 a lower level is to be expected, 4 a backup would abort
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `check`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--disks", type=orders.positive, metavar="N", help="disks in the backup")
    parser.add_argument(
        "--plugin-config",
        type=os.path.abspath,
        metavar="PATH",
        help="use this plugin configuration",
    )


def run(arguments: Namespace) -> int:
    """Print what a backup would come to."""
    return print_expectation(
        disks=arguments.disks, plugin_config=arguments.plugin_config, as_json=arguments.json
    )


def print_expectation(*, disks: int | None, plugin_config: str | None, as_json: bool) -> int:
    """Look, print, and return the exit status; without *disks* the machine's own are counted."""
    found = settings.load(plugin_config=plugin_config)
    obstacle = durable.obstacle() if found.plugins else None
    if obstacle is not None:
        found = replace(found, warnings=(*found.warnings, obstacle))
    mounts = devices.read_mounts()
    plan = plan_freeze(mounts, carriers=devices.read_carriers(mounts), skip=found.skip)
    counted = {"count": disks, "source": "host"}
    if disks is None:
        counted = {"count": devices.count_disks(), "source": "guest"}
    around = surroundings.look(found, plan.mounts)
    expectation = expect(found, plan, around, disks=counted)
    if as_json:
        output.document(expectation.to_json())
    else:
        for line in told(expectation):
            output.line(line)
    return int(expectation.exit_status)
