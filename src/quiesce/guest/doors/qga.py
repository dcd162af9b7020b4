"""The hook of the QEMU guest agent: the agent freezes, we hold before and release after.

What its exit statuses say stands in `docs/design/overview.md`, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.processes import locking
from quiesce.guest.record.decision import Way
from quiesce.guest.session import announcement, recovery, session
from quiesce.guest.session.survey import Order
from quiesce.system import ulid

if TYPE_CHECKING:
    from quiesce.guest.session.announcement import Announcement
    from quiesce.guest.session.session import Held

UNFROZEN = 3
ABORT = 4
DEAD = 5


def freeze() -> int:
    """Hold the applications and adopt the mounts; what the hook's `freeze` exits with.

    Other than 0: everything is released already. Raises QuiesceError AlreadyHeld.
    """
    try:
        lock = locking.acquire()
        recovery.recover_all()
    except QuiesceError as exc:
        return _status(session.without_guard(_order(None), exc))
    announced = announcement.take()
    order = _order(announced)
    heard = announced is not None and announced.heard
    try:
        return _status(session.start(order, lock=lock, needs_announcement=not heard))
    except QuiesceError as exc:
        return _status(session.without_guard(order, exc))


def _order(announced: Announcement | None) -> Order:
    return Order(
        session=ulid.new() if announced is None else announced.session,
        door="qga",
        frozen_by="door",
        disks=None if announced is None else announced.disks,
    )


def _status(answer: Held) -> int:
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
