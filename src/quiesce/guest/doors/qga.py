"""The hook of the QEMU guest agent: the agent freezes, we hold before and release after.

What its exit statuses say stands in `docs/design/overview.md`, section 6.
"""

from __future__ import annotations

from quiesce.errors import ExitStatus
from quiesce.guest import announcement, locking, recovery, session
from quiesce.guest.decision import Way
from quiesce.guest.survey import Order
from quiesce.system import ulid

UNFROZEN = 3
ABORT = 4
DEAD = 5


def freeze() -> int:
    """Hold the applications and adopt the mounts; what the hook's `freeze` exits with.

    Other than 0: everything is released already. Raises QuiesceError where no session can begin.
    """
    lock = locking.acquire()
    recovery.recover_all()
    announced = announcement.take()
    order = Order(
        session=ulid.new() if announced is None else announced.session,
        door="qga",
        frozen_by="door",
        disks=None if announced is None else announced.disks,
    )
    heard = announced is not None and announced.heard
    answer = session.start(order, lock=lock, needs_announcement=not heard)
    if answer.held:
        return ExitStatus.DONE
    return ABORT if answer.way is Way.NO_SNAPSHOT else UNFROZEN


def thaw() -> int:
    """Release what a session left whose processes are all dead; what the hook's `thaw` exits with.

    The hook comes here only where nobody answered on the line. Raises QuiesceError AlreadyHeld
    where a session lives.
    """
    locking.acquire()
    return ExitStatus.DONE if recovery.recover_all() is None else DEAD
