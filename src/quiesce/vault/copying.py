"""Copy one disk into packs: read, hash and compress in parallel, put away in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import zstandard

from quiesce.errors import QuiesceError
from quiesce.model.extent import Extent
from quiesce.vault import changes
from quiesce.vault.changes import Kept, Leaf
from quiesce.vault.chunker import plan_reads
from quiesce.vault.format import chunk, names
from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.format.map import LEAF_POSITIONS
from quiesce.vault.mapping import MapBuilder
from quiesce.vault.packer import PackWriter, Spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from quiesce.model.disk import Disk
    from quiesce.ports import BlockReader, Progress
    from quiesce.vault.chunker import Span
    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.sealing import DomainKeys
    from quiesce.vault.reading import DiskMap
    from quiesce.vault.tables import PackTables

INDEX_CHUNKS: Final = 1 << 18
# So many chunks of a disk that a change list calls unchanged are read and compared.
_SAMPLES: Final = 64
_ZEROS: Final = bytes(CHUNK_BYTES)


class ChunkIndex:
    """Where chunks lie that need not be stored again: a hint, of bounded size (64 GiB of disk)."""

    def __init__(self) -> None:
        self._spots: dict[bytes, tuple[int, int]] = {}

    def __contains__(self, chunk_id: object) -> bool:
        return chunk_id in self._spots

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return len(self._spots) >= INDEX_CHUNKS

    def put(self, spot: Spot) -> None:
        """Remember *spot*, unless the index is full."""
        if not self.full:
            rest = spot.offset << 32 | spot.stored_bytes << 8 | spot.flags
            self._spots[spot.chunk_id] = (spot.number, rest)

    def get(self, chunk_id: bytes) -> Spot | None:
        """Return where *chunk_id* lies, None where that is not known."""
        found = self._spots.get(chunk_id)
        if found is None:
            return None
        number, rest = found
        return Spot(chunk_id, number, rest >> 32, rest >> 8 & 0xFFFFFF, rest & 0xFF)


class _Piece(NamedTuple):
    """One chunk that is not zero; *stored* is None where it lies in the vault already."""

    position: int
    chunk_id: bytes
    plain_bytes: int
    stored: bytes | None
    flags: int


@dataclass(slots=True)
class Copied:
    """What a copy did so far, in bytes: read, not known before, stored for it."""

    read_bytes: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    damaged_parts: int = 0


class _Worker:
    """Reads, hashes and compresses spans; used by several threads at once."""

    def __init__(self, reader: BlockReader, index: ChunkIndex, keys: DomainKeys) -> None:
        self._reader = reader
        self._keys = keys
        self._index = index
        self._local = threading.local()

    def __call__(self, span: Span, base: Mapping[int, Ref]) -> list[_Piece]:
        data = self._reader.read(span.start_bytes, span.length_bytes)
        if len(data) != span.length_bytes:
            raise QuiesceError(
                "SnapshotBroken",
                f"{len(data)} instead of {span.length_bytes} bytes at {span.start_bytes}",
            )
        view = memoryview(data)
        pieces = []
        for start in range(0, len(data), CHUNK_BYTES):
            end = min(start + CHUNK_BYTES, len(data))
            # Compares in place; a comparison of memory views is ten times slower.
            if data.startswith(_ZEROS[: end - start], start):
                continue
            position = span.first_chunk + start // CHUNK_BYTES
            pieces.append(self._piece(position, view[start:end], base))
        return pieces

    def _piece(self, position: int, plain: memoryview, base: Mapping[int, Ref]) -> _Piece:
        chunk_id = self._keys.chunk_id(plain)
        before = base.get(position % LEAF_POSITIONS)
        if (before is not None and before.chunk_id == chunk_id) or chunk_id in self._index:
            return _Piece(position, chunk_id, len(plain), None, 0)
        stored, flags = chunk.packed(plain, self._compressor().compress)
        return _Piece(position, chunk_id, len(plain), stored, flags)

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(level=chunk.LEVEL)
        return compressor


class DiskCopy:
    """The copy of one disk: *map* takes its chunks, *copied* counts.

    Chunks that *base* has at the same place, in packs that *tables* finds, and those that *index*
    knows are not stored again. *learn* is called before the first chunk is stored, and may put more
    into the index.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        packs: PackWriter,
        tables: PackTables,
        index: ChunkIndex,
        base: DiskMap | None,
    ) -> None:
        self.disk = disk
        self.copied = Copied()
        self.map = MapBuilder(packs, disk.size_bytes, self._known)
        self._packs = packs
        self._tables = tables
        self._index = index
        self._base = base
        self._leaf = (-1, Leaf({}))
        self.learn: Callable[[], None] = _learn_nothing

    def run(
        self,
        reader: BlockReader,
        progress: Progress,
        *,
        changed: Sequence[Extent] | None = None,
        seed: str = "",
    ) -> None:
        """Copy everything. When this returns or raises, *reader* is no longer used.

        With *changed* (in order, as in `model.changes`) only that is read, and what the base does
        not have; of the rest a sample is read, chosen by *seed*. Raises QuiesceError
        IncorrectChangeList where it is not what the base has, before anything is committed.
        """
        threads = (os.cpu_count() or 1) + 2
        work = _Worker(reader, self._index, self._packs.keys)
        pending: deque[Callable[[int], int]] = deque()
        done = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="copy") as pool:
            try:
                for part in self._plan(reader, changed, seed):
                    if isinstance(part, Kept):
                        proof = self._proof(pool, reader, part)
                        pending.append(partial(self._keep, part, proof, progress))
                    else:
                        base = self._base_leaf(part.first_chunk // LEAF_POSITIONS).refs
                        pieces = pool.submit(work, part, base)
                        pending.append(partial(self._put_away, part, base, pieces, progress))
                    if len(pending) >= 2 * threads:
                        done = pending.popleft()(done)
                while pending:
                    done = pending.popleft()(done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        progress.advance(self.disk.size_bytes - done)

    def _plan(
        self, reader: BlockReader, changed: Sequence[Extent] | None, seed: str
    ) -> Iterator[Span | Kept]:
        if changed is None or self._base is None:
            return plan_reads(reader.extents(), self.disk.size_bytes)
        return changes.plan(
            changed,
            self._base_leaf,
            reader.extents(),
            sizes=(self.disk.size_bytes, self._base.disk.size_bytes),
            pick=partial(self._pick, seed),
        )

    def _put_away(
        self,
        span: Span,
        base: Mapping[int, Ref],
        pieces: Future[list[_Piece]],
        progress: Progress,
        done: int,
    ) -> int:
        for piece in pieces.result():
            self.map.add(piece.position, self._spot(piece, base))
        self.copied.read_bytes += span.length_bytes
        progress.advance(span.end_bytes - done)
        return span.end_bytes

    def _keep(self, kept: Kept, proof: Future[int] | None, progress: Progress, done: int) -> int:
        if proof is not None:
            self.copied.read_bytes += proof.result()
        for position, ref in kept.chunks:
            spot = self._packs.spot_of(ref)
            self._index.put(spot)
            self.map.add(position, spot)
        end = min((kept.chunks[-1][0] + 1) * CHUNK_BYTES, self.disk.size_bytes)
        progress.advance(end - done)
        return end

    def _pick(self, seed: str, first: int, count: int) -> int | None:
        """Return which of *count* chunks of a leaf is read all the same, None for most leaves."""
        number = int.from_bytes(names.digest(f"{seed} {first}".encode())[:8], "little")
        leaves = -(-self.disk.size_bytes // (CHUNK_BYTES * LEAF_POSITIONS))
        return number // leaves % count if number % leaves < _SAMPLES else None

    def _proof(
        self, pool: ThreadPoolExecutor, reader: BlockReader, kept: Kept
    ) -> Future[int] | None:
        if kept.sample is None:
            return None
        position, ref = kept.sample
        start = position * CHUNK_BYTES
        length = min(CHUNK_BYTES, self.disk.size_bytes - start)
        return pool.submit(_prove, reader, Extent(start, length), ref, self._packs.keys)

    def _spot(self, piece: _Piece, base: Mapping[int, Ref]) -> Spot:
        before = base.get(piece.position % LEAF_POSITIONS)
        if before is not None and before.chunk_id == piece.chunk_id:
            return self._packs.spot_of(before)
        known = self._index.get(piece.chunk_id)
        if known is None:
            self.learn()
            known = self._index.get(piece.chunk_id)
        if known is not None:
            return known
        if piece.stored is None:
            raise AssertionError("the index forgot a chunk")
        spot = self._packs.add(
            names.DATA, piece.chunk_id, piece.stored, piece.plain_bytes, flags=piece.flags
        )
        self._index.put(spot)
        self.copied.new_bytes += piece.plain_bytes
        self.copied.stored_bytes += spot.stored_bytes
        return spot

    def _base_leaf(self, leaf: int) -> Leaf:
        if self._base is None:
            return Leaf({})
        if self._leaf[0] != leaf:
            self._leaf = (leaf, self._read_base(self._base, leaf))
        return self._leaf[1]

    def _read_base(self, base: DiskMap, leaf: int) -> Leaf:
        try:
            node = base.node(0, leaf)
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            self.copied.damaged_parts += 1
            return Leaf({}, frozenset(range(LEAF_POSITIONS)))
        refs = {} if node is None else node.refs
        # The references of a node share few places, which are slow to compare.
        places = {id(ref.place): ref.place for ref in refs.values()}
        has = {key: self._tables.has(place) for key, place in places.items()}
        present = {at: ref for at, ref in refs.items() if has[id(ref.place)]}
        return Leaf(present, frozenset(refs.keys() - present.keys()))

    def _known(self, level: int, index: int) -> Ref | None:
        try:
            ref = None if self._base is None else self._base.ref(level, index)
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            return None
        return ref if ref is not None and self._tables.has(ref.place) else None


def _learn_nothing() -> None:
    """Leave the index as it is."""


def _prove(reader: BlockReader, at: Extent, ref: Ref, keys: DomainKeys) -> int:
    """Read a chunk that is said not to have changed; return how much was read."""
    if not keys.is_id(ref.chunk_id, reader.read(at.start_bytes, at.length_bytes)):
        raise QuiesceError(
            "IncorrectChangeList",
            f"bytes {at.start_bytes} to {at.end_bytes} are not in the change list, and have"
            " changed",
            action="run it again without --changed, and see how the list is made",
        )
    return at.length_bytes
