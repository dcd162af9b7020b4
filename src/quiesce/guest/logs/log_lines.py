"""What the log says of one session: an entry for each step, in the order in which they happened."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from quiesce.guest.logs.printable import printable
from quiesce.guest.record.decision import Cause, requested
from quiesce.model.consistency import Outcome
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.guest.record.decision import Failure
    from quiesce.guest.record.record import Record
    from quiesce.model.report import Attempt, Report, Step

ERROR, WARNING, INFO = 3, 4, 6

_MOST_OUTPUT_CHARACTERS = 256 * 1024
_FIRST = frozenset({Cause.REFUSED, Cause.GUARD, Cause.FREEZE})
_PRIORITIES = {Outcome.COMPLETE: INFO, Outcome.DEGRADED: WARNING}


@dataclass(frozen=True)
class Entry:
    """One event: *priority* as syslog has it, *more* the lines that belong to it, all printable."""

    at: str
    session: str
    step: str
    priority: int
    message: str
    more: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the entry as it stands in the log file; what belongs to it is indented."""
        lines = [f"{self.at} {self.session} {self.step:<11} {self.message}", *self.more]
        return "\n    ".join(lines) + "\n"


def begun(record: Record) -> Entry:
    """Return the entry of a session that is about to begin."""
    disks = f"{record.disks['count']} disks by the {record.disks['source']}"
    wanted = f"{requested(record.happened()).value} requested, {disks}"
    source = record.settings.get("source") or "no configuration"
    message = f"{record.door}: {wanted}, at most {record.deadline_s:g} s, {source}"
    return Entry(record.started_at, record.session, "begin", INFO, printable(message))


def ended(record: Record, report: Report) -> list[Entry]:
    """Return the entries of *record*, which has ended with *report*, without its beginning's.

    Errors follow the step in which they happened. Of scripts' output the last 256 KiB are told.
    """
    return [*_Telling(record, report).entries()]


class _Telling:
    """Tells the steps of one record, and its failures between them."""

    def __init__(self, record: Record, report: Report) -> None:
        self._record = record
        self._report = report
        self._now = report.finished_at
        self._untold = list(record.failures)
        self._outputs = _outputs(record.steps)

    def entries(self) -> Iterator[Entry]:
        """Return what failed before any step, the steps, and how it ended."""
        yield from self._take(self._record.started_at, step=None, causes=_FIRST)
        steps = self._record.steps
        for place, step in enumerate(steps):
            at = _moment(self._record.started_at, step.begin_s)
            yield self._told(place, step, at)
            is_last = all(later.name != step.name for later in steps[place + 1 :])
            if is_last or step.status in {"failed", "timeout"}:
                most = None if is_last else 1
                yield from self._take(at, step=step.name, most=most)
        yield from self._take(self._now, step=None)
        for failure in self._untold:
            yield self._error(failure, self._now)
        for warning in self._record.warnings:
            yield self._entry(self._now, "warning", WARNING, warning)
        yield self._end()

    def _take(
        self,
        at: str,
        *,
        step: str | None,
        causes: frozenset[Cause] = frozenset(Cause),
        most: int | None = None,
    ) -> Iterator[Entry]:
        """Tell the untold failures of *step*, at most so many; they are told then."""
        found = [each for each in self._untold if each.step == step and each.cause in causes]
        for failure in found[:most]:
            self._untold.remove(failure)
            yield self._error(failure, at)

    def _told(self, place: int, step: Step, at: str) -> Entry:
        message = f"{step.status} {_ms(step.end_s - step.begin_s)}"
        if step.reason is not None:
            message += f" ({step.reason})"
        if step.name == "freeze" and step.status == "ok":
            paths = [mount.path for mount in self._record.mounts if mount.frozen]
            message += f": {' '.join(paths)}"
        priority = INFO if step.status in {"ok", "skipped"} else ERROR
        more = [*self._attempts(place, step)]
        return self._entry(at, step.name, priority, message, more)

    def _attempts(self, place: int, step: Step) -> Iterator[str]:
        for number, attempt in enumerate(step.attempts, 1):
            if len(step.attempts) > 1 or attempt.exit_status != 0:
                yield f"attempt {number}: {_how(attempt)}, {_ms(attempt.duration_s)}"
            yield from self._outputs.get((place, number), ())

    def _error(self, failure: Failure, at: str) -> Entry:
        error = failure.error
        message = f"{error.name}: {error.message}"
        return self._entry(at, "error", ERROR, message, [f"next: {error.action}"])

    def _end(self) -> Entry:
        report = self._report
        level = f"{report.reached.value} where a snapshot was taken inside the window"
        if self._record.is_rehearsal:
            level = f"{report.reached.value} if there had been a snapshot"
        elif report.consistency is not None:
            level = report.consistency.value
        message = f"{level}, {report.outcome.value}"
        if report.window is not None:
            message += f", held {_ms(report.window.held_s)}"
            if report.window.frozen_s is not None:
                message += f", frozen {_ms(report.window.frozen_s)}"
        priority = _PRIORITIES.get(report.outcome, ERROR)
        return self._entry(self._now, "end", priority, message)

    def _entry(
        self, at: str, step: str, priority: int, message: str, more: Sequence[str] = ()
    ) -> Entry:
        lines = tuple(printable(line) for line in more)
        return Entry(at, self._record.session, step, priority, printable(message), lines)


def _outputs(steps: Sequence[Step]) -> dict[tuple[int, int], list[str]]:
    """Return the lines that scripts printed, by step and attempt; the latest as far as they fit."""
    left = _MOST_OUTPUT_CHARACTERS
    found: dict[tuple[int, int], list[str]] = {}
    for place, step in reversed([*enumerate(steps)]):
        for number, attempt in reversed([*enumerate(step.attempts, 1)]):
            size = len(attempt.stdout) + len(attempt.stderr)
            left -= size
            found[place, number] = (
                [*_lines("stdout", attempt.stdout), *_lines("stderr", attempt.stderr)]
                if left >= 0
                else [f"its output, {size} characters, is in the report alone"]
            )
    return found


def _lines(stream: str, text: str) -> Iterator[str]:
    for line in text.split("\n") if text else ():
        if line:
            yield f"{stream} | {line.rstrip(chr(13))}"


def _how(attempt: Attempt) -> str:
    if attempt.timed_out:
        return "it ran out of time"
    if attempt.exit_status is None:
        return f"killed by signal {attempt.signal}"
    return f"exit status {attempt.exit_status}"


def _moment(started_at: str, seconds: float) -> str:
    begun_at = dt.datetime.fromisoformat(started_at.replace("Z", "+00:00"))
    moment = begun_at + dt.timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
