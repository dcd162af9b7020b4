"""Mend: a damaged pack of which every chunk in use can be had is replaced by a whole one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault import ledger
from quiesce.vault.format import chunk, names, pack
from quiesce.vault.format import map as maps
from quiesce.vault.format.pack import FRAME_BYTES, HEADER_BYTES
from quiesce.vault.reading import PointReader
from quiesce.vault.repacking import Known, Repacked, Repacker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.ports import BlobStore
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Place, Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.reading import DiskMap


def mend(store: BlobStore, domain: Domain) -> Repacked:
    """Replace the packs of *domain* that a scrub found damaged, where nothing of them is lost.

    A chunk is taken from the pack itself, from its second copy, or from where a later backup has
    stored it again; points that need it are whole afterwards. A pack with a chunk that is nowhere
    stays as it is, so that a copy of it can still be brought back. Raises QuiesceError VaultDamaged
    where a map cannot be read, and what the store raises; no point is changed then.
    """
    damaged = [pack for pack in ledger.damaged(store, domain.name) if pack in domain.state.lists]
    if not damaged:
        return Repacked()
    known = Known(store, domain)
    places = [place for place in known.usage.places() if not set(place.packs).isdisjoint(damaged)]
    mender = _Mender(store, domain, places)
    chosen = [place for place in places if mender.has_all(place, known.usage.frames(place))]
    return mender.run(known, chosen) if chosen else Repacked()


class _Mender(Repacker):
    """A repack that takes chunks from wherever they are."""

    def __init__(self, store: BlobStore, domain: Domain, places: Sequence[Place]) -> None:
        super().__init__(store, domain)
        broken = frozenset(places)
        self._lost: dict[tuple[Place, int], Ref] = {}
        self._spares: dict[tuple[bytes, int, int], Ref] = {}
        for ref in self._refs():
            if ref.place in broken:
                self._lost[ref.place, ref.offset] = ref
        wanted = {_alike(ref) for ref in self._lost.values()}
        for ref in self._refs():
            if ref.place not in broken and _alike(ref) in wanted:
                self._spares[_alike(ref)] = ref

    def has_all(self, place: Place, wanted: Sequence[tuple[int, int]]) -> bool:
        """Return whether every one of the chunks *wanted* of *place* can be had."""
        return self._frames(place, wanted) is not None

    def _frames(
        self, place: Place, wanted: Sequence[tuple[int, int]]
    ) -> list[tuple[pack.Stored, bytes]] | None:
        found = []
        for offset, _ in wanted:
            ref = self._lost.get((place, offset))
            proven = None if ref is None else self._found(ref)
            if proven is None:
                return None
            found.append(proven)
        return found

    def _found(self, ref: Ref) -> tuple[pack.Stored, bytes] | None:
        spare = self._spares.get(_alike(ref))
        for each in (ref,) if spare is None else (ref, spare):
            for name in each.place.packs:
                proven = self._proven(name, each, ref.offset)
                if proven is not None:
                    return proven
        return None

    def _proven(self, name: PackName, ref: Ref, offset: int) -> tuple[pack.Stored, bytes] | None:
        blob = names.pack_name(self._domain.name, name)
        try:
            header = self._store.get(blob, 0, HEADER_BYTES)
            framed = self._store.get(blob, ref.offset, FRAME_BYTES + ref.stored_bytes)
            head = pack.parse_header(header, self._domain.head.vault_id, name.kind)
            seal = self._keys.pack(name.kind, *head)
            plain = chunk.unpacked(framed, ref.chunk_id, seal, self._keys)
            stored = chunk.opened(framed, seal)
        except (KeyError, ValueError):
            return None
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            return None
        return pack.Stored(ref.chunk_id, offset, len(stored), len(plain), ref.flags), stored

    def _refs(self) -> Iterator[Ref]:
        """Yield what the maps of all points name, once each where they share it."""
        seen: set[tuple[Place, int]] = set()
        for kept in self._domain.points():
            reader = PointReader(self._store, self._domain, kept.snapshot)
            yield reader.manifest_ref
            for disk_map in reader.disk_maps():
                yield from _under(disk_map, disk_map.top_level, 0, seen)


def _under(
    disk_map: DiskMap, level: int, index: int, seen: set[tuple[Place, int]]
) -> Iterator[Ref]:
    ref = disk_map.ref(level, index)
    if ref is None or (ref.place, ref.offset) in seen:
        return
    seen.add((ref.place, ref.offset))
    yield ref
    node = disk_map.node(level, index)
    first = index * maps.positions_at(level)
    for at, below in {} if node is None else node.refs.items():
        if level == 0:
            yield below
        else:
            yield from _under(disk_map, level - 1, first + at, seen)


def _alike(ref: Ref) -> tuple[bytes, int, int]:
    """Return what a chunk in the place of *ref* must be like: a move changes nothing of it."""
    return ref.chunk_id, ref.stored_bytes, ref.flags
