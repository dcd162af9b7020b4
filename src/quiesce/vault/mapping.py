"""Build the map of one disk from its chunks, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import zstandard

from quiesce.vault.format import chunk, names
from quiesce.vault.format import map as maps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.packer import PackWriter, Spot

_MAX_WAITING: Final = 256


class MapBuilder:
    """Takes the chunks of a disk and stores the nodes of its map.

    A node can be written when the packs that it names are sealed; when 256 wait for a pack, that
    pack is sealed early, so that memory does not grow with the disk. *known* answers with the base
    point's node of a level and an index: an equal node is not stored again.
    """

    def __init__(
        self, packs: PackWriter, size_bytes: int, known: Callable[[int, int], Ref | None]
    ) -> None:
        self._packs = packs
        self._counts = maps.counts(size_bytes)
        self._known = known
        self._filling: dict[int, tuple[int, list[tuple[int, Spot]]]] = {}
        self._waiting: deque[tuple[int, int, list[tuple[int, Spot]]]] = deque()
        self._compress = zstandard.ZstdCompressor(level=chunk.LEVEL).compress
        self.used: set[PackName] = set()
        self._root: Spot | None = None

    def add(self, position: int, spot: Spot) -> None:
        """Put the chunk at *position* of the disk; positions grow."""
        if self._put(0, position, spot):
            self._store_ready()

    def finish(self) -> None:
        """Close the map after its last chunk, as far as sealed packs allow."""
        for level in range(len(self._counts)):
            self._close(level)
            self._store_ready()
            if any(each_level <= level for each_level, _, _ in self._waiting):
                return

    @property
    def finished(self) -> bool:
        """Whether the map is complete, up to the naming of its root's pack."""
        return not self._waiting and not self._filling

    def root(self) -> Ref | None:
        """Return the root, None where the disk is zero; after `finished`, all packs sealed."""
        if self._root is None:
            return None
        ref = self._packs.ref_of(self._root)
        if ref is not None:
            self.used.update(ref.place.packs)
        return ref

    def _put(self, level: int, position: int, spot: Spot) -> bool:
        """Put a node's or the disk's entry into its node; return whether that closed another."""
        if level == len(self._counts):
            self._root = spot
            return False
        index, at = divmod(position, maps.positions_at(level))
        closes = level in self._filling and self._filling[level][0] != index
        if closes:
            self._close(level)
        self._filling.setdefault(level, (index, []))[1].append((at, spot))
        return closes

    def _close(self, level: int) -> None:
        if level not in self._filling:
            return
        index, spots = self._filling.pop(level)
        self._waiting.append((level, index, spots))
        if len(self._waiting) > _MAX_WAITING:
            self._packs.seal(names.DATA)
            self._packs.seal(names.META)

    def _store_ready(self) -> None:
        while self._waiting and self._is_ready(self._waiting[0][2]):
            level, index, spots = self._waiting.popleft()
            self._put(level + 1, index, self._stored(level, index, spots))

    def _is_ready(self, spots: Sequence[tuple[int, Spot]]) -> bool:
        return all(self._packs.is_sealed(spot.number) for _, spot in spots)

    def _stored(self, level: int, index: int, spots: Sequence[tuple[int, Spot]]) -> Spot:
        refs = [(at, ref) for at, spot in spots if (ref := self._packs.ref_of(spot)) is not None]
        for place in {ref.place for _, ref in refs}:
            self.used.update(place.packs)
        full = maps.positions_at(level)
        positions = min(full, self._counts[level] - index * full)
        plain = maps.encode(level, positions, refs)
        node_id = self._packs.keys.chunk_id(plain)
        known = self._known(level, index)
        if known is not None and known.chunk_id == node_id:
            return self._packs.spot_of(known)
        stored, flags = chunk.packed(plain, self._compress)
        return self._packs.add(names.META, node_id, stored, len(plain), flags=flags)
