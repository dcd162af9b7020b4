"""A store's failure that may pass."""

from __future__ import annotations

from quiesce.errors import QuiesceError


class PassingFailure(QuiesceError):  # noqa: N818  # it is the VaultUnavailable of the table
    """VaultUnavailable where asking again may help; whether a blob was created is unknown."""

    def __init__(self, message: str, /) -> None:
        super().__init__("VaultUnavailable", message)
