from __future__ import annotations

from typing import Any

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.logs import log_lines
from quiesce.guest.record.decision import Cause
from quiesce.guest.record.record import Record, Times
from quiesce.model.report import Attempt, ReportedMount, SnapshotFate, Step

SESSION = "01JD5B5V7M6K2Q3R4S5T6V7W8X"


def record(**values: Any) -> Record:
    return Record(
        session=SESSION,
        machine="web1",
        door="exec",
        started_at="2026-11-23T10:00:00.000Z",
        started_s=100.0,
        deadline_s=60.0,
        settings={"source": "/etc/azure/a.json"},
        configured=True,
        freeze_wanted=True,
        continue_on_failure=True,
        disks={"count": 2, "source": "guest"},
        **values,
    )


def attempt(**values: Any) -> Attempt:
    return Attempt(
        **{
            "exit_status": 0,
            "signal": None,
            "timed_out": False,
            "duration_s": 0.2,
            "stdout": "",
            "stderr": "",
            **values,
        }
    )


def told(one: Record) -> list[str]:
    """Return what the log says of the end, without time and session."""
    text = "".join(entry.text() for entry in log_lines.ended(one, one.report()))
    assert text.endswith("\n")
    prefix = f" {SESSION} "
    return [line.partition(prefix)[2] or line for line in text.splitlines()]


def test_the_beginning_says_what_is_asked_for() -> None:
    assert log_lines.begun(record()).text() == (
        f"2026-11-23T10:00:00.000Z {SESSION} begin       exec: application requested, "
        "2 disks by the guest, at most 60 s, /etc/azure/a.json\n"
    )


def test_every_step_has_a_line_with_its_time_status_and_duration_in_the_order_it_happened() -> None:
    one = record(
        steps=[
            Step("pre-script", "script", "ok", 0.25, 0.5, (attempt(),)),
            Step("freeze", "freeze", "ok", 0.5, 0.504),
            Step("snapshot", "snapshot", "ok", 0.504, 0.6),
            Step("thaw", "thaw", "ok", 0.6, 0.601),
            Step("post-script", "script", "ok", 0.601, 0.7, (attempt(),)),
        ],
        mounts=[
            ReportedMount("/data", "xfs", "8:17", frozen=True),
            ReportedMount("/boot", "vfat", "8:2", frozen=False, reason="vfat"),
        ],
        times=Times(held=100.5, freezing=100.5, thawed=100.601, releasing=100.602),
        fate=SnapshotFate(taken=True),
    )

    text = "".join(entry.text() for entry in log_lines.ended(one, one.report()))
    lines = text.splitlines()

    assert lines[:-1] == [
        f"2026-11-23T10:00:00.250Z {SESSION} pre-script  ok 250.0 ms",
        f"2026-11-23T10:00:00.500Z {SESSION} freeze      ok 4.0 ms: /data",
        f"2026-11-23T10:00:00.504Z {SESSION} snapshot    ok 96.0 ms",
        f"2026-11-23T10:00:00.600Z {SESSION} thaw        ok 1.0 ms",
        f"2026-11-23T10:00:00.601Z {SESSION} post-script ok 99.0 ms",
    ]
    assert lines[-1].endswith(" end         application, complete, held 102.0 ms, frozen 101.0 ms")


def test_an_error_with_its_action_follows_the_step_in_which_it_happened() -> None:
    one = record(
        steps=[
            Step("pre-script", "script", "ok", 0.0, 0.1, (attempt(),)),
            Step("pre-script", "script", "failed", 0.1, 0.2, (attempt(exit_status=1),)),
            Step("snapshot", "snapshot", "ok", 0.2, 0.3),
            Step("post-script", "script", "failed", 0.3, 0.4, (attempt(exit_status=1),)),
            Step("post-script", "script", "timeout", 0.4, 0.5, (attempt(timed_out=True),)),
        ],
        fate=SnapshotFate(taken=True),
    )
    one.fail(Cause.REFUSED, QuiesceError("IncorrectGuestConf", "it is wrong", action="mend"))
    one.fail(Cause.HOLD, QuiesceError("Pre-ScriptExecutionFailed", "pre"), "pre-script")
    one.fail(Cause.EXPIRED, QuiesceError("FreezeWindowExpired", "late"), "snapshot")
    one.fail(Cause.RELEASE, QuiesceError("Post-ScriptExecutionFailed", "b"), "post-script")
    one.fail(Cause.RELEASE, QuiesceError("Post-ScriptTimeout", "a"), "post-script")
    one.fail(Cause.INTERRUPTED, QuiesceError("Interrupted", "x"), "snapshot")
    one.fail(Cause.EXPIRED, QuiesceError("FreezeWindowExpired", "dead"))
    one.warnings.append("look out")

    steps = [line.split(": ")[0].split("  ")[0] for line in told(one) if not line.startswith(" ")]
    errors = [line[12:].split(":")[0] for line in told(one) if line.startswith("error ")]

    assert steps == [
        *("error", "pre-script", "pre-script", "error", "snapshot", "error", "error"),
        *("post-script failed 100.0 ms", "error", "post-script timeout 100.0 ms", "error"),
        *("error", "warning", "end"),
    ]
    assert errors == [
        *("IncorrectGuestConf", "Pre-ScriptExecutionFailed", "FreezeWindowExpired", "Interrupted"),
        *("Post-ScriptExecutionFailed", "Post-ScriptTimeout", "FreezeWindowExpired"),
    ]
    assert told(one)[:2] == ["error       IncorrectGuestConf: it is wrong", "    next: mend"]


