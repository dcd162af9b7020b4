"""The process that stays between hold and release, and what it says to its callers."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.guest.filesystems.mounts import NotAMountPointError
from quiesce.guest.logs import keeping, reports
from quiesce.guest.processes import cgroup, locking, signals
from quiesce.guest.processes.spawn import fork_detached
from quiesce.guest.record import journal
from quiesce.guest.record.decision import Way, decide, way_of_snapshot
from quiesce.guest.session import recovery
from quiesce.guest.session.engine import run_session
from quiesce.guest.session.snapshot import Taken
from quiesce.guest.session.survey import look
from quiesce.guest.window import line
from quiesce.guest.window.window import Ending
from quiesce.model.consistency import Outcome
from quiesce.model.report import SnapshotFate
from quiesce.system.deadline import Deadline
from quiesce.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.guest.processes.signals import Signals
    from quiesce.guest.record.record import Record
    from quiesce.guest.session.snapshot import Ended
    from quiesce.guest.session.survey import Order
    from quiesce.guest.window.line import Line
    from quiesce.guest.window.window import Window

_BYTES = 64 * 1024
_QUIET_S = 60.0
_SWEEP_S = 1.0
_RELEASE_S = 20.0
_LATE_STATUS = {Outcome.COMPLETE: 0, Outcome.DEGRADED: 3, Outcome.ABORTED: 4, Outcome.FAILED: 4}
_WORDS = {0: "ok", 3: "degraded", 4: "discard"}


@dataclass(frozen=True)
class Held:
    """The answer to a hold: *held* is false where everything is released already.

    *way* is how the snapshot is to be taken; *told* is for people: session, level, errors.
    """

    held: bool
    way: Way
    told: Mapping[str, Any]


def start(order: Order, *, lock: int, needs_announcement: bool = False) -> Held:
    """Start the session process, give it the *lock*, and wait until it holds or gives up.

    *needs_announcement*: where nothing is to be frozen, hold only if the caller knows that.
    Raises QuiesceError where the session could not begin or died, NotAMountPointError as
    `survey.look`; nothing is held then: what it had held is released again. AlreadyHeld is raised
    where that does not end; the lock is given away in any case.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    caller = _Caller(its)
    try:
        fork_detached(
            lambda: _run(order, caller, lock, needs_announcement=needs_announcement),
            keep={its.fileno(), lock},
        )
    except OSError as exc:
        raise QuiesceError("GuardUnavailable", "no session process: {reason}", reason=exc) from exc
    finally:
        its.close()
    data = ours.recv(_BYTES)
    if not data:
        _see_released(lock)
        raise QuiesceError(
            "GuardUnavailable",
            "the session process died before it held anything",
            action="see crash.log in /run/quiesce",
        )
    answer = json.loads(data)
    if "usage" in answer:
        raise NotAMountPointError(answer["usage"])
    if "error" in answer:
        raise QuiesceError(answer["error"], answer["message"], action=answer["action"])
    return Held(answer["held"], Way(answer["way"]), answer["told"])


def _see_released(lock: int) -> None:
    """Wait for the watchdog to release what the dead session held, or do it."""
    record = journal.read()
    held = [] if record is None else record.held
    os.close(lock)
    own = locking.acquire_when_free(
        Deadline.after(_RELEASE_S + sum(one.post.timeout_s for one in held))
    )
    recovery.recover_all()
    os.close(own)


def without_guard(order: Order, error: QuiesceError) -> Held:
    """Return what becomes of *order* where *error* says that nothing can guard a session (row 24).

    Nothing is held; the report is written where it can be. Raises QuiesceError for any other
    *error*, and as `survey.look`.
    """
    if error.name != "GuardUnavailable":
        raise error
    record = look(replace(order, unguarded=error)).record
    record.warnings += _told_before(order.session)
    keeping.begin(record)
    if way_of_snapshot(record.happened()) is not Way.NO_SNAPSHOT:
        record.fate = SnapshotFate(taken=None)
    answer = _answer(record, held=False)
    keeping.keep(record)
    return Held(answer["held"], Way(answer["way"]), answer["told"])


def _told_before(session: str) -> list[str]:
    """Return what went wrong in *session* where it began, and died."""
    try:
        errors = reports.find(session)["errors"]
        return [f"{error['name']}: {error['message']}" for error in errors]
    except (QuiesceError, OSError, ValueError, LookupError, TypeError):
        return []


