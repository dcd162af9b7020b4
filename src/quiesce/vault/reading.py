"""Read a recovery point: every chunk is proven by its id before it is handed out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import zstandard

from quiesce.errors import QuiesceError
from quiesce.vault.format import chunk, manifest, names
from quiesce.vault.format import map as maps
from quiesce.vault.format.header import CHUNK_BYTES
from quiesce.vault.format.pack import FRAME_BYTES, HEADER_BYTES, parse_header
from quiesce.vault.format.sealing import SALT_BYTES
from quiesce.vault.moved import Moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.disk import Disk
    from quiesce.model.point import Evidence
    from quiesce.ports import BlobReader
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.entry import Snapshot
    from quiesce.vault.format.map import Node, Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.format.sealing import PackSeal

_RUN_CHUNKS: Final = 4
_CACHED_NODES: Final = 16
_CACHED_SEALS: Final = 1024


class ChunkReader:
    """Reads chunks of one domain, also moved ones; several threads may use it at once."""

    def __init__(self, store: BlobReader, domain: Domain) -> None:
        self._store = store
        self._domain = domain
        self._moved = Moved(domain)
        self._seals: OrderedDict[PackName, PackSeal] = OrderedDict()
        self._lock = threading.Lock()
        self._local = threading.local()

    def current(self, ref: Ref) -> Ref:
        """Return where the chunk at *ref* lies by what is known of the log."""
        return self._moved.current(ref, self._read_table)

    def fetch(self, refs: Sequence[Ref]) -> list[bytes]:
        """Return the plain bytes of *refs*, which lie one behind the other in one pack.

        What was moved since is found. Raises QuiesceError VaultDamaged, naming the object, where
        no copy of the pack has them.
        """
        while True:
            located = [self.current(ref) for ref in refs]
            try:
                if located == list(refs):
                    return self._fetch_copies(refs)
                return [plain for ref in located for plain in self._fetch_copies([ref])]
            except QuiesceError as exc:
                # It is damage only where nobody moved it meanwhile.
                if exc.name != "VaultDamaged" or not self._moved.refresh():
                    raise

    def _read_table(self, ref: Ref) -> bytes:
        (plain,) = self._fetch_copies([ref])
        return plain

    def _fetch_copies(self, refs: Sequence[Ref]) -> list[bytes]:
        *copies, last = refs[0].place.packs
        for pack in copies:
            plains = self._fetch_unless_damaged(pack, refs)
            if plains is not None:
                return plains
        return self._fetch_from(last, refs)

    def _fetch_unless_damaged(self, pack: PackName, refs: Sequence[Ref]) -> list[bytes] | None:
        try:
            return self._fetch_from(pack, refs)
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            return None

    def _fetch_from(self, pack: PackName, refs: Sequence[Ref]) -> list[bytes]:
        name = names.pack_name(self._domain.name, pack)
        start = refs[0].offset
        end = refs[-1].offset + FRAME_BYTES + refs[-1].stored_bytes
        try:
            pack_seal = self._seal_of(pack, name)
            raw = self._store.get(name, start, end - start)
        except KeyError:
            raise QuiesceError("VaultDamaged", f"{name} is missing") from None
        plains = []
        view, keys, decompressor = memoryview(raw), self._domain.keys, self._decompressor()
        for ref in refs:
            at = ref.offset - start
            try:
                framed = view[at : at + FRAME_BYTES + ref.stored_bytes]
                plain = chunk.unpacked(framed, ref.chunk_id, pack_seal, keys, decompressor)
                plains.append(plain)
            except ValueError as exc:
                raise QuiesceError(
                    "VaultDamaged", f"{name} is damaged at byte {ref.offset}: {exc}"
                ) from exc
        return plains

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        found: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if found is None:
            found = self._local.decompressor = zstandard.ZstdDecompressor()
        return found

    def _seal_of(self, pack: PackName, name: str) -> PackSeal:
        keys = self._domain.keys
        if not keys.is_sealed:
            return keys.pack(pack.kind, 0, bytes(SALT_BYTES))
        with self._lock:
            found = self._seals.get(pack)
        if found is None:
            raw = self._store.get(name, 0, HEADER_BYTES)
            try:
                generation, salt = parse_header(raw, self._domain.head.vault_id, pack.kind)
                found = keys.pack(pack.kind, generation, salt)
            except ValueError as exc:
                raise QuiesceError("VaultDamaged", f"{name} is damaged: {exc}") from exc
            with self._lock:
                self._seals[pack] = found
                if len(self._seals) > _CACHED_SEALS:
                    self._seals.popitem(last=False)
        return found


class DiskMap:
    """The map of one disk, read node by node; several threads may use it at once."""

    def __init__(self, chunks: ChunkReader, stored: manifest.StoredDisk) -> None:
        self.disk = stored.disk
        self._chunks = chunks
        self._root = stored.root
        self._counts = maps.counts(stored.disk.size_bytes)
        self._cache: OrderedDict[tuple[int, int], Node] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def top_level(self) -> int:
        """The level of the root."""
        return len(self._counts) - 1

    def ref(self, level: int, index: int) -> Ref | None:
        """Return where the node *index* of *level* lies, None where it is zero or beyond the disk.

        A *level* of -1 asks for a chunk. Raises QuiesceError VaultDamaged.
        """
        if level >= self.top_level:
            root = self._root if (level, index) == (self.top_level, 0) else None
            return None if root is None else self._chunks.current(root)
        above, at = divmod(index, maps.positions_at(level + 1))
        node = self.node(level + 1, above)
        return None if node is None else node.refs.get(at)

    def node(self, level: int, index: int) -> Node | None:
        """Return the node *index* of *level*, None where all of it is zero."""
        ref = self.ref(level, index)
        if ref is None:
            return None
        with self._lock:
            node = self._cache.get((level, index))
            if node is not None:
                self._cache.move_to_end((level, index))
                return node
        node = self._read_node(ref, level, index)
        with self._lock:
            self._cache[level, index] = node
            if len(self._cache) > _CACHED_NODES:
                self._cache.popitem(last=False)
        return node

    def refs(self) -> Iterator[tuple[int, Ref]]:
        """Yield position and place of every chunk that is not zero, in order."""
        yield from self._refs_under(len(self._counts) - 1, 0)

    def _refs_under(self, level: int, index: int) -> Iterator[tuple[int, Ref]]:
        node = self.node(level, index)
        if node is None:
            return
        first = index * maps.positions_at(level)
        for at, ref in node.refs.items():
            if level == 0:
                yield first + at, ref
            else:
                yield from self._refs_under(level - 1, first + at)

    def _read_node(self, ref: Ref, level: int, index: int) -> Node:
        full = maps.positions_at(level)
        positions = min(full, self._counts[level] - index * full)
        (raw,) = self._chunks.fetch([ref])
        try:
            node = maps.parse(raw, level=level, positions=positions)
        except ValueError as exc:
            raise QuiesceError(
                "VaultDamaged", f"the map of disk {self.disk.name} is damaged: {exc}"
            ) from exc
        current = {at: self._chunks.current(ref) for at, ref in node.refs.items()}
        return replace(node, refs=current)


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks that are read at once: (position, place) each, adjacent in their pack."""

    chunks: tuple[tuple[int, Ref], ...]

    @property
    def start_bytes(self) -> int:
        """Where on the disk its first chunk begins."""
        return self.chunks[0][0] * CHUNK_BYTES