def test_what_a_script_prints_is_indented_and_cannot_move_a_terminal_or_forge_a_line() -> None:
    forged = f"2026-11-23T10:00:00.000Z {SESSION} end application, complete"
    printed = attempt(stdout=f"one\r\n{forged}\n\n", stderr="\x1b[2Jgone\rover")
    one = record(steps=[Step("pre-script", "script", "ok", 0, 1, (printed,))])

    text = log_lines.ended(one, one.report())[0].text()

    assert text.splitlines()[1:] == [
        "    stdout | one",
        f"    stdout | {forged}",
        "    stderr | \\x1b[2Jgone\\rover",
    ]


def test_attempts_that_were_not_the_only_one_or_failed_are_told_one_by_one() -> None:
    attempts = (
        attempt(exit_status=3, stderr="no"),
        attempt(exit_status=None, signal=9),
        attempt(exit_status=None, signal=15, timed_out=True),
    )
    one = record(steps=[Step("pre-script", "script", "timeout", 0, 1, attempts)])

    assert told(one)[1:5] == [
        "    attempt 1: exit status 3, 200.0 ms",
        "    stderr | no",
        "    attempt 2: killed by signal 9, 200.0 ms",
        "    attempt 3: it ran out of time, 200.0 ms",
    ]


def test_of_very_much_output_the_latest_is_told() -> None:
    attempts = tuple(attempt(exit_status=1, stdout="x" * 65536) for _ in range(10))
    one = record(steps=[Step("pre-script", "script", "failed", 0, 1, attempts)])

    lines = told(one)

    outputs = [line for line in lines if "attempt" not in line and line.startswith("    ")]
    assert [len(line) for line in outputs[-4:]] == [65536 + len("    stdout | ")] * 4
    assert outputs[:6] == ["    its output, 65536 characters, is in the report alone"] * 6


@pytest.mark.parametrize(
    ("taken", "says", "priority"),
    [
        (True, "application, complete", log_lines.INFO),
        (
            None,
            "application where a snapshot was taken inside the window, complete",
            log_lines.INFO,
        ),
    ],
)
def test_the_end_says_the_level(taken: bool | None, says: str, priority: int) -> None:
    one = record(fate=SnapshotFate(taken=taken))

    [end] = log_lines.ended(one, one.report())

    assert (end.message, end.priority) == (says, priority)


def test_a_session_that_failed_ends_as_an_error_and_a_degraded_one_as_a_warning() -> None:
    one = record(fate=SnapshotFate(taken=True))
    one.fail(Cause.HOLD, QuiesceError("Pre-ScriptTimeout", "late"))

    assert log_lines.ended(one, one.report())[-1].priority == log_lines.WARNING

    one.fail(Cause.SNAPSHOT, QuiesceError("SnapshotFailed", "no"))

    assert log_lines.ended(one, one.report())[-1].priority == log_lines.ERROR


@pytest.mark.parametrize(
    ("status", "priority"),
    [
        ("ok", log_lines.INFO),
        ("skipped", log_lines.INFO),
        ("failed", log_lines.ERROR),
        ("timeout", log_lines.ERROR),
    ],
)
def test_a_step_that_failed_is_an_error_in_the_journal(status: str, priority: int) -> None:
    one = record(steps=[Step("thaw", "thaw", status, 0, 1)])

    assert log_lines.ended(one, one.report())[0].priority == priority
