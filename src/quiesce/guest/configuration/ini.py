"""Read the INI files of the guest: sections of `key = value` lines, and where each stands."""

from __future__ import annotations

import re

from quiesce.catalogue import phrase
from quiesce.guest.configuration.excerpt import excerpt
from quiesce.guest.configuration.place import Place
from quiesce.values import dataclass

_SECTION = re.compile(r"\[([^\[\]]+)\]")
_SIGN = re.compile(r"[=:]")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class NotIniError(ValueError):
    """The text is no INI file; the message names the place."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(f"{place}: {message}")


@dataclass(frozen=True)
class Entry:
    """One value; *place* is where it stands, *key_place* where its key does."""

    value: str
    place: Place
    key_place: Place

    def seconds(self) -> float | None:
        """Return the value as seconds, None where it is no plain number above 0."""
        seconds = float(self.value) if _SECONDS.fullmatch(self.value) else 0.0
        return seconds or None


def parse(data: bytes) -> dict[str, dict[str, Entry]]:
    """Return the sections of *data* with their entries, both in their order.

    A comment is a line that begins with `#` or `;`. Raises NotIniError for anything else that is
    neither a section nor an entry, for what stands twice, and where *data* is not UTF-8.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise NotIniError(
            phrase("byte 0x{byte:02x} is not UTF-8", byte=data[exc.start]),
            _place_of(data, exc.start),
        ) from None
    sections: dict[str, dict[str, Entry]] = {}
    current: dict[str, Entry] | None = None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        place = Place(number, len(line) - len(line.lstrip()) + 1)
        section = _SECTION.fullmatch(text)
        if section is not None:
            name = " ".join(section[1].split())
            if name in sections:
                template = "the section [{section}] stands twice"
                raise NotIniError(phrase(template, section=excerpt(name)), place)
            current = sections[name] = {}
        elif text and not text.startswith(("#", ";")):
            _read_entry(text, place, current)
    return sections


def _place_of(data: bytes, offset: int) -> Place:
    before = data[:offset].decode("utf-8")
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _read_entry(text: str, place: Place, section: dict[str, Entry] | None) -> None:
    sign = _SIGN.search(text)
    if sign is None or sign.start() == 0:
        template = "there must be [section] or key = value, found {found!r}"
        raise NotIniError(phrase(template, found=excerpt(text)), place)
    key, rest = text[: sign.start()].rstrip(), text[sign.end() :]
    if section is None:
        template = "{key} stands before the first section"
        raise NotIniError(phrase(template, key=excerpt(key)), place)
    if key in section:
        raise NotIniError(phrase("{key} stands twice", key=excerpt(key)), place)
    value = rest.lstrip()
    column = place.column + sign.end() + len(rest) - len(value)
    section[key] = Entry(value, Place(place.line, column), place)
