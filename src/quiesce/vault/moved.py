"""Where chunks of repacked packs lie now, as the log and its move tables say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import moves
from quiesce.vault.format.map import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Place
    from quiesce.vault.format.names import PackName

_Table = dict[tuple["PackName", int], tuple["Place", int]]


class Moved:
    """Follows what was repacked in one domain; several threads may use it at once."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._tables: dict[Ref, _Table] = {}
        self._lock = threading.RLock()

    def current(self, ref: Ref, read: Callable[[Ref], bytes]) -> Ref:
        """Return where the chunk at *ref* lies now; *read* reads a chunk where it is told to.

        Raises QuiesceError VaultDamaged where no table tells.
        """
        moved = self._domain.state.moved
        if not moved:
            return ref
        while ref.place.pack in moved:
            table = moved[ref.place.pack]
            found = None
            if table is not None:
                found = self._table(table, read).get((ref.place.pack, ref.offset))
            if found is None:
                raise QuiesceError(
                    "VaultDamaged", f"no table tells where {ref.place.pack.text} was moved to"
                )
            ref = Ref(ref.chunk_id, *found, ref.stored_bytes, ref.flags)
        return ref

    def refresh(self) -> bool:
        """Fold on; return whether there was anything new."""
        with self._lock:
            before = self._domain.state.tail
            return self._domain.refresh().tail != before

    def _table(self, ref: Ref, read: Callable[[Ref], bytes]) -> _Table:
        with self._lock:
            if ref not in self._tables:
                raw = read(self.current(ref, read))
                try:
                    rows = moves.parse(raw)
                except ValueError as exc:
                    raise QuiesceError(
                        "VaultDamaged", f"the move table in {ref.place.pack.text} is damaged: {exc}"
                    ) from exc
                self._tables[ref] = {
                    (row.source.pack, row.source_offset): (row.target, row.target_offset)
                    for row in rows
                }
            return self._tables[ref]
