"""What is at rest, written down before it is: the file that outlives a session's death."""

from __future__ import annotations

import contextlib
import json
import os

from quiesce.guest.processes.locking import RUN_DIR
from quiesce.guest.record import record

_FILE = f"{RUN_DIR}/session.json"
_NEW = f"{RUN_DIR}/session.json.new"


def write(current: record.Record) -> None:
    """Put down *current*; whoever reads sees the old record or this one, whole. Raises OSError."""
    data = json.dumps(current.to_json()).encode()
    descriptor = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(_NEW, _FILE)


def read() -> record.Record | None:
    """Return the record of the session that is at rest or died.

    None where there is none, and where it is damaged: then the durable one counts.
    """
    try:
        with open(_FILE, "rb") as file:
            return record.from_json(json.load(file))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def clear() -> None:
    """Say that nothing is at rest any more; where that cannot be written, the report says it."""
    with contextlib.suppress(OSError):
        os.unlink(_FILE)
