"""`uninstall`: take a hook back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.guest.cli.install import add_door_arguments, finish
from quiesce.guest.installation import install, install_boot, install_mark

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `uninstall`."""
    parser.epilog = "examples:\n  quiesce-guest uninstall qga --restart\n"
    add_door_arguments(parser, {"qga": "the guest agent's hook"})


def run(arguments: Namespace) -> int:
    """Take the hook back, and what every installation has."""
    changes = [
        *install.uninstall_qga(),
        *install_mark.uninstall_mark(),
        *install_boot.uninstall_boot(),
    ]
    return finish(changes, arguments)
