from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs.restore import restore
from quiesce.model.disk import Disk
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, EVIDENCE, WHEN, SparseReader, back_up, open_vault, pattern, small_vault

if TYPE_CHECKING:
    from quiesce.vault.repository import Vault

DISKS = {"vda": pattern(1, 30 * CHUNK) + bytes(5 * CHUNK) + b"tail", "vdb": bytes(7)}


@dataclass
class Target:
    """A disk in memory; *fails_at* makes the n-th write fail, *fails_to_finish* the finish."""

    size: int
    fails_at: int = 0
    fails_to_finish: bool = False
    written: dict[int, bytes] = field(default_factory=dict)
    finished: bool = False
    committed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, start_bytes: int, data: bytes) -> None:
        with self.lock:
            assert not self.finished
            self.written[start_bytes] = data
            if len(self.written) == self.fails_at:
                raise QuiesceError("RestoreNoSpace", "full")

    def finish(self) -> None:
        if self.fails_to_finish:
            raise QuiesceError("RestoreNoSpace", "full")
        self.finished = True

    def commit(self) -> None:
        assert self.finished
        self.committed = True

    @property
    def data(self) -> bytes:
        data = bytearray(self.size)
        for start, piece in self.written.items():
            data[start : start + len(piece)] = piece
        return bytes(data)


@dataclass
class Counting(SilentProgress):
    stages: list[tuple[str, int | None]] = field(default_factory=list)
    done: int = 0

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self.stages.append((name, total_bytes))

    def advance(self, done_bytes: int) -> None:
        self.done += done_bytes


def targets() -> dict[str, Target]:
    return {name: Target(len(data)) for name, data in DISKS.items()}


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    back_up(small_vault(store), DISKS)
    return store


@pytest.fixture
def vault(store: MemoryStore) -> Vault:
    return open_vault(store)


def test_every_disk_is_written_back_and_committed(vault: Vault) -> None:
    found = targets()
    progress = Counting()
    restore(vault, vault.find("web1@latest"), found, progress=progress)

    assert {name: target.data for name, target in found.items()} == DISKS
    assert all(target.committed for target in found.values())
    assert progress.stages == [(f"restore {name}", len(data)) for name, data in DISKS.items()]
    assert progress.done == sum(len(data) for data in DISKS.values())


def test_zeros_are_not_written(vault: Vault) -> None:
    found = targets()
    restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())

    assert max(start for start in found["vda"].written if start < 35 * CHUNK) < 30 * CHUNK
    assert found["vdb"].written == {}


def test_one_disk_can_be_restored_alone(vault: Vault) -> None:
    target = Target(7)
    restore(vault, vault.find("web1@latest"), {"vdb": target}, progress=SilentProgress())

    assert target.committed


def test_a_disk_that_is_not_in_the_point_is_refused_before_anything_is_written(
    vault: Vault,
) -> None:
    found = {**targets(), "vdz": Target(1)}
    with pytest.raises(QuiesceError, match="vdz"):
        restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())
    assert not any(target.written for target in found.values())


@pytest.mark.parametrize(
    "told",
    [
        {"vda": len(DISKS["vda"])},
        {"vda": len(DISKS["vda"]), "vdb": 7, "vdc": 7},
        {"vda": len(DISKS["vda"]), "vdc": 7},
        {"vda": len(DISKS["vda"]), "vdb": 6},
        {"vda": len(DISKS["vda"]), "vdb": 8},
        {"vda": 7, "vdb": len(DISKS["vda"])},
    ],
)
def test_a_log_that_tells_of_other_disks_than_the_manifest_is_damage(
    vault: Vault, told: dict[str, int]
) -> None:
    disks = tuple(Disk(name, size) for name, size in told.items())
    point = replace(vault.find("web1@latest"), disks=disks)
    found = {name: Target(size) for name, size in told.items() if name in DISKS}

    with pytest.raises(QuiesceError, match="different disks") as caught:
        restore(vault, point, found, progress=SilentProgress())
    assert caught.value.name == "VaultDamaged"
    assert not any(target.written for target in found.values())


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_chunk_commits_nothing(vault: Vault, store: MemoryStore, number: int) -> None:
    name = [name for name in store.list("domains/web1/packs/") if "/d-" in name][number]
    data = store._blobs[name]
    store._blobs[name] = data[:200] + bytes([data[200] ^ 1]) + data[201:]
    found = targets()

    with pytest.raises(QuiesceError) as caught:
        restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())
    assert caught.value.name == "VaultDamaged"
    assert name in caught.value.message
    assert not any(target.committed for target in found.values())


@pytest.mark.parametrize("fails_at", [1, 2, 15, 30, 31])
def test_a_target_that_fails_commits_nothing(vault: Vault, fails_at: int) -> None:
    found = targets()
    found["vda"].fails_at = fails_at

    with pytest.raises(QuiesceError) as caught:
        restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())
    assert caught.value.name == "RestoreNoSpace"
    assert not any(target.committed for target in found.values())


@pytest.mark.parametrize("name", DISKS)
def test_a_target_that_cannot_be_finished_commits_nothing(vault: Vault, name: str) -> None:
    found = targets()
    found[name].fails_to_finish = True

    with pytest.raises(QuiesceError) as caught:
        restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())
    assert caught.value.name == "RestoreNoSpace"
    assert not any(target.committed for target in found.values())


def test_no_target_is_written_to_after_a_failed_restore_has_returned(vault: Vault) -> None:
    found = targets()
    found["vda"].fails_at = 3
    with pytest.raises(QuiesceError):
        restore(vault, vault.find("web1@latest"), found, progress=SilentProgress())
    written = len(found["vda"].written)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("restore")]
    assert len(found["vda"].written) == written


def test_a_terabyte_of_nothing_is_restored_at_once() -> None:
    vault = small_vault(MemoryStore())
    reader = SparseReader(1 << 40, {5: pattern(1, CHUNK)})
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        session.copy_disk(Disk("vda", 1 << 40), reader, progress=SilentProgress())
        point = session.commit(EVIDENCE, created_at=WHEN)
    target = Target(0)
    restore(vault, point, {"vda": target}, progress=SilentProgress())

    assert target.written == {5 * CHUNK: pattern(1, CHUNK)}
