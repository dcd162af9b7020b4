"""End a session whose process is dead: thaw, release, report."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from quiesce.catalogue import mark, phrase
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.filesystems.freezer import open_mount, thaw
from quiesce.guest.logs import keeping, reports
from quiesce.guest.record import durable, journal
from quiesce.guest.record.decision import Cause
from quiesce.guest.scripts import facts, script_cgroup
from quiesce.guest.scripts.family import end_marked
from quiesce.guest.scripts.scripts import Scripts
from quiesce.guest.session import home
from quiesce.guest.session.stack import RestStack
from quiesce.guest.window import hurry, line
from quiesce.model.report import SnapshotFate

if TYPE_CHECKING:
    from quiesce.guest.record.record import Record

_TWICE = mark(
    "the session process died while it released {name}: its post-script may have run twice"
)


def release_all(record: Record, stack: RestStack) -> None:
    """Release everything that *record* holds, last things first; failures are kept in it."""
    while record.held:
        begun = time.monotonic()
        result = stack.release(_snapshot_word(record))
        record.script_step("post-script", result, since=begun)
        if result.error is not None:
            record.fail(Cause.RELEASE, result.error, "post-script")


def _snapshot_word(record: Record) -> str:
    if record.is_rehearsal:
        return "not-taken"
    if record.fate.taken is None:
        return "unknown"
    if record.fate.taken:
        return "taken"
    return "failed" if record.has_failed(Cause.SNAPSHOT) else "not-taken"


def recover() -> int:
    """Release what the dead session held, and report it; the exit status that it comes to.

    Its window counts as expired unless it was closed. The caller has the lock, and what was frozen
    is thawed already.
    """
    record = journal.read()
    if record is None:
        return ExitStatus.DONE
    if record.hurried:
        hurry.end()
    if not reports.exists(record.session, started_at=record.started_at):
        _end_scripts(record)
        _mark_dead(record)
        _release_and_report(record)
    _forget(record)
    return int(record.decide().exit_status)


def _release_and_report(record: Record) -> None:
    scripts = Scripts(record.session)
    stack = RestStack(record.held, note=lambda: journal.write(record), run=scripts.run)
    release_all(record, stack)
    record.facts = facts.collect(record.session)
    keeping.keep(record)


def _forget(record: Record) -> None:
    """Say that nothing of *record* is at rest any more."""
    facts.clear(record.session)
    home.sweep()
    durable.clear()
    journal.clear()


def _end_scripts(record: Record) -> None:
    """End the script that the dead session was running: it must not hold what we release.

    What earlier ones left behind on purpose lives on.
    """
    for phase in ("pre", "post") if record.times.held is None else ("post",):
        script_cgroup.running(record.session, phase).kill()
        daemons = script_cgroup.left_behind(record.session).members()
        end_marked({"QUIESCE_SESSION": record.session, "QUIESCE_PHASE": phase}, spare=daemons)
    script_cgroup.sweep()


def _mark_dead(record: Record) -> None:
    if record.times.held is None:
        record.fail(Cause.INTERRUPTED, QuiesceError("Interrupted", "the session process died"))
    elif record.times.releasing is None:
        record.fate = SnapshotFate(taken=None)
        error = QuiesceError("FreezeWindowExpired", "the session process died in the window")
        record.fail(Cause.EXPIRED, error)
    elif record.held:
        record.warnings.append(phrase(_TWICE, name=record.held[-1].name))


def recover_all() -> str | None:
    """Thaw and end what a session left whose processes are all dead; its id, None where nothing.

    The caller has the lock. Only mounts that this session froze or adopted are thawed.
    """
    home.sweep()
    record = journal.read()
    if record is None:
        journal.clear()  # a damaged one is of no use
        return _recover_after_boot()
    if record.times.held is not None and record.times.releasing is None:
        _thaw_left_behind(record)
    recover()
    line.remove()
    return record.session


def _recover_after_boot() -> str | None:
    """Release what the machine held when it went down; nothing is frozen any more then.

    So does a machine that was restored: its snapshot was taken while this was held.
    """
    record = durable.read()
    if record is None:
        return None
    if not reports.exists(record.session, started_at=record.started_at):
        record.started_s, record.steps = time.monotonic(), []
        record.fate = SnapshotFate(taken=None)
        error = QuiesceError(
            "FreezeWindowExpired",
            "the machine went down inside the session, or was restored to it",
            action="see that the applications are up; a restored machine needs nothing else",
        )
        record.fail(Cause.EXPIRED, error)
        _release_and_report(record)
    _forget(record)
    return record.session


def _thaw_left_behind(record: Record) -> None:
    for mount in reversed(record.mounts):
        if not mount.frozen:
            continue
        try:
            descriptor = open_mount(mount.path, mount.device)
        except OSError:
            continue  # it is gone, and its freeze with it
        try:
            thaw(descriptor)
        except OSError as exc:
            error = QuiesceError(
                "ThawFailed", "cannot thaw {path}: {reason}", path=mount.path, reason=exc.strerror
            )
            record.fail(Cause.THAW, error, "thaw")
        finally:
            os.close(descriptor)
