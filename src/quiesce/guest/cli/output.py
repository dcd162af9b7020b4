"""What the verbs print: one JSON document, or lines for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.guest.logs.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


def document(content: Mapping[str, Any]) -> None:
    """Print *content* as the one JSON document on stdout."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(printable(text) + "\n")


def remark(text: str) -> None:
    """Print one line on stderr, for people."""
    sys.stderr.write(printable(text) + "\n")


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
        held, frozen = _ms(window["held_s"]), _ms(window["frozen_s"])
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


def _ms(seconds: float | None) -> str:
    return phrase("by the door") if seconds is None else f"{seconds * 1000:.1f} ms"
