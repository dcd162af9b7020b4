"""`install`: put a hook, or a template configuration, in place."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.cli import output
from quiesce.guest.installation import install, install_boot, install_config, install_mark
from quiesce.guest.shipped import selfcheck
from quiesce.system.deadline import Deadline
from quiesce.system.process import run as run_program

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from quiesce.guest.installation.install_files import Change

_RESTART = ["systemctl", "restart", "qemu-guest-agent"]
_RELOAD = ["systemctl", "daemon-reload"]
_RESTART_S = 60.0
_EXAMPLES = """\
examples:
  quiesce-guest install qga --restart
  quiesce-guest install config
  chroot /mnt/image quiesce-guest install qga

config: writes no file that exists already; exits with 3 where one was left as it is
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `install`."""
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    add_door_arguments(parser, {"qga": "the guest agent's hook", "config": "a configuration"})


def add_door_arguments(parser: ArgumentParser, doors: dict[str, str]) -> None:
    """Add what `install` and `uninstall` share; *doors* says what each name stands for."""
    parser.add_argument(
        "door",
        choices=list(doors),
        help="; ".join(f"{door}: {what}" for door, what in doors.items()),
    )
    parser.add_argument(
        "--restart", action="store_true", help="restart the agent, so that its hook counts"
    )


def run(arguments: Namespace) -> int:
    """Install what was asked for, calling this very program, and what the boot needs of it."""
    program = os.path.abspath(sys.argv[0])
    if not os.access(program, os.X_OK):
        raise QuiesceError(
            "InstallRefused",
            "{program} could not be called: it is not executable",
            program=program,
            action="chmod 755 {program}",
        )
    if arguments.door == "qga":
        return finish([*install.install_qga(program), *_install_program(program)], arguments)
    if arguments.restart:
        arguments.refuse("--restart is for a hook: a configuration counts at once")
    changes = [*install_config.install_config(), *_install_program(program)]
    return _finish_config(changes, arguments)


def _install_program(program: str) -> list[Change]:
    """Install what every installation has, whatever the door."""
    is_single_file = selfcheck.archive_we_run_from() is not None
    marks = install_mark.install_mark(program) if is_single_file else []
    return [*marks, *install_boot.install_boot(program)]


def finish(changes: Sequence[Change], arguments: Namespace) -> int:
    """Restart the agent where that was asked for, and show what was done."""
    if arguments.restart:
        for command in (_RELOAD, _RESTART):
            run_program(command, deadline=Deadline.after(_RESTART_S))
    _show(changes, arguments)
    is_changed = any(change.action != "unchanged" for change in changes)
    if is_changed and not arguments.restart and not arguments.json:
        template = "it counts when the agent is restarted: {command}"
        output.line(phrase(template, command=" ".join(_RESTART)))
    return ExitStatus.DONE


def _finish_config(changes: Sequence[Change], arguments: Namespace) -> int:
    _show(changes, arguments)
    left = [change.path for change in changes if change.action == "left"]
    for path in left:
        output.remark(phrase("{path} was there already and is as it was", path=path))
    if not arguments.json:
        said = phrase("the scripts do nothing yet: fill them in, then: quiesce-guest check")
        output.line(said)
    return ExitStatus.DEGRADED if left else ExitStatus.DONE


def _show(changes: Sequence[Change], arguments: Namespace) -> None:
    if arguments.json:
        files = [vars(change) for change in changes]
        output.document({"files": files, "restarted": arguments.restart})
        return
    for change in changes:
        output.line(f"{change.action} {change.path}")
        if change.action == "wrote" and change.content is not None:
            for text in change.content.splitlines():
                output.line(f"    {text}")
