"""`explain`: say what an error means, and what to do about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.errors import KINDS, ExitStatus
from quiesce.guest.cli import output
from quiesce.guest.configuration.nearest import nearest

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from quiesce.errors import ErrorKind

_EXAMPLES = """\
examples:
  quiesce-guest explain Pre-ScriptTimeout
  quiesce-guest explain 316
  quiesce-guest explain                    the list of all errors
  LANG=it_IT.UTF-8 quiesce-guest explain insufficientpermissionforpre-script

Errors of quiesce, the program of the host, are explained too. The names and the numbers below 1000
are those of Azure Backup's page and of Microsoft's extension.

exit statuses: 0 explained, 2 there is no such error
"""
_FEWEST_LETTERS = 4


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `explain`."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "name",
        type=_kind,
        nargs="?",
        metavar="NAME",
        help="the error's name, in any case, or its number; all of them unless given",
    )


def run(arguments: Namespace) -> int:
    """Print one error, or the list."""
    kinds = list(KINDS.values()) if arguments.name is None else [arguments.name]
    if arguments.json:
        output.document({"errors": [_described(kind) for kind in kinds]})
    elif arguments.name is None:
        for kind in kinds:
            output.line(f"{kind.number:>4}  {kind.name}: {phrase(kind.when)}")
    else:
        for text in told(arguments.name):
            output.line(text)
    return 0


def find(word: str) -> ErrorKind | None:
    """Return the error that *word* names, by name in any case or by number; None where none is."""
    for kind in KINDS.values():
        if word.lower() == kind.name.lower() or word in map(str, (kind.number, *kind.also)):
            return kind
    return None


def alike(word: str) -> list[str]:
    """Return the names that have *word* in them, else the one that it is most like."""
    having = [name for name in KINDS if word.lower() in name.lower()]
    if having and len(word) >= _FEWEST_LETTERS:
        return having
    best = nearest(word, KINDS)
    return [] if best is None else [best]


def told(kind: ErrorKind) -> list[str]:
    """Return the lines that explain *kind*."""
    numbers = ", ".join(map(str, (kind.number, *kind.also)))
    return [
        f"{kind.name} ({numbers})",
        "  " + phrase("what happened: {when}", when=phrase(kind.when)),
        "  " + phrase("what to do: {action}", action=phrase(kind.action)),
        "  " + phrase("exit status: {statuses}", statuses=_statuses(kind)),
    ]


def _statuses(kind: ErrorKind) -> str:
    said = f"{kind.exit_status:d} ({phrase(kind.exit_status.meaning)})"
    if not kind.may_abort:
        return said
    instead = phrase(
        "{status} where continueBackupOnFailure is false and there are several disks",
        status=f"{ExitStatus.ABORTED:d} ({phrase(ExitStatus.ABORTED.meaning)})",
    )
    return f"{said}; {instead}"


def _described(kind: ErrorKind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "number": kind.number,
        "also": list(kind.also),
        "when": phrase(kind.when),
        "action": phrase(kind.action),
        "exit_status": int(kind.exit_status),
        "may_abort": kind.may_abort,
    }


def _kind(word: str) -> ErrorKind:
    kind = find(word)
    if kind is not None:
        return kind
    names = ", ".join(alike(word))
    if names:
        said = phrase("no error is called {word}; did you mean {names}?", word=word, names=names)
    else:
        said = phrase("no error is called {word}; list them: quiesce-guest explain", word=word)
    raise argparse.ArgumentTypeError(said)
