"""What `VMSnapshotPluginHost.conf` says, and what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.configuration import ini
from quiesce.guest.configuration.excerpt import MOST_TOLD, excerpt, first_of
from quiesce.guest.configuration.nearest import nearest
from quiesce.guest.configuration.plugin_config import PLUGIN_NAME
from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.guest.configuration.ini import Entry

_SECTION = "pre_post"
_MOST_PLUGINS = 100
_NUMBERED = re.compile(r"(pluginName|pluginPath|pluginConfigPath)(0|[1-9][0-9]{0,2})")


@dataclass(frozen=True)
class PluginHost:
    """The plugin configurations in their order, and the cap for every script (None: no cap here).

    With *errors* the file is refused; *configs* are then those that could still be read.
    """

    configs: tuple[str, ...] = ()
    max_timeout_s: float | None = None
    errors: tuple[QuiesceError, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(data: bytes, *, source: str) -> PluginHost:
    """Read the plugin host file *data* of the file *source*; never raises for what it says."""
    reading = _Reading(source)
    try:
        reading.read(ini.parse(data))
    except ini.NotIniError as exc:
        reading.wrong(str(exc))
    return reading.told()


class _Reading:
    """Collects what one file says."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.configs: list[str] = []
        self.max_timeout_s: float | None = None
        self.errors: list[QuiesceError] = []
        self.warnings: list[str] = []

    def told(self) -> PluginHost:
        """Return all that was found, of very many findings the first and the number of others."""
        return PluginHost(
            tuple(self.configs),
            self.max_timeout_s,
            first_of(self.errors, self._more_errors),
            first_of(self.warnings, self._more),
        )

    def _more(self, count: int) -> str:
        return phrase("{source}: {count} more are like that", source=self._source, count=count)

    def _more_errors(self, count: int) -> QuiesceError:
        message = "{source}: {count} more are wrong"
        return QuiesceError("IncorrectPluginhostFile", message, source=self._source, count=count)

    def wrong(self, said: str) -> None:
        """Keep one error."""
        error = QuiesceError(
            "IncorrectPluginhostFile",
            "{source}: {said}",
            source=self._source,
            said=said,
            action="mend it there, then: quiesce-guest check",
        )
        self.errors.append(error)

    def _missing(self, key: str) -> None:
        self.wrong(phrase("{key} is missing", key=key))

    def _refuse(self, key: str, entry: Entry, allowed: str) -> None:
        template = "{place}: {key} is {found!r}; allowed is {allowed}"
        found = excerpt(entry.value)
        self.wrong(phrase(template, place=entry.place, key=key, found=found, allowed=allowed))

    def read(self, sections: dict[str, dict[str, Entry]]) -> None:
        """Read the one section that counts."""
        entries = sections.get(_SECTION)
        if entries is None:
            self.wrong(phrase("there is no section [{section}]", section=_SECTION))
            return
        numbers = {int(match[2]) for match in map(_NUMBERED.fullmatch, entries) if match}
        for number in sorted(numbers):
            self._read_plugin(number, entries)
        self._read_count(entries.get("numberOfPlugins"), numbers)
        self._read_timeout(entries.get("timeoutInSeconds"))
        for key, entry in entries.items():
            self._see_key(key, entry)

    def _read_plugin(self, number: int, entries: dict[str, Entry]) -> None:
        name = entries.get(f"pluginName{number}")
        config = entries.get(f"pluginConfigPath{number}")
        if name is None:
            self._missing(f"pluginName{number}")
        elif name.value != PLUGIN_NAME:
            self._refuse(f"pluginName{number}", name, PLUGIN_NAME)
        if config is None:
            self._missing(f"pluginConfigPath{number}")
        elif not config.value.startswith("/"):
            template = "{place}: {key} is {found!r}, which is no absolute path"
            key, found = f"pluginConfigPath{number}", excerpt(config.value)
            self.wrong(phrase(template, place=config.place, key=key, found=found))
        elif config.value in self.configs:
            template = "{place}: {path} is listed twice"
            self.wrong(phrase(template, place=config.place, path=excerpt(config.value)))
        else:
            self.configs.append(config.value)

    def _read_count(self, entry: Entry | None, numbers: set[int]) -> None:
        if entry is None:
            self._missing("numberOfPlugins")
            return
        count = int(entry.value) if re.fullmatch("[0-9]{1,9}", entry.value) else 0
        if not 1 <= count <= _MOST_PLUGINS:
            allowed = phrase("an integer from 1 to {most}", most=_MOST_PLUGINS)
            self._refuse("numberOfPlugins", entry, allowed)
        elif numbers != set(range(count)):
            listed = excerpt(", ".join(map(str, sorted(numbers)))) or phrase("none")
            template = "numberOfPlugins is {count}, but the plugins listed are: {listed}"
            said = phrase(template, count=count, listed=listed)
            self.wrong(phrase("{place}: {said}", place=entry.place, said=said))

    def _read_timeout(self, entry: Entry | None) -> None:
        if entry is None:
            return
        self.max_timeout_s = entry.seconds()
        if self.max_timeout_s is None:
            self._refuse("timeoutInSeconds", entry, phrase("a number of seconds, more than 0"))

    def _see_key(self, key: str, entry: Entry) -> None:
        known: tuple[str, ...] = ("timeoutInSeconds", "numberOfPlugins")
        if key in known or _NUMBERED.fullmatch(key):
            return
        known = (*known, "pluginName0", "pluginPath0", "pluginConfigPath0")
        near = nearest(key, known) if len(self.warnings) < MOST_TOLD else None
        hint = phrase("; did you mean {near}?", near=near) if near is not None else ""
        said = phrase("{key} is unknown and ignored", key=excerpt(key))
        self.warnings.append(f"{self._source}: {entry.key_place}: {said}{hint}")
