"""What damaged packs mean: which points, disks and byte ranges cannot be read any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.model.extent import Extent, merged
from quiesce.vault import selecting
from quiesce.vault.format import map as maps
from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.reading import ChunkReader, PointReader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from quiesce.ports import BlobReader
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import KeptPoint
    from quiesce.vault.reading import DiskMap


@dataclass(frozen=True, slots=True)
class DiskDamage:
    """The disk *name* of a point, and what of it is *lost*, in order."""

    name: str
    size_bytes: int
    lost: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class PointDamage:
    """A point that damaged packs are part of.

    *created_at* is None where it cannot be read. *disks* are those that have lost something: none
    where a second copy has it; None where that cannot be told, and *why*.
    """

    sid: str
    machine: str
    created_at: str | None
    disks: tuple[DiskDamage, ...] | None
    why: str | None = None


@dataclass(slots=True)
class DamageFinder:
    """Finds what *packs*, which are damaged, mean for points of *domain*."""

    store: BlobReader
    domain: Domain
    packs: Collection[PackName]
    _readable: dict[tuple[PackName, int], bool] = field(default_factory=dict)
    _leaves: dict[tuple[PackName, int], tuple[int, ...]] = field(default_factory=dict)

    def of(self, kept: KeptPoint) -> PointDamage | None:
        """Return what the point *kept* has lost, None where no damaged pack is on its list.

        Without the domain's key no more than the point is named.
        """
        sid = kept.snapshot.sid
        machine = self.domain.state.opened[sid].machine
        keys = self.domain.keys_or_none()
        summary = None if keys is None else selecting.summary_of(kept, keys)
        created_at = None if summary is None else summary.created_at
        if self.domain.state.packs_of(sid).isdisjoint(self.packs):
            return None
        if keys is None:
            return PointDamage(
                sid, machine, created_at, None, "its map cannot be read without a key"
            )
        try:
            reader = PointReader(self.store, self.domain, kept.snapshot)
        except QuiesceError as exc:
            return PointDamage(sid, machine, created_at, None, _reason(exc))
        chunks = ChunkReader(self.store, self.domain)
        disks = [
            DiskDamage(disk_map.disk.name, disk_map.disk.size_bytes, lost)
            for disk_map in reader.disk_maps()
            if (lost := tuple(merged(self._lost(chunks, disk_map))))
        ]
        return PointDamage(sid, machine, created_at, tuple(disks))

    def _lost(self, chunks: ChunkReader, disk_map: DiskMap) -> Iterator[Extent]:
        size = disk_map.disk.size_bytes
        for first, count in self._lost_chunks(chunks, disk_map, disk_map.top_level, 0):
            start = first * CHUNK_BYTES
            yield Extent(start, min(count * CHUNK_BYTES, size - start))

    def _lost_chunks(
        self, chunks: ChunkReader, disk_map: DiskMap, level: int, index: int
    ) -> Iterator[tuple[int, int]]:
        """Yield position and number of chunks that are lost under a node of the map."""
        try:
            ref = disk_map.ref(level, index)
            node = disk_map.node(level, index)
        except QuiesceError as exc:
            _reason(exc)
            span = _chunks_under(level)
            yield index * span, span
            return
        if ref is None or node is None:
            return
        first = index * maps.positions_at(level)
        if level > 0:
            for at in node.refs:
                yield from self._lost_chunks(chunks, disk_map, level - 1, first + at)
            return
        key = (ref.place.pack, ref.offset)
        if key not in self._leaves:
            self._leaves[key] = tuple(
                at for at, each in node.refs.items() if not self._is_readable(chunks, each)
            )
        for at in self._leaves[key]:
            yield first + at, 1

    def _is_readable(self, chunks: ChunkReader, ref: Ref) -> bool:
        if all(pack not in self.packs for pack in ref.place.packs):
            return True
        key = (ref.place.pack, ref.offset)
        if key not in self._readable:
            try:
                chunks.fetch([ref])
            except QuiesceError as exc:
                _reason(exc)
                self._readable[key] = False
            else:
                self._readable[key] = True
        return self._readable[key]


def _chunks_under(level: int) -> int:
    span = 1
    for each in range(level + 1):
        span *= maps.positions_at(each)
    return span


def _reason(error: QuiesceError) -> str:
    """Return what *error* says of damage; every other error is raised again."""
    if error.name != "VaultDamaged":
        raise error
    return error.message
