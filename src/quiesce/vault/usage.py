"""What the maps of a domain's points use of each pack."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from quiesce.vault.format import map as maps
from quiesce.vault.format.pack import FRAME_BYTES
from quiesce.vault.reading import ChunkReader, PointReader

if TYPE_CHECKING:
    from collections.abc import Container

    from quiesce.ports import BlobReader
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Place, Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import KeptPoint
    from quiesce.vault.reading import DiskMap


class _Frames:
    """The frames used in one pack, packed into numbers: eight bytes a frame, each once."""

    def __init__(self) -> None:
        self._found = array("Q")
        self._sorted = 0

    def add(self, offset: int, stored_bytes: int) -> None:
        self._found.append(offset << 24 | stored_bytes)
        if len(self._found) > 2 * self._sorted + 1024:
            self._sort()

    def all(self) -> list[tuple[int, int]]:
        self._sort()
        return [(packed >> 24, packed & 0xFFFFFF) for packed in self._found]

    def _sort(self) -> None:
        self._found = array("Q", sorted(set(self._found)))
        self._sorted = len(self._found)


class Usage:
    """Which frames of which packs the points need that were `read`; places are current ones.

    Memory grows by eight to sixteen bytes for each chunk in use.
    """

    def __init__(self, store: BlobReader, domain: Domain) -> None:
        self._store = store
        self._domain = domain
        self._frames: dict[Place, _Frames] = {}
        self._nodes: set[tuple[Place, int]] = set()

    def read(self, kept: KeptPoint) -> None:
        """Add what the point *kept* needs. Raises QuiesceError VaultDamaged where it is unknown."""
        reader = PointReader(self._store, self._domain, kept.snapshot)
        self.add(reader.manifest_ref)
        for disk_map in reader.disk_maps():
            self._walk(disk_map, disk_map.top_level, 0)

    def add(self, ref: Ref) -> None:
        """Add the chunk at *ref*."""
        self._frames.setdefault(ref.place, _Frames()).add(ref.offset, ref.stored_bytes)

    def add_live(self, ref: Ref, live: Container[PackName]) -> None:
        """Add the chunk at *ref*, wherever it lies now, if that is one of the *live* packs."""
        current = ChunkReader(self._store, self._domain).current(ref)
        if current.place.pack in live:
            self.add(current)

    def places(self) -> list[Place]:
        """Return the places of which something is in use."""
        return list(self._frames)

    def frames(self, place: Place) -> list[tuple[int, int]]:
        """Return offset and stored bytes of what is in use of *place*, in order, each once."""
        found = self._frames.get(place)
        return [] if found is None else found.all()

    def used_bytes(self, place: Place) -> int:
        """Return how many bytes of the pack at *place* are in use, frames included."""
        return sum(FRAME_BYTES + stored for _, stored in self.frames(place))

    def _walk(self, disk_map: DiskMap, level: int, index: int) -> None:
        ref = disk_map.ref(level, index)
        if ref is None or (ref.place, ref.offset) in self._nodes:
            return
        self.add(ref)
        node = disk_map.node(level, index)
        first = index * maps.positions_at(level)
        for at, below in {} if node is None else node.refs.items():
            if level == 0:
                self.add(below)
            else:
                self._walk(disk_map, level - 1, first + at)
        self._nodes.add((ref.place, ref.offset))
