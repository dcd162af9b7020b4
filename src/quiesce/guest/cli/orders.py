"""The options of a session, which `exec` and `hold` share."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from quiesce.guest.session.survey import MOST_DEADLINE_S, Order
from quiesce.system import ulid

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that say how a session is to go."""
    freeze = parser.add_mutually_exclusive_group()
    freeze.add_argument(
        "--freeze",
        action="append",
        type=_mount,
        metavar="MOUNT",
        help="freeze only this mount; repeatable",
    )
    freeze.add_argument("--no-freeze", action="store_true", help="freeze nothing")
    freeze.add_argument(
        "--command-freezes",
        action="store_true",
        help="the snapshot freezes by itself (LVM, Btrfs, reflinks); the level is as with a freeze",
    )
    parser.add_argument("--disks", type=positive, metavar="N", help="disks in the backup")
    parser.add_argument(
        "--deadline", type=_seconds, metavar="S", help="seconds from hold to release at most"
    )
    parser.add_argument(
        "--plugin-config",
        type=os.path.abspath,
        metavar="PATH",
        help="use this plugin configuration",
    )


def order_from(arguments: Namespace, *, door: str) -> Order:
    """Return what the options ask for."""
    return Order(
        session=ulid.new(),
        door=door,
        frozen_by="command" if arguments.command_freezes else "engine",
        freeze=not arguments.no_freeze,
        only=tuple(arguments.freeze) if arguments.freeze else None,
        disks=arguments.disks,
        deadline_s=arguments.deadline,
        plugin_config=arguments.plugin_config,
    )


def positive(text: str) -> int:
    """Return the whole number in *text*, which must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one")
    return number


def _mount(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"'{text}' is no absolute path")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MOST_DEADLINE_S:
        raise argparse.ArgumentTypeError(f"more than 0, and at most {MOST_DEADLINE_S:.0f}")
    return seconds
