"""Measure what points, machines and domains take: before and after deduplication, compressed."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault import selecting
from quiesce.vault.format import map as maps
from quiesce.vault.format import names, pack
from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.format.pack import FRAME_BYTES
from quiesce.vault.format.sealing import TAG_BYTES
from quiesce.vault.looking import Look, folded
from quiesce.vault.reading import ChunkReader, PointReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.point import PointSummary
    from quiesce.ports import BlobReader, Progress
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Place, Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import KeptPoint
    from quiesce.vault.reading import DiskMap

_CACHED_LEAVES: Final = 1 << 15
_UNSORTED: Final = 4096


@dataclass(frozen=True, slots=True)
class Size:
    """What something takes, in bytes.

    *logical* are its disks. *unique* are its chunks that are not zero, each counted once;
    *compressed* is what those take as they are stored, and *stored* what they take with all that
    describes them, second copies included.
    """

    logical: int
    unique: int
    compressed: int
    stored: int


@dataclass(frozen=True, slots=True)
class PointSize:
    """A point and its *size*; None where its maps are damaged."""

    point: PointSummary
    size: Size | None


@dataclass(frozen=True, slots=True)
class MachineSize:
    """A machine's points, and their *size* together: what they share is counted once."""

    machine: str
    points: tuple[PointSize, ...]
    size: Size


@dataclass(frozen=True, slots=True)
class DomainSize:
    """What a domain takes: *look* says what of its packs.

    *dead_inside* are bytes of packs in use that nothing uses; None where a map cannot be read,
    since then nobody knows. *locked*: no key here opens the domain.
    """

    look: Look
    locked: bool
    machines: tuple[MachineSize, ...]
    dead_inside: int | None


class _Frames:
    """Frames of packs, each once: offset and stored bytes of each in a number, by pack."""

    def __init__(self) -> None:
        self._found: dict[Place, array[int]] = {}
        self._sorted: dict[Place, int] = {}
        self.short: dict[tuple[Place, int], int] = {}

    def add(self, place: Place, packed: array[int]) -> None:
        found = self._found.setdefault(place, array("Q"))
        found.extend(packed)
        if len(found) > 2 * self._sorted.get(place, 0) + _UNSORTED:
            self._sort(place)

    def add_ref(self, ref: Ref) -> None:
        self.add(ref.place, array("Q", [ref.offset << 24 | ref.stored_bytes]))

    def of(self, place: Place) -> array[int]:
        if place in self._found:
            self._sort(place)
        return self._found.get(place, array("Q"))

    def size(self, logical: int) -> Size:
        chunks = compressed = stored = 0
        for place in self._found:
            found = self.of(place)
            inside = sum(packed & 0xFFFFFF for packed in found)
            stored += (inside + FRAME_BYTES * len(found)) * len(place.packs)
            if place.pack.kind == names.DATA:
                chunks += len(found)
                compressed += inside
        return Size(logical, chunks * CHUNK_BYTES - sum(self.short.values()), compressed, stored)

    def places(self) -> Sequence[Place]:
        return list(self._found)

    def _sort(self, place: Place) -> None:
        self._found[place] = array("Q", sorted(set(self._found[place])))
        self._sorted[place] = len(self._found[place])


