"""What is told of something that may be very long."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_TOLD = 20

_MOST_CHARACTERS = 60
_T = TypeVar("_T")


def excerpt(text: str) -> str:
    """Return *text*, or its beginning and an ellipsis."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def first_of(told: Sequence[_T], rest: Callable[[int], _T]) -> tuple[_T, ...]:
    """Return the first twenty of *told*, and for the others together *rest* of their number."""
    more = len(told) - MOST_TOLD
    return (*told[:MOST_TOLD], rest(more)) if more > 0 else tuple(told)
