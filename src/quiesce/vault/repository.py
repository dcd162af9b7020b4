"""The vault: open it, list its recovery points, write one, read one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quiesce.model.point import PointSummary
    from quiesce.ports import BlobStore
    from quiesce.vault.reading import PointReader
    from quiesce.vault.session import WritingSession


class Vault:
    """A store with quiesce's format in it."""

    @classmethod
    def create(cls, store: BlobStore, *, encrypted: bool = False) -> Vault:
        """Make a vault in *store*."""
        raise NotImplementedError

    @classmethod
    def open(cls, store: BlobStore) -> Vault:
        """Open the vault in *store*."""
        raise NotImplementedError

    def points(self, machine: str | None = None) -> tuple[PointSummary, ...]:
        """Return the recovery points, oldest first."""
        raise NotImplementedError

    def find(self, selector: str) -> PointSummary:
        """Return the point that *selector* names."""
        raise NotImplementedError

    def session(
        self, *, machine: str, uuid: str | None, sid: str, same_machine: bool = False
    ) -> AbstractContextManager[WritingSession]:
        """Open the session *sid*."""
        raise NotImplementedError

    def read(self, point: PointSummary) -> PointReader:
        """Return a reader of *point*."""
        raise NotImplementedError
