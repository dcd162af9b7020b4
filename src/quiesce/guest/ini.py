"""Read the INI files of the guest: sections of `key = value` lines, and where each stands."""

from __future__ import annotations

import re

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
        raise NotIniError(f"line {line}: byte 0x{data[exc.start]:02x} is not UTF-8") from None
    sections: dict[str, dict[str, Entry]] = {}
    current: dict[str, Entry] | None = None
    for number, text in enumerate((line.strip() for line in lines), 1):
        section = _SECTION.fullmatch(text)
        if section is not None:
            name = " ".join(section[1].split())
            if name in sections:
                raise NotIniError(f"line {number}: the section [{name}] stands twice")
            current = sections[name] = {}
        elif text and not text.startswith(("#", ";")):
            _read_entry(text, number, current)
    return sections


def _read_entry(text: str, number: int, section: dict[str, Entry] | None) -> None:
    entry = _ENTRY.fullmatch(text)
    if entry is None:
        raise NotIniError(f"line {number}: there must be [section] or key = value, found {text!r}")
    if section is None:
        raise NotIniError(f"line {number}: {entry[1]} stands before the first section")
    if entry[1] in section:
        raise NotIniError(f"line {number}: {entry[1]} stands twice")
    section[entry[1]] = Entry(entry[2], number)
