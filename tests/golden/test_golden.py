"""Vaults of every format version are read by today's code, and by a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden import contents, stranger
from quiesce.vault.repository import Vault
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from vault_box import EVIDENCE, back_up, read_back

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
