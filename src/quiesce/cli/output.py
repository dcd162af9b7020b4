"""What a person and a machine read: tables and progress on stderr, one JSON document on stdout."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from quiesce.errors import QuiesceError
    from quiesce.ports import Progress as ProgressPort

_STEP = 1024
_WIDE = 500


class Output:
    """Where everything that a verb says goes; `--json` keeps stdout for the one document."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._messages = Console(stderr=True, highlight=False)
        # A program that reads us wants whole lines.
        width = None if sys.stdout.isatty() else _WIDE
        self._answer = Console(highlight=False, soft_wrap=width is not None, width=width)

    def answer(self, document: Mapping[str, Any], *text: object) -> None:
        """Give the verb's answer: *document* with `--json`, else *text* (rich renderables)."""
        if self.as_json:
            print_json(document)
            return
        self.tell(*text)

    def tell(self, *text: object) -> None:
        """Give a part of the answer to a person; `--json` has it in the document."""
        if not self.as_json:
            for part in text:
                self._answer.print(part)

    def say(self, message: str) -> None:
        """Tell the person something on the way; nothing with `--quiet`."""
        if not self._quiet:
            self._messages.print(message)

    def error(self, error: QuiesceError) -> None:
        """Print *error* with its action, and as the document with `--json`."""
        if self.as_json:
            print_json({"error": error_document(error)})
        self._messages.print(f"[bold red]{error.name}[/]: ", end="")
        self._messages.print(_printable(error.message), markup=False)
        self._messages.print(f"  next: {_printable(error.action)}", markup=False)

    def usage(self, message: str) -> None:
        """Print the document of a usage error with `--json`; the person has been told."""
        if self.as_json:
            document = {"name": "Usage", "message": message, "action": "see --help"}
            print_json({"error": {**document, "exit_status": int(ExitStatus.USAGE)}})

    def unexpected(self, message: str) -> None:
        """Print that a bug was met, and where the details are."""
        if self.as_json:
            document = {"name": "Unexpected", "message": message, "action": "", "exit_status": 1}
            print_json({"error": document})
        self._messages.print(message, markup=False, style="bold red")

    @contextmanager
    def progress(self) -> Iterator[ProgressPort]:
        """Show progress while the context lasts: bars on a terminal, a line a stage elsewhere."""
        if self._quiet:
            yield _Silent()
        elif self._messages.is_terminal:
            with _bars(self._messages) as bars:
                yield _Bars(bars)
        else:
            yield _Lines(self._messages)


def print_json(document: Mapping[str, Any]) -> None:
    """Write *document* to stdout as JSON."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def error_document(error: QuiesceError) -> dict[str, Any]:
    """Return *error* as the ERROR of the JSON contract."""
    return {
        "name": error.name,
        "message": error.message,
        "action": error.action,
        "exit_status": int(error.exit_status),
    }


def size(number: int) -> str:
    """Return *number* bytes for a person: 1.5 GiB."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _STEP:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} TiB"


def shown(text: object) -> str:
    """Return *text*, which may be hostile, as it may stand in rich's markup on a terminal."""
    return escape(_printable(str(text)))


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Silent:
    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """Show nothing."""

    def advance(self, done_bytes: int) -> None:
        """Show nothing."""


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        amount = "" if total_bytes is None else f" ({size(total_bytes)})"
        self._console.print(f"{name}{amount} …", markup=False)

    def advance(self, done_bytes: int) -> None:
        """A log has no moving bar."""


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._lock = threading.Lock()

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        with self._lock:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(name, total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        with self._lock:
            if self._task is not None:
                self._bars.advance(self._task, done_bytes)
