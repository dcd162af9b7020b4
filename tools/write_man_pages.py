"""Write docs/man/*.N from *.N.in and the parsers; `--check`: say whether they are up to date.

In a source, `@VERBS@` stands for every verb with its options, as the parser has them, `@COMMON@`
for the options that all verbs have, `@EXIT@` for the exit statuses, `@VERSION@` for the version.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quiesce import __version__
from quiesce.cli.main import quiesce
from quiesce.errors import ExitStatus
from quiesce.guest.cli.main import parser_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = Path(__file__).resolve().parent.parent / "docs" / "man"
_COMMON_OF_HOST = {"config", "vault", "as_json", "quiet"}
_ONLY_OF_HOST = {ExitStatus.VAULT, ExitStatus.RESTORE, ExitStatus.VERIFICATION}


@dataclass(frozen=True)
class Verb:
    """One verb: its usage, what it does, (names, help) of its options, and what follows them."""

    usage: str
    about: str
    options: tuple[tuple[str, str], ...]
    more: str


def main() -> int:
    """Write the pages, or compare them; 1 where one differs."""
    status = 0
    for name, text in pages().items():
        target = _DIRECTORY / name
        if "--check" not in sys.argv[1:]:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"{name} is not that of the parsers: run tools/write_man_pages.py")
            status = 1
    return status


def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    host = tuple(host_verbs(quiesce, "quiesce"))
    statuses = set(ExitStatus)
    return {
        "quiesce.1": _page("quiesce.1.in", host, statuses),
        "quiesce-guest.8": _page(
            "quiesce-guest.8.in", tuple(guest_verbs()), statuses - _ONLY_OF_HOST
        ),
    }


def guest_verbs() -> Iterator[Verb]:
    """Return the verbs of `quiesce-guest`, in its own order."""
    for name in _choices(parser_for([])):
        verb = _choices(parser_for([name]))[name]
        yield Verb(
            usage=" ".join(verb.format_usage().removeprefix("usage: ").split()).replace(
                " ...", " -- COMMAND…"
            ),
            about=verb.description or "",
            options=tuple(_named(action) for action in _actions(verb)),
            more=verb.epilog or "",
        )


def host_verbs(command: click.Command, path: str) -> Iterator[Verb]:
    """Return the verbs of *command*, which is called by *path*, but for hidden ones."""
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            one = command.commands[name]
            if not one.hidden:
                yield from host_verbs(one, f"{path} {name}")
        return
    records = (
        parameter.get_help_record(context)
        for parameter in command.params
        if parameter.name not in _COMMON_OF_HOST
    )
    yield Verb(
        usage=" ".join(command.get_usage(context).removeprefix("Usage: ").split()),
        about=inspect.cleandoc(command.help or ""),
        options=tuple(record for record in records if record is not None and record[1]),
        more=command.epilog or "",
    )


def prose(text: str) -> str:
    """Return *text* as paragraphs; lines that are indented stand as they are."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", text.replace("\b\n", "").strip("\n")):
        lines: list[str] = []
        for line in [*block.splitlines(), ""]:
            if lines and line.startswith("  ") != lines[0].startswith("  "):
                parts.append(_block(lines))
                lines = []
            if line:
                lines.append(line)
        if lines:
            parts.append(_block(lines))
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Return *text* so that roff prints it and nothing else."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return re.sub(r"^(?=[.'])", r"\&", text, flags=re.MULTILINE)


def _block(lines: list[str]) -> str:
    if lines[0].startswith("  "):
        return "\n".join([".PP", ".EX", *(escaped(line) for line in lines), ".EE"])
    return ".PP\n" + escaped(" ".join(line.strip() for line in lines))


def _page(source: str, verbs: tuple[Verb, ...], statuses: set[ExitStatus]) -> str:
    common = [
        record
        for parameter in quiesce.params
        if (record := parameter.get_help_record(click.Context(quiesce))) is not None
    ]
    made = {
        "@VERBS@": "\n".join(_verb(verb) for verb in verbs),
        "@COMMON@": "\n".join(_option(*record) for record in common),
        "@EXIT@": "\n".join(_option(f"{status:d}", status.meaning) for status in sorted(statuses)),
        "@VERSION@": __version__,
    }
    text = (_DIRECTORY / source).read_text(encoding="utf-8")
    for mark, content in made.items():
        text = text.replace(mark, content)
    return f'.\\" Made from {source} by tools/write_man_pages.py: change that.\n{text}'


def _verb(verb: Verb) -> str:
    program, *words = verb.usage.split(" ")
    name = " ".join(word for word in words if word.isalpha() and word.islower())
    parts = [f".SS {escaped(name)}", f".B {escaped(program)}", escaped(" ".join(words))]
    parts += [prose(verb.about), *(_option(*option) for option in verb.options)]
    return "\n".join(part for part in [*parts, prose(verb.more) if verb.more else ""] if part)


def _option(names: str, text: str) -> str:
    return f".TP\n.B {escaped(names)}\n{escaped(text)}".rstrip("\n")


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    known = parser._actions  # noqa: SLF001 - argparse has no other way to ask for them
    return [action for action in known if not isinstance(action, argparse._HelpAction)]  # noqa: SLF001 - same


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - same
            return dict(action.choices)
    raise LookupError("the program has no verbs")


def _named(action: argparse.Action) -> tuple[str, str]:
    value = str(action.metavar or "")
    if not value and action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    elif not value and action.nargs != 0:
        value = action.dest.upper()
    return " ".join([", ".join(action.option_strings), value]).strip(), action.help or ""


if __name__ == "__main__":
    sys.exit(main())
