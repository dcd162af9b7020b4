"""The one lock: at most one session is at rest in a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from quiesce.system.deadline import Deadline

RUN_DIR = "/run/quiesce"
_POLL_S = 0.02


def acquire() -> int:
    """Return a descriptor that holds the lock for as long as any copy of it is open.

    It is inherited by fork: the lock is free when session and watchdog have both ended. Raises
    QuiesceError AlreadyHeld where another session has it, GuardUnavailable where /run cannot be
    used.
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(RUN_DIR, 0o700)
        os.chmod(RUN_DIR, 0o700)
        descriptor = os.open(f"{RUN_DIR}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise QuiesceError(
            "GuardUnavailable", "cannot use {path}: {reason}", path=RUN_DIR, reason=exc.strerror
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise QuiesceError("AlreadyHeld", "another session is at rest") from None
    return descriptor


def acquire_when_free(deadline: Deadline) -> int:
    """Return a descriptor as `acquire`, waiting for the lock; raises as that at *deadline*."""
    while True:
        try:
            return acquire()
        except QuiesceError as exc:
            if exc.name != "AlreadyHeld" or deadline.passed():
                raise
        time.sleep(_POLL_S)
