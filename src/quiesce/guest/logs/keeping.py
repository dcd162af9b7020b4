"""Keep what happens in a session, in the log and as its report.

Nothing is written between the beginning of a session and its release: what happens meanwhile is
in the record, and told afterwards. What cannot be written is a warning in the report, and never
holds a session up for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.guest.logs import log, log_file, log_lines, reports
from quiesce.guest.processes import aside
from quiesce.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.logs.log_lines import Entry
    from quiesce.guest.record.record import Record
    from quiesce.model.report import Report

_BEGIN_S = 2.0
_END_S = 5.0


def begin(record: Record) -> None:
    """Log that a session begins, before anything is at rest."""
    entries = [log_lines.begun(record)]
    try:
        record.warnings += aside.ask(lambda: log.write(entries), limit_s=_BEGIN_S)
    except OSError as exc:
        record.warnings.append(log.lost(log_file.DIRECTORY, exc))


def keep(record: Record) -> Report:
    """Log a session that has ended, write its report, and return that."""
    report = record.report()
    entries = log_lines.ended(record, report)
    try:
        losses = aside.ask(lambda: _write(entries, report), limit_s=_END_S)
    except OSError as exc:
        losses = _write_report(report, [log.lost(log_file.DIRECTORY, exc)], reports.DIRECTORIES[1:])
    return _with_warnings(report, losses)


def _write(entries: Sequence[Entry], report: Report) -> list[str]:
    """Write both, and return what was lost."""
    return _write_report(report, log.write(entries), reports.DIRECTORIES)


def _write_report(report: Report, losses: list[str], directories: Sequence[str]) -> list[str]:
    """Write the report in the first of *directories* that takes it; return all *losses*."""
    for directory in directories:
        try:
            reports.write(_with_warnings(report, losses).to_json(), directory)
        except OSError as exc:  # noqa: PERF203 - then the next place is tried
            template = "the report is not in {directory}: {reason}"
            losses.append(phrase(template, directory=directory, reason=exc.strerror))
        else:
            break
    return losses


def _with_warnings(report: Report, more: Sequence[str]) -> Report:
    new = [warning for warning in more if warning not in report.warnings]
    return replace(report, warnings=(*report.warnings, *new))
