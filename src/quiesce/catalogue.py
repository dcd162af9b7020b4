"""Say every text in the language of whoever runs the program.

The texts stand in English where they are used; other languages have a gettext catalogue of them
(`locale/`). Unless the environment asks for such a language nothing is imported or read.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LANGUAGES = frozenset({"it"})
_UNTRANSLATED = frozenset({"", "C", "POSIX"})


def phrase(template: str, /, **values: object) -> str:
    """Return *template* in the process's language, with *values* in its places.

    Without values it is never formatted: it may have braces. A translation that the values do not
    fit (a damaged catalogue) counts as missing; missing ones are said in English.
    """
    said = translation()(template)
    if not values:
        return said
    try:
        return said.format(**values)
    except (LookupError, ValueError, TypeError, AttributeError):
        return template.format(**values)


def mark(text: str) -> str:
    """Return *text* as it is: it belongs into the catalogue, and `phrase` says it later."""
    return text


@cache
def translation() -> Callable[[str], str]:
    """Return what translates into the language that the environment asks for.

    The catalogue is read once, by the first call: whoever must not read later calls this before.
    """
    language = language_of(os.environ)
    return _as_it_is if language is None else _load(language)


def language_of(environ: Mapping[str, str]) -> str | None:
    """Return the first language of *environ* that there is a catalogue of, None for English.

    As gettext does: LC_ALL, LC_MESSAGES or LANG, whichever is set first, says whether texts are
    translated at all, and LANGUAGE, a list, into which language.
    """
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((environ[name] for name in names if environ.get(name)), "")
    if locale.partition(".")[0] in _UNTRANSLATED:
        return None
    for wanted in (environ.get("LANGUAGE") or locale).split(":"):
        language = wanted.partition(".")[0].partition("@")[0].partition("_")[0]
        if language in _LANGUAGES:
            return language
        if language in {"en", "C", "POSIX"}:
            return None
    return None


def _as_it_is(text: str) -> str:
    return text


def _load(language: str) -> Callable[[str], str]:
    import gettext  # noqa: PLC0415 - English needs none of this, and must start quickly
    import io  # noqa: PLC0415 - same

    path = f"{__file__.rpartition('/')[0]}/locale/{language}/LC_MESSAGES/quiesce.mo"
    try:  # we may lie in an archive: only our loader can read it then
        known = gettext.GNUTranslations(io.BytesIO(globals()["__loader__"].get_data(path)))
    except Exception:  # noqa: BLE001 - whatever is wrong with a catalogue, there is English
        return _as_it_is
    return lambda text: known.gettext(text) if text else text
