"""Go on with what an interrupted session has uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.vault.format import names
from quiesce.vault.format.map import Place
from quiesce.vault.packer import Spot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quiesce.ports import BlobReader
    from quiesce.vault.copying import ChunkIndex
    from quiesce.vault.format.names import PackName
    from quiesce.vault.packer import PackWriter
    from quiesce.vault.tables import PackTables


def packs_in_store(store: BlobReader, domain: str, sids: Iterable[str]) -> Iterator[PackName]:
    """Yield the packs of the sessions *sids* that the store has."""
    for sid in sids:
        prefix = names.packs_prefix(domain, sid)
        for name in store.list(prefix):
            try:
                found = names.parse_pack(f"{sid}/{name[len(prefix) :]}")
            except ValueError:
                continue  # Not a pack; nothing of ours is called so.
            yield found


def adopt(
    found: Iterable[PackName], *, packs: PackWriter, tables: PackTables, index: ChunkIndex
) -> None:
    """Put the chunks of the data packs among *found* into *index*; unreadable packs add nothing."""
    for name in found:
        if index.full:
            return
        if name.kind == names.DATA:
            number = packs.number_of(Place(name))
            for row in tables.rows(name):
                index.put(Spot(row.chunk_id, number, row.offset, row.stored_bytes, row.flags))
