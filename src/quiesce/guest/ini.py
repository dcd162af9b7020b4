"""Read the INI files of the guest: sections of `key = value` lines, and where each stands."""

from __future__ import annotations

import re

from quiesce.catalogue import phrase
from quiesce.values import dataclass

_SECTION = re.compile(r"\[([^\[\]]+)\]\s*")
_ENTRY = re.compile(r"([^=:\s][^=:]*?)\s*[=:]\s*(.*?)\s*")


class NotIniError(ValueError):
    """The text is no INI file; the message names the line."""


@dataclass(frozen=True)
class Entry:
    """One value and the number of its line."""

    value: str
    line: int


def parse(data: bytes) -> dict[str, dict[str, Entry]]:
    """Return the sections of *data* with their entries, both in their order.

    A comment is a line that begins with `#` or `;`. Raises NotIniError for anything else that is
    neither a section nor an entry, for what stands twice, and where *data* is not UTF-8.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        said = phrase(
            "line {line}: byte 0x{byte:02x} is not UTF-8", line=line, byte=data[exc.start]
        )
        raise NotIniError(said) from None
    sections: dict[str, dict[str, Entry]] = {}
    current: dict[str, Entry] | None = None
    for number, text in enumerate((line.strip() for line in lines), 1):
        section = _SECTION.fullmatch(text)
        if section is not None:
            name = " ".join(section[1].split())
            if name in sections:
                template = "line {line}: the section [{section}] stands twice"
                raise NotIniError(phrase(template, line=number, section=name))
            current = sections[name] = {}
        elif text and not text.startswith(("#", ";")):
            _read_entry(text, number, current)
    return sections


def _read_entry(text: str, number: int, section: dict[str, Entry] | None) -> None:
    entry = _ENTRY.fullmatch(text)
    if entry is None:
        template = "line {line}: there must be [section] or key = value, found {found!r}"
        raise NotIniError(phrase(template, line=number, found=text))
    if section is None:
        template = "line {line}: {key} stands before the first section"
        raise NotIniError(phrase(template, line=number, key=entry[1]))
    if entry[1] in section:
        raise NotIniError(phrase("line {line}: {key} stands twice", line=number, key=entry[1]))
    section[entry[1]] = Entry(entry[2], number)
