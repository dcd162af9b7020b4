"""What the host says before it freezes: which session it is, and how many disks are in it."""

from __future__ import annotations

import contextlib
import json
import os
import time

from quiesce.guest.processes.locking import RUN_DIR
from quiesce.system import ulid
from quiesce.values import dataclass

_FILE = f"{RUN_DIR}/announced.json"
_VALID_S = 120.0
_MOST_BYTES = 4096
MOST_DISKS = 1024


@dataclass(frozen=True)
class Announcement:
    """*heard*: the host has seen our settings, and freezes nothing where they say so."""

    session: str
    disks: int
    heard: bool


def put(session: str, disks: int) -> None:
    """Announce *session*, for the next two minutes and one hold; raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(RUN_DIR, 0o700)
    document = {"session": session, "disks": disks, "at_s": time.clock_gettime(time.CLOCK_BOOTTIME)}
    new = f"{_FILE}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(document, file)
    os.replace(new, _FILE)


def take() -> Announcement | None:
    """Use up the announcement; None where there is none that is valid and whole.

    One that the host wrote as a file by itself has no moment in it: the file's own counts.
    """
    try:
        with open(_FILE, "rb") as file:
            data, written_at = file.read(_MOST_BYTES), os.fstat(file.fileno()).st_mtime
        os.unlink(_FILE)
        document = json.loads(data)
        session, disks, at_s = document["session"], document["disks"], document.get("at_s")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    heard = isinstance(at_s, (int, float))
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - at_s if heard else time.time() - written_at
    is_whole = isinstance(session, str) and ulid.is_ulid(session)
    if not is_whole or not isinstance(disks, int) or not 0 < disks <= MOST_DISKS:
        return None
    return Announcement(session, disks, heard) if 0 <= age_s <= _VALID_S else None
