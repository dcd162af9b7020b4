"""Open packs that are in the store already: nothing is taken as present without a look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import names, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quiesce.ports import BlobReader
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Place
    from quiesce.vault.format.names import PackName
    from quiesce.vault.format.sealing import DomainKeys


class PackTables:
    """The packs of one domain, as one session finds them; used by one thread.

    A pack is present where it is *usable* and its header and its table can be read; each is opened
    once. One that cannot be read, for whatever reason, is not: then its chunks are stored again.
    *absent* are the packs that were asked for and are not present.
    """

    def __init__(
        self,
        store: BlobReader,
        domain: Domain,
        keys: DomainKeys,
        *,
        usable: Callable[[PackName], bool] = lambda _: True,
    ) -> None:
        self._usable = usable
        self._store = store
        self._domain = domain.name
        self._vault_id = domain.head.vault_id
        self._keys = keys
        self._present: set[PackName] = set()
        self.absent: set[PackName] = set()

    def has(self, place: Place) -> bool:
        """Return whether all copies of the pack at *place* are present."""
        for name in place.packs:
            if name not in self._present and name not in self.absent:
                self.rows(name)
        return self.absent.isdisjoint(place.packs)

    def rows(self, name: PackName) -> Sequence[pack.Stored]:
        """Open the pack *name* and return its table; empty where it is not present."""
        try:
            rows = self._read(name) if self._usable(name) else None
        except (KeyError, ValueError, QuiesceError):
            rows = None
        if rows is None:
            self.absent.add(name)
            return ()
        self._present.add(name)
        return rows

    def _read(self, name: PackName) -> Sequence[pack.Stored]:
        blob = names.pack_name(self._domain, name)
        size = self._store.size(blob)
        header = self._store.get(blob, 0, pack.HEADER_BYTES)
        pack_seal = self._keys.pack(
            name.kind, *pack.parse_header(header, self._vault_id, name.kind)
        )
        trailer = self._store.get(blob, max(0, size - pack.TRAILER_BYTES), pack.TRAILER_BYTES)
        offset, length = pack.footer_range(trailer, size, pack_seal)
        return pack.parse_footer(self._store.get(blob, offset, length), trailer, pack_seal)
