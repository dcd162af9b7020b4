"""Vaults of every format version are read by today's code, and by a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden import contents, stranger
from quiesce.vault.keys import slots
from quiesce.vault.keys.access import Access
from quiesce.vault.keys.files import KeyDirectory
from quiesce.vault.keys.passphrase import PassphraseSources
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from vault_box import EVIDENCE, back_up, moved_twice, open_vault, read_back

GOLDEN = {
    "unencrypted": Path(__file__).parent / "vault-1",
    "encrypted": Path(__file__).parent / "vault-1-encrypted",
}
RECOVERY = {"unencrypted": "", "encrypted": slots.recovery_text(contents.RECOVERY)}
MAKE = {"unencrypted": contents.make_plain, "encrypted": contents.make_encrypted}


@pytest.fixture(params=["unencrypted", "encrypted"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(kind: str) -> MemoryStore:
    """Return a golden vault in memory, so that nothing can write to it."""
    golden, copy = DirectoryStore(GOLDEN[kind]), MemoryStore()
    for name in golden.list(""):
        copy.create(name, golden.get(name))
    return copy


def test_the_golden_vault_is_read_whole(store: MemoryStore) -> None:
    vault = open_vault(store)

    assert {point.id: read_back(vault, point) for point in vault.points()} == contents.POINTS
    assert vault.read(vault.points()[0]).evidence == EVIDENCE
    assert vault.alarms() == ()


def test_a_backup_goes_on_in_the_golden_vault(store: MemoryStore) -> None:
    vault = open_vault(store)
    point = back_up(
        vault, contents.POINTS[contents.SECOND], machine=contents.MACHINE, uuid="gold-1"
    )

    assert not [name for name in store.list("") if f"{point.id}/d-" in name]
    assert read_back(open_vault(store), point) == contents.POINTS[contents.SECOND]


@pytest.mark.parametrize("given", [contents.PASSPHRASE, RECOVERY["encrypted"]])
def test_the_golden_vault_is_opened_by_passphrase_and_recovery_key(
    given: str, tmp_path: Path
) -> None:
    store = DirectoryStore(GOLDEN["encrypted"])
    access = Access("file:///x", KeyDirectory(tmp_path), PassphraseSources(text=given))

    vault = access.open(store)

    assert {point.id: read_back(vault, point) for point in vault.points()} == contents.POINTS


def test_a_stranger_reads_the_golden_vault(kind: str) -> None:
    found = stranger.read_vault(GOLDEN[kind], contents.DOMAIN, RECOVERY[kind])

    assert found == contents.POINTS


def test_a_stranger_reads_a_vault_of_today(kind: str, tmp_path: Path) -> None:
    MAKE[kind](tmp_path)

    assert stranger.read_vault(tmp_path, contents.DOMAIN, RECOVERY[kind]) == contents.POINTS


def test_a_stranger_reads_a_vault_that_was_pruned_and_repacked(kind: str, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    MAKE[kind](tmp_path)
    vault = open_vault(store)
    left = moved_twice(vault, store)
    state = open_vault(store)._domain("web1").refresh()
    tables = [table for table in state.moved.values() if table is not None]

    # What the last point names was moved, and moved again.
    assert any(table.place.pack.sid in {pack.sid for pack in state.moved} for table in tables)
    assert stranger.read_vault(tmp_path, "web1", RECOVERY[kind]) == left
    fresh = open_vault(store)
    assert {point.id: read_back(fresh, point) for point in fresh.points("web1")} == left