class _Caller:
    """Whoever asked for the hold, and waits for one answer."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    @property
    def waits(self) -> bool:
        """Whether it has had no answer yet."""
        return self._channel.fileno() >= 0

    def answer(self, answer: Mapping[str, Any]) -> bool:
        """Give the one answer; whether there is still somebody to hear it."""
        try:
            self._channel.send(json.dumps(answer).encode())
        except OSError:
            return False
        finally:
            self._channel.close()
        return True


def _run(order: Order, caller: _Caller, lock: int, *, needs_announcement: bool) -> None:
    cgroup.leave(f"quiesce-session-{order.session}")
    try:
        with signals.noticed() as noticed:
            snapshot = CallerSnapshot(
                caller, line.create(order.door), noticed, needs_announcement=needs_announcement
            )
            run_session(order, snapshot, lock=lock, signals=noticed)
    except NotAMountPointError as exc:
        caller.answer({"usage": str(exc)})
        line.remove()
    except Exception as exc:
        caller.answer({"error": "GuardUnavailable", "message": repr(exc), "action": None})
        raise  # what is at rest is the watchdog's now


class CallerSnapshot:
    """The caller takes the snapshot, between hold and release (`snapshot.Snapshot`)."""

    process_group = None

    def __init__(
        self, caller: _Caller, own_line: Line, noticed: Signals, *, needs_announcement: bool
    ) -> None:
        self.line = own_line
        self._caller = caller
        self._signals = noticed
        self._needs_announcement = needs_announcement
        self._promised = Way.NO_SNAPSHOT
        self._asked = False

    def is_wanted(self, record: Record, way: Way) -> bool:
        """Under a door: only where the door freezes, or knows that it is not to."""
        self._promised = way
        if record.frozen_by != "door" or way is Way.FROZEN:
            return True
        return not record.failures and not self._needs_announcement

    def take(self, record: Record, way: Way, window: Window) -> Taken:
        """Answer the hold, and wait for the release.

        Where a door can no longer be let freeze, everything is released before it is answered.
        """
        if record.frozen_by == "door" and way is not self._promised:
            return Taken(SnapshotFate(taken=None), Ending.READY)
        if not self._caller.answer(_answer(record, held=True)):
            return Taken(SnapshotFate(taken=False), Ending.INTERRUPTED)
        while True:
            ending = window.wait(self.line.requests)
            requests = self.line.read()
            if requests:
                self._asked = True
                return _taken(requests[0], ending)
            if ending is not Ending.READY:
                return Taken(SnapshotFate(taken=None), ending)

    def drop(self) -> None:
        """Nothing is prepared that would have to be given up."""

    def tell(self, ended: Ended, sweep: Callable[[], bool]) -> None:
        """Answer whoever waits; where the door's thaw is overdue, wait for it."""
        status = _LATE_STATUS[ended.report.outcome]
        if self._caller.waits:
            self._caller.answer(_answer(ended.record, held=False))
        elif self._asked or self._comes_late(ended.record, sweep):
            self.line.answer(_WORDS[status], status)
        self.line.close()

    def _comes_late(self, record: Record, sweep: Callable[[], bool]) -> bool:
        """Wait for the overdue thaw of the door; False where there is none to wait for."""
        if record.frozen_by != "door":
            return False
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < _QUIET_S and not self._signals.interrupted:
            select.select([self.line.requests, self._signals.fileno()], [], [], _SWEEP_S)
            self._signals.drain()
            if self.line.read():
                return True
            if sweep():
                quiet_since = time.monotonic()
        return False


def _answer(record: Record, *, held: bool) -> dict[str, Any]:
    happened = record.happened()
    decision = decide(replace(happened, snapshot_taken=None) if held else happened)
    told = {
        "session": record.session,
        "reached": decision.reached.value,
        "outcome": decision.outcome.value,
        "exit_status": int(decision.exit_status),
        "deadline_s": record.deadline_s,
        "errors": [error.name for error in decision.errors],
    }
    way = way_of_snapshot(happened)
    return {"held": held, "way": way.value, "told": told}


def _taken(request: str, ending: Ending) -> Taken:
    if ending is not Ending.EXPIRED:
        ending = Ending.READY
    word = request.partition(" ")[2]
    if word == "failed":
        error = QuiesceError("SnapshotFailed", "the caller says that its snapshot failed")
        return Taken(SnapshotFate(taken=False), ending, error)
    return Taken(SnapshotFate(taken=True if word == "taken" else None), ending)