class DiskReader:
    """One disk of a recovery point; several threads may use it at once."""

    def __init__(self, chunks: ChunkReader, disk_map: DiskMap) -> None:
        self.disk = disk_map.disk
        self._chunks = chunks
        self._map = disk_map

    @property
    def size_bytes(self) -> int:
        """The disk's size."""
        return self.disk.size_bytes

    def runs(self) -> Iterator[Run]:
        """Yield everything that is not zero, in order, in pieces of at most 1 MiB."""
        run: list[tuple[int, Ref]] = []
        for position, ref in self._map.refs():
            if run and (len(run) == _RUN_CHUNKS or not _is_behind(ref, run[-1][1])):
                yield Run(tuple(run))
                run = []
            run.append((position, ref))
        if run:
            yield Run(tuple(run))

    def fetch(self, run: Run) -> list[tuple[int, bytes]]:
        """Return the chunks of *run*: where each begins on the disk, and its bytes.

        Raises QuiesceError VaultDamaged, naming object and range of the disk.
        """
        try:
            plains = self._chunks.fetch([ref for _, ref in run.chunks])
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            raise self._damaged(run, exc.message) from exc
        found = []
        for (position, _), plain in zip(run.chunks, plains, strict=True):
            start = position * CHUNK_BYTES
            if len(plain) != min(CHUNK_BYTES, self.size_bytes - start):
                raise self._damaged(run, "a chunk has another size")
            found.append((start, plain))
        return found

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield every chunk that is not zero: where it begins, and its bytes."""
        for run in self.runs():
            yield from self.fetch(run)

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """Return these bytes of the disk, fewer only at its end. Raises VaultDamaged."""
        end = min(start_bytes + length_bytes, self.size_bytes)
        parts = []
        while start_bytes < end:
            position, skip = divmod(start_bytes, CHUNK_BYTES)
            take = min(CHUNK_BYTES - skip, end - start_bytes)
            ref = self._map.ref(-1, position)
            if ref is None:
                parts.append(bytes(take))
            else:
                ((_, plain),) = self.fetch(Run(((position, ref),)))
                parts.append(plain[skip : skip + take])
            start_bytes += take
        return b"".join(parts)

    def _damaged(self, run: Run, why: str) -> QuiesceError:
        last = (run.chunks[-1][0] + 1) * CHUNK_BYTES
        return QuiesceError(
            "VaultDamaged",
            f"{why}; disk {self.disk.name}, bytes {run.start_bytes} to "
            f"{min(last, self.size_bytes)}",
        )


def _is_behind(ref: Ref, before: Ref) -> bool:
    return (
        ref.place == before.place
        and ref.offset == before.offset + FRAME_BYTES + before.stored_bytes
    )


class PointReader:
    """One recovery point, open for reading."""

    def __init__(self, store: BlobReader, domain: Domain, snapshot: Snapshot) -> None:
        self.id = snapshot.sid
        self._snapshot = snapshot
        self._chunks = ChunkReader(store, domain)
        (raw,) = self._chunks.fetch([snapshot.manifest])
        try:
            self._manifest = manifest.parse(raw)
        except ValueError as exc:
            raise QuiesceError(
                "VaultDamaged", f"the manifest of {self.id} is damaged: {exc}"
            ) from exc

    @property
    def manifest_ref(self) -> Ref:
        """Where the manifest lies."""
        return self._chunks.current(self._snapshot.manifest)

    @property
    def evidence(self) -> Evidence:
        """The evidence that was committed with the point."""
        return self._manifest.evidence

    @property
    def disks(self) -> tuple[Disk, ...]:
        """The disks, in the machine's order."""
        return tuple(stored.disk for stored in self._manifest.disks)

    def disk_maps(self) -> Iterator[DiskMap]:
        """Yield the maps of all disks."""
        for stored in self._manifest.disks:
            yield DiskMap(self._chunks, stored)

    def disk_map(self, disk: Disk) -> DiskMap | None:
        """Return the map of *disk*, found by name, then by serial; None where it has none."""
        by_serial = None
        for stored in self._manifest.disks:
            if stored.disk.name == disk.name:
                return DiskMap(self._chunks, stored)
            if disk.serial is not None and stored.disk.serial == disk.serial:
                by_serial = DiskMap(self._chunks, stored)
        return by_serial

    def disk(self, name: str) -> DiskReader:
        """Return the disk *name*. Raises QuiesceError PointNotFound where the point has none."""
        for stored in self._manifest.disks:
            if stored.disk.name == name:
                return DiskReader(self._chunks, DiskMap(self._chunks, stored))
        raise QuiesceError(
            "PointNotFound",
            f"the point {self.id} has no disk {name}",
            action="its disks: " + ", ".join(disk.name for disk in self.disks),
        )
