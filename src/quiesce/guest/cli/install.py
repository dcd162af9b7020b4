"""`install`: put a hook in place."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest import install
from quiesce.guest.cli import output
from quiesce.system.deadline import Deadline
from quiesce.system.process import run as run_program

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from quiesce.guest.install import Change

_RESTART = ["systemctl", "restart", "qemu-guest-agent"]
_RESTART_S = 60.0
_EXAMPLES = """\
examples:
  quiesce-guest install qga --restart
  chroot /mnt/image quiesce-guest install qga
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `install`."""
    parser.epilog = _EXAMPLES
    add_door_arguments(parser)


def add_door_arguments(parser: ArgumentParser) -> None:
    """Add what `install` and `uninstall` share."""
    parser.add_argument("door", choices=["qga"], help="whose hook")
    parser.add_argument(
        "--restart", action="store_true", help="restart the agent, so that it counts"
    )


def run(arguments: Namespace) -> int:
    """Install the hook, calling this very program."""
    program = os.path.abspath(sys.argv[0])
    if not os.access(program, os.X_OK):
        raise QuiesceError(
            "InstallRefused",
            f"the hook could not call {program}: it is not executable",
            action=f"chmod 755 {program}",
        )
    return finish(install.install_qga(program), arguments)


def finish(changes: Sequence[Change], arguments: Namespace) -> int:
    """Restart the agent where that was asked for, and show what was done."""
    if arguments.restart:
        run_program(_RESTART, deadline=Deadline.after(_RESTART_S))
    if arguments.json:
        files = [vars(change) for change in changes]
        output.document({"files": files, "restarted": arguments.restart})
        return 0
    for change in changes:
        output.line(f"{change.action} {change.path}")
        if change.action == "wrote" and change.content is not None:
            for text in change.content.splitlines():
                output.line(f"    {text}")
    if any(change.action != "unchanged" for change in changes) and not arguments.restart:
        output.line(f"it counts when the agent is restarted: {' '.join(_RESTART)}")
    return 0
