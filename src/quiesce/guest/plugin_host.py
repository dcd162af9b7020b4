"""What `VMSnapshotPluginHost.conf` says, and what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest import ini
from quiesce.guest.nearest import nearest
from quiesce.guest.plugin_config import PLUGIN_NAME
from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.guest.ini import Entry

_SECTION = "pre_post"
_MOST_PLUGINS = 100
_NUMBERED = re.compile(r"(pluginName|pluginPath|pluginConfigPath)([0-9]{1,3})")


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
    return PluginHost(
        tuple(reading.configs),
        reading.max_timeout_s,
        tuple(reading.errors),
        tuple(reading.warnings),
    )


class _Reading:
    """Collects what one file says."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.configs: list[str] = []
        self.max_timeout_s: float | None = None
        self.errors: list[QuiesceError] = []
        self.warnings: list[str] = []

    def wrong(self, message: str) -> None:
        """Keep one error."""
        self.errors.append(QuiesceError("IncorrectPluginhostFile", f"{self._source}: {message}"))

    def read(self, sections: dict[str, dict[str, Entry]]) -> None:
        """Read the one section that counts."""
        entries = sections.get(_SECTION)
        if entries is None:
            self.wrong(f"there is no section [{_SECTION}]")
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
            self.wrong(f"pluginName{number} is missing")
        elif name.value != PLUGIN_NAME:
            said = f"pluginName{number} is {name.value!r}; allowed is {PLUGIN_NAME}"
            self.wrong(f"line {name.line}: {said}")
        if config is None:
            self.wrong(f"pluginConfigPath{number} is missing")
        elif not config.value.startswith("/"):
            said = f"pluginConfigPath{number} is {config.value!r}, which is no absolute path"
            self.wrong(f"line {config.line}: {said}")
        elif config.value in self.configs:
            self.wrong(f"line {config.line}: {config.value} is listed twice")
        else:
            self.configs.append(config.value)

    def _read_count(self, entry: Entry | None, numbers: set[int]) -> None:
        if entry is None:
            self.wrong("numberOfPlugins is missing")
            return
        count = int(entry.value) if re.fullmatch("[0-9]{1,9}", entry.value) else 0
        if not 1 <= count <= _MOST_PLUGINS:
            allowed = f"an integer from 1 to {_MOST_PLUGINS}"
            said = f"numberOfPlugins is {entry.value!r}; allowed is {allowed}"
            self.wrong(f"line {entry.line}: {said}")
        elif numbers != set(range(count)):
            listed = ", ".join(map(str, sorted(numbers))) or "none"
            said = f"numberOfPlugins is {count}, but the plugins listed are: {listed}"
            self.wrong(f"line {entry.line}: {said}")

    def _read_timeout(self, entry: Entry | None) -> None:
        if entry is None:
            return
        try:
            seconds = float(entry.value)
        except ValueError:
            seconds = 0.0
        if 0 < seconds < float("inf"):
            self.max_timeout_s = seconds
        else:
            allowed = "a number of seconds, more than 0"
            said = f"timeoutInSeconds is {entry.value!r}; allowed is {allowed}"
            self.wrong(f"line {entry.line}: {said}")

    def _see_key(self, key: str, entry: Entry) -> None:
        known = ("timeoutInSeconds", "numberOfPlugins")
        if key in known or _NUMBERED.fullmatch(key):
            return
        near = nearest(key, (*known, "pluginName0", "pluginPath0", "pluginConfigPath0"))
        hint = f"; did you mean {near}?" if near is not None else ""
        said = f"line {entry.line}: {key} is unknown and ignored{hint}"
        self.warnings.append(f"{self._source}: {said}")
