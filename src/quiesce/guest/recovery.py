"""End a session whose process is dead: thaw, release, report."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest import facts, hurry, journal, keeping, line, reports
from quiesce.guest.decision import Cause
from quiesce.guest.family import end_marked
from quiesce.guest.freezer import open_mount, thaw
from quiesce.guest.script import run_script
from quiesce.guest.stack import RestStack
from quiesce.model.report import SnapshotFate

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.guest.record import Record
    from quiesce.guest.script import ScriptResult
    from quiesce.guest.settings import ScriptSpec


def run_script_for(session: str) -> Callable[[ScriptSpec, dict[str, str]], ScriptResult]:
    """Return what runs one script of *session* with the given variables."""
    fixed = {"QUIESCE_SESSION": session, "QUIESCE_FACTS": str(facts.path_of(session))}
    return lambda spec, variables: run_script(spec, env={**fixed, **variables})


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
        stack = RestStack(
            record.held, note=lambda: journal.write(record), run=run_script_for(record.session)
        )
        release_all(record, stack)
        record.facts = facts.collect(record.session)
        keeping.keep(record)
    facts.clear(record.session)
    journal.clear()
    return int(record.decide().exit_status)


def _end_scripts(record: Record) -> None:
    """End the script that the dead session was running: it must not hold what we release."""
    for phase in ("pre", "post") if record.times.held is None else ("post",):
        end_marked({"QUIESCE_SESSION": record.session, "QUIESCE_PHASE": phase})


def _mark_dead(record: Record) -> None:
    if record.times.held is None:
        record.fail(Cause.INTERRUPTED, QuiesceError("Interrupted", "the session process died"))
    elif record.times.releasing is None:
        record.fate = SnapshotFate(taken=None)
        error = QuiesceError("FreezeWindowExpired", "the session process died in the window")
        record.fail(Cause.EXPIRED, error)


def recover_all() -> str | None:
    """Thaw and end what a session left whose processes are all dead; its id, None where nothing.

    The caller has the lock. Only mounts that this session froze or adopted are thawed.
    """
    record = journal.read()
    if record is None:
        return None
    if record.times.held is not None and record.times.releasing is None:
        _thaw_left_behind(record)
    recover()
    line.remove()
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
            error = QuiesceError("ThawFailed", f"cannot thaw {mount.path}: {exc.strerror}")
            record.fail(Cause.THAW, error, "thaw")
        finally:
            os.close(descriptor)
