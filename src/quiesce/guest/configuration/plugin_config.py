"""What one VMSnapshotPluginConfig.json says, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quiesce.catalogue import mark, phrase
from quiesce.errors import QuiesceError
from quiesce.guest.configuration import config_json
from quiesce.guest.configuration.excerpt import MOST_TOLD, excerpt, first_of
from quiesce.guest.configuration.nearest import nearest
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.guest.configuration.config_json import Member, Value
    from quiesce.guest.configuration.place import Place

MOST_BYTES = 1024 * 1024
PLUGIN_NAME = "ScriptRunner"
DEFAULT_TIMEOUT_S = 30.0

_MOST_RETRIES = 1_000_000
_MOST_TIMEOUT_S = 1e9
_IGNORED = frozenset({"ScriptsExecutionPollTimeSeconds", "appName"})
_REQUIRED = ("preScriptLocation", "postScriptLocation")


@dataclass(frozen=True)
class _Kind:
    """What a key may hold: *allowed* says it for people."""

    allowed: str
    accepts: Callable[[Value], bool]


@dataclass(frozen=True)
class PluginConfig:
    """What a file says: *values* of the known keys that are there and valid.

    *errors* are all IncorrectJSONConfigFile; with one of them the file is refused.
    """

    values: dict[str, Any]
    errors: tuple[QuiesceError, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def get(self, key: str, default: Any) -> Any:
        """Return the valid value of *key*, else *default*."""
        return self.values.get(key, default)


def parse(data: bytes, *, source: str) -> PluginConfig:
    """Read the plugin configuration *data* of the file *source*; never raises for what it says."""
    if len(data) > MOST_BYTES:
        said = "{source}: it is larger than 1 MiB"
        return _unreadable(QuiesceError("IncorrectJSONConfigFile", said, source=source))
    try:
        document, complaints = config_json.parse(data)
    except config_json.NotJsonError as exc:
        return _unreadable(_error(source, exc.place, exc.message))
    found = _Findings(source)
    for complaint in complaints:
        found.wrong(complaint.message, complaint.place)
    if isinstance(document.content, config_json.Object):
        found.read(document.content.members, document.place)
    else:
        said = phrase("it must be an object, found {found}", found=document.found)
        found.wrong(said, document.place)
    return found.told()


def _unreadable(error: QuiesceError) -> PluginConfig:
    return PluginConfig({}, (error,), (), ())


def _error(source: str, place: Place, said: str) -> QuiesceError:
    message = "{source}: {place}: {said}"
    return QuiesceError(
        "IncorrectJSONConfigFile",
        message,
        source=source,
        place=place,
        said=said,
        action="mend it there, then: quiesce-guest check",
    )


class _Findings:
    """Collects what the members of the one object say."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.values: dict[str, Any] = {}
        self.errors: list[QuiesceError] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def told(self) -> PluginConfig:
        """Return all that was found, of very many findings the first and the number of others."""
        return PluginConfig(
            self.values,
            first_of(self.errors, self._more_errors),
            first_of(self.warnings, self._more),
            tuple(self.notes),
        )

    def _more(self, count: int) -> str:
        return phrase("{source}: {count} more are like that", source=self._source, count=count)

    def _more_errors(self, count: int) -> QuiesceError:
        message = "{source}: {count} more are wrong"
        return QuiesceError("IncorrectJSONConfigFile", message, source=self._source, count=count)

    def wrong(self, said: str, place: Place) -> None:
        """Keep one error."""
        self.errors.append(_error(self._source, place, said))

    def read(self, members: tuple[Member, ...], place: Place) -> None:
        """Read all members, and miss those that must be there."""
        seen: dict[str, Place] = {}
        for member in members:
            if member.key in seen:
                template = "{key} stands twice, first in {place}"
                said = phrase(template, key=excerpt(member.key), place=seen[member.key])
                self.wrong(said, member.place)
                self.values.pop(member.key, None)
                continue
            seen[member.key] = member.place
            self._read_member(member)
        for key in _REQUIRED:
            if key not in seen:
                said = phrase("{key} is missing; an absolute path is allowed", key=key)
                self.wrong(said, place)

    def _read_member(self, member: Member) -> None:
        kind = _KEYS.get(member.key)
        if kind is None:
            self._read_unknown(member)
        elif not kind.accepts(member.value):
            template = "{key} is {found}; allowed is {allowed}"
            found, allowed = member.value.found, phrase(kind.allowed)
            said = phrase(template, key=member.key, found=found, allowed=allowed)
            self.wrong(said, member.value.place)
        else:
            self.values[member.key] = _plain(member.value)

    def _read_unknown(self, member: Member) -> None:
        if member.key in _IGNORED:
            said = phrase("{key} is accepted and has no effect", key=member.key)
            self.notes.append(f"{self._source}: {said}")
            return
        known = {key.lower(): key for key in (*_KEYS, *_IGNORED)}
        meant = known.get(member.key.lower())
        if meant is not None:
            said = phrase("{key} is misspelt; allowed is {meant}", key=member.key, meant=meant)
            self.wrong(said, member.place)
            return
        near = nearest(member.key, known.values()) if len(self.warnings) < MOST_TOLD else None
        hint = phrase("; did you mean {near}?", near=near) if near is not None else ""
        said = phrase("{key} is unknown and ignored", key=excerpt(member.key))
        self.warnings.append(f"{self._source}: {member.place}: {said}{hint}")


def _plain(value: Value) -> Any:
    if isinstance(value.content, list):
        strings = tuple(item.content for item in value.content)
        return strings if any(strings) else ()
    return value.content


def _is_text(value: Value) -> bool:
    return isinstance(value.content, str) and "\0" not in value.content


def _is_texts(value: Value) -> bool:
    return isinstance(value.content, list) and all(_is_text(item) for item in value.content)


def _is_count(value: Value) -> bool:
    number = value.content
    is_integer = isinstance(number, int) and not isinstance(number, bool)
    return is_integer and 0 <= number <= _MOST_RETRIES


def _is_time(value: Value) -> bool:
    number = value.content
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return is_number and 0 < number <= _MOST_TIMEOUT_S


_TEXT = _Kind(mark("a string"), _is_text)
_TEXTS = _Kind(mark('a list of strings, such as ["one", "two"]'), _is_texts)
_COUNT = _Kind(mark("an integer from 0 to 1000000"), _is_count)
_BOOLEAN = _Kind(
    mark("true or false, without quotes"), lambda value: isinstance(value.content, bool)
)
_KEYS = {
    "pluginName": _Kind(f'"{PLUGIN_NAME}"', lambda value: value.content == PLUGIN_NAME),
    "preScriptLocation": _TEXT,
    "postScriptLocation": _TEXT,
    "preScriptParams": _TEXTS,
    "postScriptParams": _TEXTS,
    "preScriptNoOfRetries": _COUNT,
    "postScriptNoOfRetries": _COUNT,
    "timeoutInSeconds": _Kind(mark("a number of seconds, more than 0"), _is_time),
    "continueBackupOnFailure": _BOOLEAN,
    "fsFreezeEnabled": _BOOLEAN,
}
