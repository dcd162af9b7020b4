"""Where in a text something stands."""

from __future__ import annotations

from quiesce.catalogue import phrase
from quiesce.values import dataclass


@dataclass(frozen=True)
class Place:
    """A place in a text; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return phrase("line {line}, column {column}", line=self.line, column=self.column)
