"""What tests of the vault share: disks in memory, a store that fails, a vault with small packs."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.jobs import prune
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.disk import Disk
from quiesce.model.extent import Extent
from quiesce.model.point import Evidence
from quiesce.policy.retention import KeepRules
from quiesce.system import ulid
from quiesce.testing.fakes import MemoryReader, SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.format import names
from quiesce.vault.format.header import CHUNK_BYTES, VaultHeader
from quiesce.vault.keys import creation
from quiesce.vault.keys.files import KeyDirectory
from quiesce.vault.keys.holders import HostKey, Keys, RootKey
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.repository import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from quiesce.model.point import PointSummary
    from quiesce.ports import BlobStore, PrunableStore, StoredBlob
    from quiesce.vault.session import DiskCopied, WritingSession

CHUNK = CHUNK_BYTES
EVIDENCE = Evidence(
    ConsistencyLevel.APPLICATION,
    Outcome.COMPLETE,
    {"schema": "quiesce.report/1", "session": "x"},
    {"kind": "file", "text": "…"},
    {"frozen_s": 0.009},
    ({"name": "X", "number": 1},),
    ("a warning",),
    ({"name": "cd0", "reason": "read-only"},),
)
WHEN = "2026-11-23T10:00:00.000Z"


ROOT = RootKey(bytes(range(32)))
HOST = HostKey(bytes(range(1, 33)))
KEYS = Keys(host=HOST, keeper=ROOT.keeper)
VAULT_ID = bytes(range(16))


def small_vault(store: BlobStore, *, pack_bytes: int = 1 << 20, encrypted: bool = True) -> Vault:
    """Make a vault whose packs are small, so that little data fills several."""
    head = VaultHeader(VAULT_ID, pack_bytes, ROOT.public_keys if encrypted else None)
    store.create(names.VAULT_NAME, head.encode())
    if encrypted:
        creation.admit(store, VAULT_ID, ROOT, HOST, label="test")
    return open_vault(store)


def lay_key_files(directory: Path, url: str) -> None:
    """Put the key files of the host that all tests are into *directory*, for the vault at *url*."""
    head = VaultHeader(VAULT_ID, 1 << 20, ROOT.public_keys)
    KeyDirectory(directory).save(KEYS, vault=head, url=url)


def open_vault(store: BlobStore) -> Vault:
    """Open the vault in *store* as the host whose key all tests have, where it has keys."""
    head = Vault.header_of(store)
    return Vault(store, head, None if head.public_keys is None else KEYS)


def pattern(seed: int, length: int) -> bytes:
    """Return bytes that do not compress, the same for one seed."""
    return names.blake3(seed.to_bytes(8, "little")).digest(length)


def copied(session: WritingSession, disks: Mapping[str, bytes]) -> list[DiskCopied]:
    """Copy all *disks*."""
    return [
        session.copy_disk(Disk(name, len(data)), MemoryReader(data), progress=SilentProgress())
        for name, data in disks.items()
    ]


def back_up(
    vault: Vault, disks: Mapping[str, bytes], *, machine: str = "web1", **more: Any
) -> PointSummary:
    """Back up *disks* and return the point."""
    settings = {"uuid": None, "sid": ulid.new(), **more}
    with vault.session(machine=machine, **settings) as session:
        copied(session, disks)
        return session.commit(EVIDENCE, created_at=WHEN)


def moved_twice(vault: Vault, store: PrunableStore) -> dict[str, dict[str, bytes]]:
    """Back up three times and prune twice, so that what the last point uses is moved again.

    Returns the disks of the point that is left, by its id.
    """
    first = pattern(9, 8 * CHUNK)
    disks = [
        {"vda": first},
        {"vda": first[: 5 * CHUNK] + pattern(1, 3 * CHUNK)},
        {"vda": first[: 3 * CHUNK] + pattern(2, 5 * CHUNK)},
    ]
    points = [back_up(vault, content) for content in disks]
    for point in points[:2]:
        vault.forget(point)
        maintenance = Maintenance(store, open_vault(store))
        terms = Terms(KeepRules(), timedelta(0), datetime.now(UTC) + timedelta(days=30))
        prune.apply(maintenance, prune.plan(maintenance, terms), progress=SilentProgress())
    return {points[-1].id: disks[-1]}


def read_back(vault: Vault, point: PointSummary) -> dict[str, bytes]:
    """Return the disks of *point*, whole."""
    reader = vault.read(point)
    disks = {}
    for disk in reader.disks:
        data = bytearray(disk.size_bytes)
        for start, chunk in reader.disk(disk.name).chunks():
            data[start : start + len(chunk)] = chunk
        disks[disk.name] = bytes(data)
    return disks


@dataclass
class SparseReader:
    """A disk of any size: zero but for *data*, which maps positions of chunks to bytes."""

    size_bytes: int
    data: dict[int, bytes] = field(default_factory=dict)
    reads: int = 0

    def extents(self) -> Iterator[Extent]:
        """See `ports.BlockReader`."""
        at = 0
        for position in sorted(self.data):
            start = position * CHUNK
            yield Extent(at, start - at, zero=True)
            yield Extent(start, len(self.data[position]))
            at = start + len(self.data[position])
        yield Extent(at, self.size_bytes - at, zero=True)

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """See `ports.BlockReader`."""
        self.reads += 1
        found = bytearray(length_bytes)
        for at in range(0, length_bytes, CHUNK):
            piece = self.data.get((start_bytes + at) // CHUNK, b"")
            found[at : at + len(piece)] = piece
        return bytes(found)


class Died(BaseException):
    """The process is gone: nothing that it does afterwards reaches the store."""


class FailingStore:
    """A store whose operation number *at* (from 1) goes wrong, in the way *how*.

    `refused`: it fails and does nothing. `lost`: it is done, its reply is an error. `late`: as
    refused, but it is done when the next blob is created. `full`: as refused, for want of space.
    `killed before` and `killed after` end the process there. Without
    *at* it only counts.
    """

    WAYS = ("refused", "lost", "late", "full", "killed before", "killed after")

    def __init__(self, store: PrunableStore, *, at: int = 0, how: str = "refused") -> None:
        self._store = store
        self._at = at
        self._how = how
        self._lock = threading.Lock()
        self._dead = False
        self._late: Callable[[], Any] | None = None
        self.operations: list[str] = []

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        return self._do(f"get {name}", lambda: self._store.get(name, start_bytes, length_bytes))

    def size(self, name: str) -> int:
        return self._do(f"size {name}", lambda: self._store.size(name))

    def list(self, prefix: str) -> Iterator[str]:
        return self._do(f"list {prefix}", lambda: iter(list_of(self._store.list(prefix))))

    def folders(self, prefix: str) -> Iterator[str]:
        return self._do(f"folders {prefix}", lambda: iter(list_of(self._store.folders(prefix))))

    def create(self, name: str, data: bytes | bytearray) -> bool:
        return self._do(f"create {name}", lambda: self._store.create(name, data))

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        return self._do(f"blobs {prefix}", lambda: iter(list_of(self._store.blobs(prefix))))

    def delete(self, names: Sequence[str]) -> None:
        return self._do(f"delete {len(names)}", lambda: self._store.delete(names))

    def _do(self, operation: str, act: Callable[[], Any]) -> Any:
        with self._lock:
            if self._dead:
                raise Died
            self.operations.append(operation)
            is_here = len(self.operations) == self._at
            self._dead = is_here and self._how.startswith("killed")
            late = None
            if is_here and self._how == "late":
                self._late = act
            elif operation.startswith("create"):
                late, self._late = self._late, None
        if late is not None:
            with suppress(KeyError):
                late()
        if is_here and self._how in {"lost", "killed after"}:
            act()
        if is_here:
            raise self._fault(operation)
        return act()

    def _fault(self, operation: str) -> BaseException:
        if self._how.startswith("killed"):
            return Died()
        name = "VaultFull" if self._how == "full" else "VaultUnavailable"
        return QuiesceError(name, f"{operation} fails on purpose")


list_of = list
