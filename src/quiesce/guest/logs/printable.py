"""Make foreign text harmless to terminals: scripts and paths may contain anything."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return *text* on one line, with control and other unprintable characters as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return "\\t" if character == "\t" else character.encode("unicode_escape").decode("ascii")