@dataclass(slots=True)
class _Measure:
    """Measures the points of one domain; leaves that many points share are read once."""

    store: BlobReader
    domain: Domain
    leaves: OrderedDict[tuple[Place, int], list[tuple[Place, array[int]]]] = field(
        default_factory=OrderedDict
    )

    def add(self, kept: KeptPoint, into: Sequence[_Frames]) -> None:
        """Add what the point *kept* uses. Raises QuiesceError VaultDamaged."""
        reader = PointReader(self.store, self.domain, kept.snapshot)
        for place, packed in self._frames(reader):
            for frames in into:
                frames.add(place, packed)
        for disk_map in reader.disk_maps():
            missing = -disk_map.disk.size_bytes % CHUNK_BYTES
            last = disk_map.ref(-1, disk_map.disk.size_bytes // CHUNK_BYTES) if missing else None
            if last is not None:
                for frames in into:
                    frames.short[last.place, last.offset] = missing

    def _frames(self, reader: PointReader) -> Iterator[tuple[Place, array[int]]]:
        yield _packed([reader.manifest_ref])[0]
        for disk_map in reader.disk_maps():
            yield from self._under(disk_map, disk_map.top_level, 0)

    def _under(
        self, disk_map: DiskMap, level: int, index: int
    ) -> Iterator[tuple[Place, array[int]]]:
        ref = disk_map.ref(level, index)
        if ref is None:
            return
        yield _packed([ref])[0]
        key = (ref.place, ref.offset)
        if key in self.leaves:
            self.leaves.move_to_end(key)
            yield from self.leaves[key]
            return
        node = disk_map.node(level, index)
        refs = {} if node is None else node.refs
        if level == 0:
            self.leaves[key] = _packed(list(refs.values()))
            if len(self.leaves) > _CACHED_LEAVES:
                self.leaves.popitem(last=False)
            yield from self.leaves[key]
            return
        first = index * maps.positions_at(level)
        for at in refs:
            yield from self._under(disk_map, level - 1, first + at)


def measure(store: BlobReader, found: Look, progress: Progress) -> DomainSize:
    """Return what the domain of *found* takes, in a stage `measure NAME` of its logical bytes.

    Memory grows by some 50 bytes for each chunk in use. Raises QuiesceError VaultUnavailable.
    """
    _, state = folded(found.domain)
    keys = found.domain.keys_or_none()
    measured = _Measure(store, found.domain)
    everything = _Frames()
    by_machine: dict[str, list[tuple[KeptPoint, PointSummary]]] = {}
    for kept in found.domain.points():
        summary = None if keys is None else selecting.summary_of(kept, keys)
        if summary is not None:
            by_machine.setdefault(summary.machine, []).append((kept, summary))
    total = sum(summary.logical_bytes for each in by_machine.values() for _, summary in each)
    progress.stage(f"measure {found.domain.name}", total)
    machines = tuple(
        _machine(measured, machine, points, everything, progress)
        for machine, points in by_machine.items()
    )
    told = [point for machine in machines for point in machine.points]
    is_known = len(told) == len(state.points) and all(point.size is not None for point in told)
    dead = None
    if is_known and keys is not None:
        dead = _dead_inside(store, found, everything, TAG_BYTES if keys.is_sealed else 0)
    return DomainSize(found, keys is None, machines, dead)


def _machine(
    measured: _Measure,
    machine: str,
    points: Sequence[tuple[KeptPoint, PointSummary]],
    everything: _Frames,
    progress: Progress,
) -> MachineSize:
    together, sizes = _Frames(), []
    for kept, summary in points:
        alone = _Frames()
        size: Size | None = None
        try:
            measured.add(kept, (alone, together, everything))
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
        else:
            size = alone.size(summary.logical_bytes)
        sizes.append(PointSize(summary, size))
        progress.advance(summary.logical_bytes)
    logical = sum(summary.logical_bytes for _, summary in points)
    return MachineSize(machine, tuple(sizes), together.size(logical))


def _dead_inside(store: BlobReader, found: Look, used: _Frames, tag_bytes: int) -> int | None:
    """Return how many bytes of the packs in use nothing uses; what proofs need is in use."""
    state = found.domain.state
    chunks = ChunkReader(store, found.domain)
    try:
        for table in set(state.moved.values()):
            if table is not None:
                used.add_ref(chunks.current(table))
    except QuiesceError as exc:
        if exc.name != "VaultDamaged":
            raise
        return None
    needed: dict[PackName, int] = {}
    for place in used.places():
        frames = used.of(place)
        framed = sum(FRAME_BYTES + (packed & 0xFFFFFF) for packed in frames)
        for each in place.packs:
            size = pack.size_of(len(frames), framed) + tag_bytes
            needed[each] = max(needed.get(each, 0), size)
    return sum(
        max(0, size - needed.get(each, 0))
        for each, size in found.sizes.items()
        if each not in state.proof_packs
    )


def _packed(refs: Sequence[Ref]) -> list[tuple[Place, array[int]]]:
    by_place: dict[Place, array[int]] = {}
    for ref in refs:
        packed = by_place.setdefault(ref.place, array("Q"))
        packed.append(ref.offset << 24 | ref.stored_bytes)
    return list(by_place.items())
