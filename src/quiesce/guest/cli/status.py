"""`status`: say what is at rest now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.guest.cli import output
from quiesce.guest.record import durable, journal

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from quiesce.guest.record.record import Record


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `status`."""
    parser.epilog = "examples:\n  quiesce-guest status --json\n"


def run(arguments: Namespace) -> int:
    """Print the session that is at rest, as it last wrote itself down, or that a dead boot left."""
    found = journal.read()
    left = durable.read() if found is None else None
    if arguments.json:
        at_rest = None if found is None else _described(found)
        output.document({"at_rest": at_rest, "left": None if left is None else left.session})
    elif found is not None:
        output.line(_told(found))
    else:
        output.line(phrase("nothing is at rest") if left is None else _told_left(left))
    return 0


def _described(found: Record) -> dict[str, object]:
    held_at = found.times.held
    open_window = held_at is not None and found.times.releasing is None
    left_s = held_at + found.deadline_s - time.monotonic() if open_window and held_at else None
    return {
        "session": found.session,
        "door": found.door,
        "started_at": found.started_at,
        "alive": any(guard.is_alive() for guard in found.guards),
        "held": [held.name for held in found.held],
        "mounts": [mount.path for mount in found.mounts if mount.frozen and open_window],
        "deadline_s": found.deadline_s,
        "left_s": left_s,
    }


def _told_left(left: Record) -> str:
    template = (
        "session {session} held {held} when the machine went down;"
        " the next command ends it: quiesce-guest recover"
    )
    return phrase(template, session=left.session, held=" ".join(held.name for held in left.held))


def _told(found: Record) -> str:
    described = _described(found)
    if not described["alive"]:
        template = "session {session} has died; the next command ends it: quiesce-guest thaw"
        return phrase(template, session=found.session)
    mounts = " ".join(mount.path for mount in found.mounts if mount.frozen) or phrase(
        "no file system"
    )
    held = " ".join(held.name for held in found.held) or phrase("no application")
    template = "session {session} ({door}) holds {held}, {mounts}"
    return phrase(template, session=found.session, door=found.door, held=held, mounts=mounts)
