"""Thaw and release everything that any session of ours has at rest, whatever state it is in."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.processes import locking
from quiesce.guest.record import journal
from quiesce.guest.session import recovery
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from quiesce.guest.record.record import Record

_THAW_S = 10.0
_MARGIN_S = 10.0


def end_everything() -> str | None:
    """End the session that is at rest and return its id; None where there was none.

    It is asked first, and gets its time to release its applications; then it is killed, and its
    watchdog, and last we ourselves, do what it should have done. Raises QuiesceError AlreadyHeld
    where not even that ends it: a freeze blocks in the kernel.
    """
    record = journal.read()
    lock = _lock_by(Deadline.after(0.0))
    for number, whom in ((signal.SIGTERM, 0), (signal.SIGKILL, 0), (signal.SIGKILL, 1)):
        if lock is not None:
            break
        if record is not None and len(record.guards) > whom:
            record.guards[whom].send(number)
        lock = _lock_by(_patience(record))
    if lock is None:
        raise QuiesceError("AlreadyHeld", "the session does not end: a freeze is in flight")
    recovered = recovery.recover_all()
    os.close(lock)
    return recovered if record is None else record.session


def _patience(record: Record | None) -> Deadline:
    held = [] if record is None else record.held
    return Deadline.after(_THAW_S + _MARGIN_S + sum(one.post.timeout_s for one in held))


def _lock_by(deadline: Deadline) -> int | None:
    try:
        return locking.acquire_when_free(deadline)
    except QuiesceError as exc:
        if exc.name != "AlreadyHeld":
            raise
        return None
