"""Vaults of every format version are read by today's code, and by a stranger's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from golden import contents, stranger
from quiesce.jobs import prune
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.repository import Vault
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, EVIDENCE, back_up, pattern, read_back

GOLDEN = Path(__file__).parent / "vault-1"


@pytest.fixture
def store() -> MemoryStore:
    """Return the golden vault in memory, so that nothing can write to it."""
    golden, copy = DirectoryStore(GOLDEN), MemoryStore()
    for name in golden.list(""):
        copy.create(name, golden.get(name))
    return copy


def test_the_golden_vault_is_read_whole(store: MemoryStore) -> None:
    vault = Vault.open(store)

    assert {point.id: read_back(vault, point) for point in vault.points()} == contents.POINTS
    assert vault.read(vault.points()[0]).evidence == EVIDENCE
    assert vault.alarms() == ()


def test_a_backup_goes_on_in_the_golden_vault(store: MemoryStore) -> None:
    vault = Vault.open(store)
    point = back_up(
        vault, contents.POINTS[contents.SECOND], machine=contents.MACHINE, uuid="gold-1"
    )

    assert not [name for name in store.list("") if f"{point.id}/d-" in name]
    assert read_back(Vault.open(store), point) == contents.POINTS[contents.SECOND]


def test_a_stranger_reads_the_golden_vault() -> None:
    assert stranger.read_vault(GOLDEN, contents.DOMAIN) == contents.POINTS


def test_a_stranger_reads_a_vault_of_today(tmp_path: Path) -> None:
    contents.make(tmp_path)

    assert stranger.read_vault(tmp_path, contents.DOMAIN) == contents.POINTS


def test_a_stranger_reads_a_vault_that_was_pruned_and_repacked(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    vault = Vault.create(store)
    first = pattern(9, 8 * CHUNK)
    disks = [
        {"vda": first},
        {"vda": first[: 5 * CHUNK] + pattern(1, 3 * CHUNK)},
        {"vda": first[: 3 * CHUNK] + pattern(2, 5 * CHUNK)},
    ]
    points = [back_up(vault, content) for content in disks]
    for point in points[:2]:
        vault.forget(point)
        maintenance = Maintenance(store)
        terms = Terms(KeepRules(), timedelta(0), datetime.now(UTC) + timedelta(days=30))
        prune.apply(maintenance, prune.plan(maintenance, terms), progress=SilentProgress())
    state = Vault.open(store).domains()[0].refresh()
    tables = [table for table in state.moved.values() if table is not None]

    # What the last point names was moved, and moved again.
    assert any(table.place.pack.sid in {pack.sid for pack in state.moved} for table in tables)
    assert stranger.read_vault(tmp_path, "web1") == {points[-1].id: disks[-1]}
    fresh = Vault.open(store)
    assert read_back(fresh, fresh.points()[0]) == disks[-1]
