"""What the verbs print: one JSON document, or lines for people."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.guest.logs.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def as_far_as_it_goes() -> Iterator[None]:
    """Print in this context what was done: where it cannot be printed, what was done still counts.

    The program exits with what it would have exited with; nothing more is printed on stdout then.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        _lead_nowhere(1)
        remark(phrase("cannot print: {reason}", reason=exc.strerror))


def document(content: Mapping[str, Any]) -> None:
    """Print *content* as the one JSON document on stdout."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(printable(text) + "\n")


def remark(text: str) -> None:
    """Print one line on stderr, for people, where that can be done."""
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except OSError:
        _lead_nowhere(2)


def ended(session: str | None) -> str:
    """Return the line that tells which *session* was ended, None for none."""
    if session is None:
        return phrase("nothing was at rest")
    return phrase("ended session {session}", session=session)


def story(report: Mapping[str, Any]) -> list[str]:
    """Return the lines that tell a person what a report says."""
    is_rehearsal = report["snapshot"]["taken"] is False and report["consistency"] is None
    condition = phrase(
        "if there had been a snapshot" if is_rehearsal else "if a snapshot was taken"
    )
    level = report["consistency"] or f"{report['reached']} ({condition})"
    lines = [f"{level}, {report['outcome']} · session {report['session']} · {report['door']}"]
    lines += [f"  {_step(step)}" for step in report["steps"]]
    window = report["window"]
    if window is not None:
        held, frozen = _ms(window["held_s"]), _frozen(report)
        lines.append("  " + phrase("held {held}, frozen {frozen}", held=held, frozen=frozen))
    lines += [f"  {phrase('warning')}: {warning}" for warning in report["warnings"]]
    for error in report["errors"]:
        then = phrase("next: {action}", action=error["action"])
        lines += [f"  {error['name']}: {error['message']}", f"    {then}"]
    return lines


def _step(step: Mapping[str, Any]) -> str:
    took = _ms(step["end_s"] - step["begin_s"])
    reason = f" ({step['reason']})" if step.get("reason") else ""
    return f"{step['name']:<12} {step['status']:<8} {took:>10}{reason}"


def _frozen(report: Mapping[str, Any]) -> str:
    seconds = report["window"]["frozen_s"]
    if seconds is not None:
        return _ms(seconds)
    if any(mount["frozen"] == "door" for mount in report["mounts"]):
        return phrase("by the door")
    is_by_command = any(step["name"] == "freeze" for step in report["steps"])
    return phrase("by the command") if is_by_command else phrase("for an unknown time")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _lead_nowhere(descriptor: int) -> None:
    """Throw away what is still to be printed, so that it fails nothing at the end either."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, descriptor)
    os.close(null)
