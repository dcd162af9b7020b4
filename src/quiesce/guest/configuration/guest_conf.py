"""What `/etc/quiesce/guest.conf` says, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.configuration import ini
from quiesce.guest.configuration.excerpt import MOST_TOLD, excerpt, first_of
from quiesce.guest.configuration.nearest import nearest
from quiesce.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.configuration.ini import Entry

MOST_DEADLINE_S = 3600.0
_MOST_SCRIPT_S = 86400.0 * 7
_KNOWN = {"freeze": ("skip", "timeout_s", "deadline_s"), "scripts": ("max_timeout_s",)}


@dataclass(frozen=True)
class GuestConf:
    """The values, or their defaults; *has_app*: an application is declared, even a refused one."""

    skip: tuple[str, ...] = ()
    freeze_timeout_s: float = 10.0
    deadline_s: float = 60.0
    max_timeout_s: float = 1800.0
    has_app: bool = False
    errors: tuple[QuiesceError, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(data: bytes, *, source: str) -> GuestConf:
    """Read *data* of the file *source*; with errors in it, every value is its default."""
    reading = _Reading(source)
    try:
        conf = reading.read(ini.parse(data))
    except ini.NotIniError as exc:
        reading.wrong(str(exc))
        conf = GuestConf()
    if reading.errors:
        conf = GuestConf(has_app=conf.has_app)
    return reading.told(conf)


class _Reading:
    """Collects errors and warnings of one file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.errors: list[QuiesceError] = []
        self.warnings: list[str] = []

    def told(self, conf: GuestConf) -> GuestConf:
        """Return *conf* with what was found, of very many the first and the number of others."""
        return replace(
            conf,
            errors=first_of(self.errors, self._more_errors),
            warnings=first_of(self.warnings, self._more),
        )

    def _more(self, count: int) -> str:
        return phrase("{source}: {count} more are like that", source=self._source, count=count)

    def _more_errors(self, count: int) -> QuiesceError:
        message = "{source}: {count} more are wrong"
        return QuiesceError("IncorrectGuestConf", message, source=self._source, count=count)

    def wrong(self, said: str) -> None:
        """Keep one error."""
        error = QuiesceError(
            "IncorrectGuestConf",
            "{source}: {said}",
            source=self._source,
            said=said,
            action="mend it there, then: quiesce-guest check",
        )
        self.errors.append(error)

    def read(self, sections: dict[str, dict[str, Entry]]) -> GuestConf:
        """Return what the sections say."""
        has_app = False
        for name, entries in sections.items():
            if name.split(" ")[0] == "app":
                has_app = True
                self._read_app(name, entries)
            elif name not in _KNOWN:
                said = phrase("section [{section}] is unknown and ignored", section=excerpt(name))
                self._warn(said, name, [*_KNOWN])
            else:
                for key in entries:
                    if key not in _KNOWN[name]:
                        said = phrase("{key} is unknown and ignored", key=excerpt(key))
                        self._warn(f"{entries[key].key_place}: {said}", key, _KNOWN[name])
        freeze = sections.get("freeze", {})
        scripts = sections.get("scripts", {})
        deadline_s = self._seconds(freeze, "deadline_s", GuestConf.deadline_s, MOST_DEADLINE_S)
        return GuestConf(
            skip=self._paths(freeze.get("skip")),
            freeze_timeout_s=self._freeze_timeout(freeze, deadline_s),
            deadline_s=deadline_s,
            max_timeout_s=self._seconds(
                scripts, "max_timeout_s", GuestConf.max_timeout_s, _MOST_SCRIPT_S
            ),
            has_app=has_app,
        )

    def _read_app(self, name: str, entries: dict[str, Entry]) -> None:
        kind = entries.get("type")
        if kind is None:
            self.wrong(phrase("[{section}] has no type", section=excerpt(name)))
        else:
            template = "{place}: [{section}] has a type that is unknown here: {type}"
            section, found = excerpt(name), excerpt(kind.value)
            self.wrong(phrase(template, place=kind.place, section=section, type=found))

    def _paths(self, entry: Entry | None) -> tuple[str, ...]:
        if entry is None:
            return ()
        paths = tuple(path.strip() for path in entry.value.split(",") if path.strip())
        for path in paths:
            if not path.startswith("/"):
                template = "{place}: skip has {path!r}, which is no absolute path"
                self.wrong(phrase(template, place=entry.place, path=excerpt(path)))
        return paths

    def _freeze_timeout(self, freeze: dict[str, Entry], deadline_s: float) -> float:
        most_s = deadline_s / 2
        if "timeout_s" not in freeze:
            return min(GuestConf.freeze_timeout_s, most_s)
        return self._seconds(freeze, "timeout_s", GuestConf.freeze_timeout_s, most_s)

    def _seconds(self, section: dict[str, Entry], key: str, default: float, most: float) -> float:
        entry = section.get(key)
        if entry is None:
            return default
        seconds = entry.seconds()
        if seconds is None:
            template = "{place}: {key} is {found!r}; allowed is {allowed}"
            allowed, found = phrase("a number of seconds, more than 0"), excerpt(entry.value)
            self.wrong(phrase(template, place=entry.place, key=key, found=found, allowed=allowed))
            return default
        if seconds > most:
            template = "{place}: {key} is {found:g}, {used:g} is used"
            said = phrase(template, place=entry.place, key=key, found=seconds, used=most)
            self.warnings.append(f"{self._source}: {said}")
        return min(seconds, most)

    def _warn(self, message: str, word: str, known: Sequence[str]) -> None:
        near = nearest(word, known) if len(self.warnings) < MOST_TOLD else None
        hint = phrase("; did you mean {near}?", near=near) if near is not None else ""
        self.warnings.append(f"{self._source}: {message}{hint}")
