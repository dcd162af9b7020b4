"""One session: hold the applications, freeze, let the snapshot be taken, thaw, release, report."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.filesystems import devices, freezing
from quiesce.guest.logs import keeping
from quiesce.guest.processes.guards import Guard
from quiesce.guest.processes.signals import InterruptError
from quiesce.guest.record import durable, journal
from quiesce.guest.record.decision import Cause, Way, way_of_snapshot
from quiesce.guest.scripts import facts
from quiesce.guest.scripts.scripts import Scripts
from quiesce.guest.session import engine_errors
from quiesce.guest.session.recovery import recover, release_all
from quiesce.guest.session.snapshot import Ended, Snapshot
from quiesce.guest.session.stack import RestStack
from quiesce.guest.session.survey import Order, look
from quiesce.guest.window import hurry, watch, watchdog
from quiesce.guest.window.window import Ending, Window
from quiesce.model.report import ReportedMount, SnapshotFate
from quiesce.system.deadline import Deadline
from quiesce.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.guest.configuration.settings import Plugin
    from quiesce.guest.filesystems.freezing import Thawed
    from quiesce.guest.processes.signals import Signals
    from quiesce.guest.session.survey import Survey
    from quiesce.guest.window.watchdog import Watchdog

_FLUSH_S = 10.0
_GUARD_S = 15.0


def run_session(order: Order, snapshot: Snapshot, *, lock: int, signals: Signals) -> Ended:
    """Run one session from look to report, with the *lock* held.

    Failures are in the report, not raised. Whatever is raised, and however this process dies:
    what was frozen is thawed and what was held is released, by the watchdog if not by us.
    """
    session = _Session(look(order), snapshot, lock=lock, signals=signals)
    session.prepare()
    session.hold()
    if session.is_window_wanted():
        session.rest()
    else:
        session.go_without()
    session.release()
    ended = session.end()
    snapshot.tell(ended, session.sweep)
    session.leave()
    return ended


class _Session:
    """The parts of one session, in the order in which `run_session` calls them."""

    def __init__(self, survey: Survey, snapshot: Snapshot, *, lock: int, signals: Signals) -> None:
        self.record = survey.record
        self._settings = survey.settings
        self._plan = survey.plan
        self._snapshot = snapshot
        self._lock = lock
        self._signals = signals
        self._freezing = freezing.Freezing((), news=-1)
        self._watchdog: Watchdog | None = None
        self._frozen: dict[str, bool | str] = {}
        self._scripts = Scripts(self.record.session)
        self._stack = RestStack(self.record.held, note=self._note, run=self._scripts.run)

    @property
    def _way(self) -> Way:
        return way_of_snapshot(self.record.happened())

    def _note(self) -> None:
        self.record.facts = facts.collect(self.record.session)
        journal.write(self.record)

    # Before anything is at rest.

    def prepare(self) -> None:
        """Start the processes that guard the window, and flush; failures are kept."""
        keeping.begin(self.record)
        if self._way is Way.NO_SNAPSHOT or not self._has_anything_to_rest():
            return
        if self.record.has_failed(Cause.GUARD):
            return
        try:
            self._freezing = freezing.prepare(self._plan.mounts)
            facts.begin(self.record.session)
            self.record.guards = [Guard.of(os.getpid())]
            self._note()
            self._watchdog = watchdog.start(
                watch.Guarded(
                    self.record.session,
                    self._freezing,
                    self._snapshot.line,
                    self._lock,
                    recover,
                    journal.clear,
                ),
                deadline=Deadline.after(_GUARD_S),
            )
        except QuiesceError as exc:
            self.record.fail(Cause.GUARD, exc)
        except OSError as exc:
            self.record.fail(Cause.GUARD, engine_errors.unwritable(exc))
        else:
            self.record.guards.append(Guard.of(self._watchdog.pid))
            self._prepare_scripts()
            if self._way is Way.FROZEN:
                self._flush()

    def _prepare_scripts(self) -> None:
        """Have all processes that releasing takes before anything is held."""
        plugins = () if self.record.failures else self._settings.plugins
        try:
            self._scripts.prepare(spec for each in plugins for spec in (each.pre, each.post))
        except QuiesceError as exc:
            self.record.fail(Cause.GUARD, exc)

    def _has_anything_to_rest(self) -> bool:
        return self._way is Way.FROZEN or bool(self._settings.plugins)

    def _flush(self) -> None:
        begun = time.monotonic()
        try:
            self._freezing.sync(Deadline.after(_FLUSH_S))
        except QuiesceError as exc:
            self.record.step("flush", "freeze", "failed", since=begun)
            self.record.fail(Cause.FREEZE, exc, "flush")

    # Holding and releasing.

    def hold(self) -> None:
        """Hold the applications in order; after the first failure no further one."""
        plugins = () if self.record.failures else self._settings.plugins
        if plugins:
            durable.provide(self.record, plugins)
        for plugin in plugins:
            if not self._hold(plugin):
                break
        if self._signals.interrupted:
            self.record.fail(Cause.INTERRUPTED, engine_errors.interrupted_before())

    def _hold(self, plugin: Plugin) -> bool:
        begun = time.monotonic()
        try:
            with self._signals.raising():
                result = self._stack.hold(plugin.source, plugin.pre, plugin.post)
        except InterruptError:
            self.record.step("pre-script", "script", "failed", since=begun, reason="interrupted")
            return False
        except OSError as exc:
            self.record.fail(Cause.GUARD, engine_errors.unwritable(exc), "pre-script")
            return False
        self.record.script_step("pre-script", result, since=begun)
        if result.error is not None:
            cause = Cause.HOLD if result.attempts else Cause.REFUSED
            self.record.fail(cause, result.error, "pre-script")
        return result.error is None

    def release(self) -> None:
        """Release what is held, last things first, whatever has failed."""
        release_all(self.record, self._stack)
        self._scripts.close()

    # The window.

    def is_window_wanted(self) -> bool:
        """Return whether there is to be a window, or everything is released at once."""
        wanted = self._snapshot.is_wanted(self.record, self._way)
        return wanted and self._way is not Way.NO_SNAPSHOT

    def go_without(self) -> None:
        """Give the window up: if a snapshot is taken, it is after the release."""
        self._snapshot.drop()
        if self._way is Way.NO_SNAPSHOT:
            return
        self.record.fate = SnapshotFate(taken=None)
        if not self.record.failures:
            self.record.fail(Cause.EXPIRED, engine_errors.released_before())

    def rest(self) -> None:
        """Open the window, freeze, let the snapshot be taken, thaw, close the window."""
        window = self._open_window()
        if self._way is Way.FROZEN and window.watchdog is not None:
            self._freeze(window.watchdog, window.until_s)
        elif self._watchdog is not None and not self.record.failures:
            self._flush()  # nothing will be frozen: row 3 claims that all is on the disk
        begun = time.monotonic()
        if self._way is Way.NO_SNAPSHOT:
            self._snapshot.drop()
        else:
            self._take(window, begun)
        self._close_window(self._thaw())

    def _open_window(self) -> Window:
        now = time.monotonic()
        if self._watchdog is None or not (self.record.held or self._way is Way.FROZEN):
            return Window(self._signals)
        self.record.times = replace(self.record.times, held=now)
        until_s = now + self.record.deadline_s
        if self._way is Way.FROZEN and self.record.frozen_by != "command":
            self._open_mounts()
        self._foresee()
        self._hurry()
        try:
            self._watchdog.open_window(
                until_s, self._freezing.descriptors, self._snapshot.process_group
            )
        except OSError:
            self.record.fail(Cause.EXPIRED, engine_errors.watchdog_dead())
            return Window(self._signals, until_s)
        return Window(self._signals, until_s, self._watchdog)

    def _hurry(self) -> None:
        """Put down the window as it is to be, and only then let the kernel hurry."""
        self.record.hurried = hurry.is_off()
        try:
            self._note()
        except OSError as exc:
            self.record.hurried = False
            self.record.fail(Cause.GUARD, engine_errors.unwritable(exc))
        if self.record.hurried:
            hurry.begin()

    def _foresee(self) -> None:
        """Put down what is about to be frozen, for whoever has to thaw it in our place."""
        self.record.mounts = self._reported_mounts(
            self._freezable() if self._way is Way.FROZEN else {}
        )

    def _freezable(self) -> dict[str, bool | str]:
        frozen = True if self.record.frozen_by == "engine" else "door"
        return {mount.path: frozen for mount in self._freezing.mounts}

    def _open_mounts(self) -> None:
        try:
            vanished = self._freezing.open(self._freeze_deadline())
        except QuiesceError as exc:
            self.record.fail(Cause.FREEZE, exc, "freeze")
        else:
            self._see_vanished(vanished)

    def _see_vanished(self, paths: list[str]) -> None:
        """A mount that is gone costs a warning (row 25), one that is elsewhere now a failure."""
        mounted = {mount.device for mount in devices.read_mounts()} if paths else set()
        for mount in self._plan.mounts:
            if mount.path in paths and mount.device in mounted:
                self.record.fail(Cause.FREEZE, engine_errors.replaced(mount), "freeze")
            elif mount.path in paths:
                said = phrase("{path} is no longer mounted", path=mount.path)
                self.record.warnings.append(said)

    def _freeze_deadline(self) -> Deadline:
        limit = min(self._settings.freeze_timeout_s, self.record.deadline_s / 2)
        return Deadline.after(limit)

    def _freeze(self, watchdog: Watchdog, until_s: float) -> None:
        begun = time.monotonic()
        try:
            if self.record.frozen_by == "engine":
                self.record.times = replace(self.record.times, freezing=begun)
                self._freezing.freeze(
                    self._freeze_deadline(), until_s=until_s, claim=watchdog.claim
                )
            elif self.record.frozen_by == "door":
                self._freezing.adopt(until_s=until_s)
                watchdog.adopt()
        except QuiesceError as exc:
            self.record.times = replace(self.record.times, thawed=time.monotonic())
            status = "timeout" if exc.name == "FsFreezeTimeout" else "failed"
            self.record.step("freeze", "freeze", status, since=begun)
            self.record.fail(Cause.FREEZE, exc, "freeze")
        except OSError:
            self.record.fail(Cause.EXPIRED, engine_errors.watchdog_dead(), "freeze")
        else:
            self._say_frozen(begun)

    def _say_frozen(self, begun: float) -> None:
        self._frozen = self._freezable()
        ours = self.record.frozen_by == "engine"
        reason = None if ours else f"the {self.record.frozen_by} freezes"
        status = "ok" if ours else "skipped"
        self.record.step("freeze", "freeze", status, since=begun, reason=reason)

    def _take(self, window: Window, begun: float) -> None:
        taken = self._snapshot.take(self.record, self._way, window)
        self.record.fate = taken.fate
        status = "failed" if taken.fate.taken is False else "ok"
        reason = None
        if self.record.is_rehearsal:
            status, reason = "skipped", "this is a rehearsal"
        self.record.step("snapshot", "snapshot", status, since=begun, reason=reason)
        ended_early = taken.ending is Ending.INTERRUPTED and taken.fate.taken is not False
        if taken.ending is Ending.EXPIRED or ended_early:
            self.record.fail(Cause.EXPIRED, engine_errors.over_too_early(), "snapshot")
        if taken.ending is Ending.INTERRUPTED:
            self.record.fail(Cause.INTERRUPTED, engine_errors.interrupted_inside(), "snapshot")
        if taken.error is not None:
            self.record.fail(Cause.SNAPSHOT, taken.error, "snapshot")

    def _thaw(self) -> Thawed:
        begun = time.monotonic()
        thawed = self._freezing.thaw()
        times = self.record.times
        if times.freezing is not None and times.thawed is None:
            self.record.times = replace(times, thawed=time.monotonic())
            self.record.step("thaw", "thaw", "failed" if thawed.failed else "ok", since=begun)
        if thawed.already and not self.record.has_failed(Cause.EXPIRED):
            paths = ", ".join(thawed.already)
            self.record.fail(Cause.EXPIRED, engine_errors.thawed_before(paths), "thaw")
        for place, exc in thawed.failed:
            path = self._freezing.freezers[place].mount.path
            error = QuiesceError(
                "ThawFailed", "cannot thaw {path}: {reason}", path=path, reason=exc.strerror
            )
            self.record.fail(Cause.THAW, error, "thaw")
        return thawed

    def _close_window(self, thawed: Thawed) -> None:
        self.record.times = replace(self.record.times, releasing=time.monotonic())
        if self.record.frozen_by == "door" and self.record.has_failed(Cause.EXPIRED):
            self._freezing.sweep()
        if self.record.hurried:
            hurry.end()
        if self._watchdog is None:
            return
        expired = self.record.has_failed(Cause.EXPIRED)
        try:
            self._watchdog.close_window(
                still_frozen=[place for place, _error in thawed.failed],
                in_flight=self._freezing.in_flight(),
                expired=expired,
            )
        except OSError:
            if not expired:
                self.record.fail(Cause.EXPIRED, engine_errors.watchdog_dead())
        with contextlib.suppress(OSError):  # what it would say is over in a moment
            self._note()

    # The end.

    def end(self) -> Ended:
        """Keep the log and the report."""
        self.record.mounts = self._reported_mounts(self._frozen)
        self.record.facts = facts.collect(self.record.session)
        is_late = self._signals.interrupted and not self.record.has_failed(Cause.INTERRUPTED)
        if is_late:
            self.record.warnings.append(phrase(engine_errors.INTERRUPTED_AFTER))
        report = keeping.keep(self.record)
        durable.clear()
        decision = self.record.decide()
        if is_late:
            decision = replace(decision, exit_status=ExitStatus.INTERRUPTED)
        return Ended(self.record, report, decision)

    def leave(self) -> None:
        """Let the freezers and the watchdog go: nothing is at rest any more.

        Where a freeze may still come, the watchdog stays for it, and `status` shows the session.
        """
        facts.clear(self.record.session)
        if self._watchdog is None or not self._freezing.in_flight():
            journal.clear()
        self._freezing.leave()
        if self._watchdog is not None:
            self._watchdog.end()

    def sweep(self) -> bool:
        """Thaw what a door may have frozen late; whether there was something to thaw."""
        news = "dead" if self._watchdog is None else self._watchdog.news()
        return news == "swept" or (news == "dead" and self._freezing.sweep())

    def _reported_mounts(self, frozen: Mapping[str, bool | str]) -> list[ReportedMount]:
        reason = "not frozen" if self._way is not Way.FROZEN else "no longer mounted"
        planned = [
            ReportedMount(
                mount.path,
                mount.fstype,
                mount.device,
                frozen.get(mount.path, False),
                None if mount.path in frozen else reason,
            )
            for mount in self._plan.mounts
        ]
        return [*planned, *self._plan.left_out]
