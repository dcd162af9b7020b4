"""Read JSON so strictly that a misread configuration is impossible, and say where it is wrong."""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError, decoder
from typing import Any

from quiesce.catalogue import phrase
from quiesce.guest.configuration.excerpt import excerpt
from quiesce.guest.configuration.place import Place
from quiesce.values import dataclass

_BLANK = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
_MOST_DEPTH = 32
_BOM = "\ufeff"


class NotJsonError(ValueError):
    """The text is not the JSON that is allowed here."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


@dataclass(frozen=True)
class Value:
    """A JSON value and where it begins; an object is a list of members, an array a list."""

    content: Any
    place: Place

    @property
    def found(self) -> str:
        """What this is, for people."""
        if isinstance(self.content, Object):
            return phrase("an object")
        if isinstance(self.content, list):
            return phrase("a list")
        if isinstance(self.content, str):
            return phrase('the string "{text}"', text=excerpt(self.content))
        words = {True: "true", False: "false", None: "null"}
        is_word = self.content is None or isinstance(self.content, bool)
        if is_word:
            return words[self.content]
        return phrase("the number {number}", number=self.content)


@dataclass(frozen=True)
class Member:
    """One key of an object, where it stands, and its value."""

    key: str
    place: Place
    value: Value


@dataclass(frozen=True)
class Object:
    """The members in their order; a key may occur twice: whoever asks decides."""

    members: tuple[Member, ...]


def parse(data: bytes) -> tuple[Value, tuple[NotJsonError, ...]]:
    """Return the one value in *data*, and complaints that left it readable (a byte order mark).

    Raises NotJsonError where *data* is not UTF-8 or not JSON.
    """
    complaints: tuple[NotJsonError, ...] = ()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode("utf-8")
        said = phrase("byte 0x{byte:02x} is not UTF-8", byte=data[exc.start])
        raise NotJsonError(said, _Lines(before).place(len(before))) from None
    if text.startswith(_BOM):
        said = phrase("there is a byte order mark; save the file as UTF-8 without one")
        complaints = (NotJsonError(said, Place(1, 1)),)
        text = text[1:]
    reader = _Reader(text)
    return reader.document(), complaints


class _Lines:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._begins = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._begins, offset)
        return Place(line, offset - self._begins[line - 1] + 1)


class _Reader:
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = _Lines(text)
        self._at = 0

    def document(self) -> Value:
        value = self._value(depth=0)
        if self._at < len(self._text):
            raise self._wrong(phrase("there is more after the end"))
        return value

    def _value(self, depth: int) -> Value:
        """Read a value and the blanks around it."""
        self._skip()
        place = self._place()
        first = self._text[self._at : self._at + 1]
        if depth > _MOST_DEPTH:
            raise self._wrong(phrase("it is nested too deeply"))
        content: Any
        if first == "{":
            content = self._object(depth)
        elif first == "[":
            content = self._array(depth)
        elif first == '"':
            content = self._string()
        else:
            content = self._word_or_number()
        self._skip()
        return Value(content, place)

    def _object(self, depth: int) -> Object:
        members: list[Member] = []
        self._take("{")
        while not self._is_end("}", first=not members):
            place = self._place()
            if not self._text.startswith('"', self._at):
                raise self._wrong(phrase("there must be a key in double quotes"))
            key = self._string()
            self._skip()
            self._take(":")
            members.append(Member(key, place, self._value(depth + 1)))
        return Object(tuple(members))

    def _array(self, depth: int) -> list[Value]:
        values: list[Value] = []
        self._take("[")
        while not self._is_end("]", first=not values):
            values.append(self._value(depth + 1))
        return values

    def _is_end(self, closing: str, *, first: bool) -> bool:
        """Take *closing*, or the comma before the next one; whether it was *closing*."""
        self._skip()
        if self._text.startswith(closing, self._at):
            self._at += 1
            return True
        if not first:
            self._take(",", or_else=closing)
            self._skip()
        return False

    def _string(self) -> str:
        try:
            text: str
            text, self._at = decoder.scanstring(self._text, self._at + 1, True)  # type: ignore[attr-defined]
        except JSONDecodeError as exc:
            self._at = exc.pos
            raise self._wrong(_scan_error(exc.msg)) from None
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise self._wrong(phrase("half of a surrogate pair is no character"))
        return text

    def _word_or_number(self) -> Any:
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            raise self._wrong(phrase("there must be a value"))
        self._at = match.end()
        if len(match[0]) > 40:
            raise self._wrong(phrase("the number is too long"))
        return float(match[0]) if match[2] or match[3] else int(match[1])

    def _take(self, character: str, *, or_else: str | None = None) -> None:
        if not self._text.startswith(character, self._at):
            if or_else is None:
                raise self._wrong(phrase("there must be {character}", character=character))
            template = "there must be {character} or {other}"
            raise self._wrong(phrase(template, character=character, other=or_else))
        self._at += 1

    def _skip(self) -> None:
        match = _BLANK.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _place(self) -> Place:
        return self._lines.place(self._at)

    def _wrong(self, said: str) -> NotJsonError:
        found = self._text[self._at : self._at + 1]
        if found:
            said = phrase("{said}, found {found!r}", said=said, found=found)
        else:
            said = phrase("{said}, the file ends", said=said)
        return NotJsonError(said, self._place())


def _scan_error(message: str) -> str:
    """Return what the standard library's reader of strings says, in the reader's language."""
    if message.startswith("Unterminated"):
        return phrase("unterminated string")
    if message.startswith("Invalid control character"):
        return phrase("control character in a string")
    return phrase("unknown escape in a string")
