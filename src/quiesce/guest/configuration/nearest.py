"""Guess which known word a misspelt one was meant to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_EDITS_OF = 3


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the *known* word that *word* is most like, None where it is like none of them.

    Alike: at most one edit for every three letters, without regard to case.
    """
    scored = [(_edits(word.lower(), each.lower()), each) for each in known]
    edits, best = min(scored, default=(len(word), ""))
    return best if edits * _MOST_EDITS_OF <= max(len(word), _MOST_EDITS_OF) else None


def _edits(one: str, other: str) -> int:
    """Return how many letters must be inserted, removed or changed (Levenshtein)."""
    if len(one) > 100:
        return len(one)
    row = list(range(len(other) + 1))
    for index, letter in enumerate(one, 1):
        diagonal, row[0] = row[0], index
        for column, against in enumerate(other, 1):
            substituted = diagonal + (letter != against)
            diagonal = row[column]
            row[column] = min(substituted, row[column] + 1, row[column - 1] + 1)
    return row[-1]
