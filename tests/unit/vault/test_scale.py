"""Memory and the number of objects do not grow with the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.model.disk import Disk
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.domain import Domain
from quiesce.vault.format import names
from quiesce.vault.format.header import VaultHeader
from quiesce.vault.format.manifest import StoredDisk
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.mapping import MapBuilder
from quiesce.vault.packer import PackWriter
from quiesce.vault.reading import ChunkReader, DiskMap
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, EVIDENCE, WHEN, SparseReader, back_up, open_vault, pattern, small_vault

if TYPE_CHECKING:
    from quiesce.vault.repository import Vault

TIB = 1 << 40
LEAF_CHUNKS = 256


def copy_sparse(vault: Vault, reader: SparseReader) -> str:
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        session.copy_disk(Disk("vda", reader.size_bytes), reader, progress=SilentProgress())
        return session.commit(EVIDENCE, created_at=WHEN).id


def test_a_sparse_disk_of_a_terabyte_costs_what_is_in_it() -> None:
    store = MemoryStore()
    vault = small_vault(store)
    data = {n * (TIB // CHUNK // 40): pattern(n, CHUNK) for n in range(40)}
    reader = SparseReader(TIB, data)
    copy_sparse(vault, reader)

    (point,) = vault.points()
    disk = vault.read(point).disk("vda")
    assert reader.reads == 40
    assert dict(disk.chunks()) == {position * CHUNK: piece for position, piece in data.items()}
    meta = sum(store.size(name) for name in store.list("domains/web1/packs/") if "/m-" in name)
    assert meta < 64 * 1024


def test_a_disk_of_many_terabytes_has_a_deeper_map_and_is_read_back() -> None:
    vault = small_vault(MemoryStore())
    size = 9 * TIB + 12345
    data = {n * (size // CHUNK // 11): pattern(n, CHUNK) for n in range(11)}
    data[size // CHUNK] = b"the tail".ljust(size % CHUNK, b"!")
    for _ in range(2):
        copy_sparse(vault, SparseReader(size, data))

    for point in vault.points():
        disk = vault.read(point).disk("vda")
        assert dict(disk.chunks()) == {position * CHUNK: piece for position, piece in data.items()}
        assert disk.read(size - 5, 100) == b"!!!!!"
        assert disk.read(5 * CHUNK, 10) == bytes(10)


def test_leaves_that_wait_for_a_pack_do_not_fill_the_memory() -> None:
    store = MemoryStore()
    leaves, most = 1000, 0
    old = Place(names.PackName(ulid.new(), "d", bytes(32)))
    domain = Domain(store, VaultHeader(bytes(16)), "web1")
    with PackWriter(store, domain, domain.keys, ulid.new()) as packs:
        builder = MapBuilder(packs, leaves * LEAF_CHUNKS * CHUNK, lambda level, index: None)
        # In every leaf one new chunk, so small that no pack is ever full.
        for leaf in range(leaves):
            new = packs.add(names.DATA, names.digest(b"%d" % leaf), b"tiny", 4, flags=0)
            builder.add(leaf * LEAF_CHUNKS, new)
            builder.add(leaf * LEAF_CHUNKS + 1, packs.spot_of(Ref(bytes(32), old, 64, 1, 0)))
            most = max(most, len(builder._waiting))
        packs.seal(names.DATA)
        while not builder.finished:
            builder.finish()
            packs.seal(names.META)
        packs.flush()
        root = builder.root()

    assert most <= 256
    disk = Disk("vda", leaves * LEAF_CHUNKS * CHUNK)
    disk_map = DiskMap(ChunkReader(store, domain), StoredDisk(disk, root))
    assert [position for position, _ in disk_map.refs()] == [
        leaf * LEAF_CHUNKS + at for leaf in range(leaves) for at in (0, 1)
    ]


def test_a_vault_with_a_thousand_points_is_listed_without_opening_a_pack() -> None:
    store = MemoryStore()
    vault = small_vault(store)
    for number in range(1000):
        back_up(vault, {"vda": pattern(number, 10)})

    class OnlyTheLog(MemoryStore):
        def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
            assert "/packs/" not in name
            return super().get(name, start_bytes, length_bytes)

    listing = OnlyTheLog()
    listing._blobs = store._blobs
    assert len(open_vault(listing).points()) == 1000
