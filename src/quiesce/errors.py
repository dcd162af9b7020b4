"""Every error that a user can see: a kind from the table, what happened, what to do next."""

from __future__ import annotations

from quiesce.catalogue import phrase
from quiesce.error_table import KINDS, ErrorKind, ExitStatus

__all__ = ["KINDS", "ErrorKind", "ExitStatus", "QuiesceError"]


class QuiesceError(Exception):
    """An error with a stable name for the reader.

    *message* is lowercase and without a full stop; *action* is the next step. Both have a default
    from the table for the name; an unknown *name* is a programming error (KeyError). Both are said
    in the reader's language, and with *values* both are templates that have a place for each.
    """

    def __init__(
        self, name: str, message: str, /, *, action: str | None = None, **values: object
    ) -> None:
        self.kind = KINDS[name]
        self.message = phrase(message, **values)
        self.action = phrase(self.kind.action) if action is None else phrase(action, **values)
        super().__init__(self.message)

    @property
    def name(self) -> str:
        """The stable name, as in the table."""
        return self.kind.name

    @property
    def number(self) -> int:
        """The number, as in the table."""
        return self.kind.number

    @property
    def exit_status(self) -> ExitStatus:
        """What a program that ends with this error exits with."""
        return self.kind.exit_status
