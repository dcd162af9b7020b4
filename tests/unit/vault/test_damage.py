"""Every kind of damage to every kind of object is found, named, and never handed out as data."""

from __future__ import annotations

import pytest

from quiesce.errors import QuiesceError
from quiesce.model.disk import Disk
from quiesce.system import ulid
from quiesce.vault.format import names
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    WHEN,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

DISKS = {"vda": pattern(1, 9 * CHUNK) + b"\0" * CHUNK + b"compresses" * 40_000}


def damaged(kind: str, data: bytes, at: int) -> bytes | None:
    """Return *data* with one damage, None for a blob that is lost."""
    match kind:
        case "lost":
            return None
        case "empty":
            return b""
        case "cut":
            return data[: len(data) // 2]
        case "zeroed":
            return bytes(len(data))
        case "replaced":
            return pattern(9, len(data))
    position = at * (len(data) - 1) // 7
    return data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :]


def damage(store: MemoryStore, name: str, kind: str, at: int = 0) -> None:
    data = damaged(kind, store._blobs[name], at)
    del store._blobs[name]
    if data is not None:
        store._blobs[name] = data


KINDS = ["lost", "empty", "cut", "zeroed", "replaced"]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    back_up(small_vault(store), DISKS)
    return store


def packs(store: MemoryStore, kind: str) -> list[str]:
    return [name for name in store.list("domains/web1/packs/") if f"/{kind}-" in name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_data_pack_is_named_with_the_range(
    store: MemoryStore, kind: str, number: int
) -> None:
    name = packs(store, "d")[number]
    damage(store, name, kind)
    vault = open_vault(store)

    with pytest.raises(QuiesceError, match=r"disk vda, bytes \d+ to \d+") as caught:
        read_back(vault, vault.points()[0])
    assert caught.value.name == "VaultDamaged"
    assert name in caught.value.message


@pytest.mark.parametrize("at", range(8))
def test_a_flipped_bit_of_a_data_pack_is_found_or_harmless(store: MemoryStore, at: int) -> None:
    found = 0
    for name in packs(store, "d"):
        data = store._blobs[name]
        damage(store, name, "flipped", at)
        vault = open_vault(store)
        try:
            assert read_back(vault, vault.points()[0]) == DISKS
        except QuiesceError as exc:
            found += name in exc.message
        store._blobs[name] = data
    assert found == 3 or at in {0, 7}


@pytest.mark.parametrize("kind", KINDS)
def test_any_one_meta_pack_may_be_lost(store: MemoryStore, kind: str) -> None:
    meta = packs(store, "m")
    assert len(meta) == 6
    for name in meta:
        data = store._blobs[name]
        damage(store, name, kind)
        vault = open_vault(store)
        assert read_back(vault, vault.points()[0]) == DISKS
        store._blobs[name] = data


@pytest.mark.parametrize("kind", KINDS)
def test_a_meta_pack_lost_with_its_twin_is_named(store: MemoryStore, kind: str) -> None:
    for name in packs(store, "m"):
        damage(store, name, kind)
    vault = open_vault(store)

    with pytest.raises(QuiesceError, match="/m-") as caught:
        read_back(vault, vault.points()[0])
    assert caught.value.name == "VaultDamaged"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["d", "m"])
def test_a_backup_heals_what_it_can_read_again(store: MemoryStore, which: str, kind: str) -> None:
    if which == "m":
        for name in packs(store, "m"):
            damage(store, name, kind)
    vault = open_vault(store)
    point = back_up(vault, DISKS)

    assert read_back(vault, point) == DISKS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("moved", [False, True])
def test_what_lies_in_a_damaged_data_pack_is_stored_again(
    store: MemoryStore, kind: str, number: int, moved: bool
) -> None:
    damage(store, packs(store, "d")[number], kind)
    disks = {"vda": bytes(CHUNK) + DISKS["vda"]} if moved else DISKS
    vault = open_vault(store)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        (told,) = copied(session, disks)
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert read_back(open_vault(store), point) == disks
    assert told.why == "no change record; 1 earlier packs are gone or damaged"
    assert 0 < told.new_bytes < len(DISKS["vda"])
    before = len(packs(store, "d"))
    assert read_back(vault, back_up(vault, disks)) == disks
    assert len(packs(store, "d")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_map_in_damaged_packs_is_stored_again(store: MemoryStore, kind: str) -> None:
    # The second point has the leaf of vda from the first, and one of its own with the same chunks.
    vault = open_vault(store)
    disks = {**DISKS, "vdb": DISKS["vda"]}
    disk_map = vault.read(back_up(vault, disks)).disk_map(Disk("vda", len(DISKS["vda"])))
    leaf = None if disk_map is None else disk_map.ref(0, 0)
    assert leaf is not None
    for pack in leaf.place.packs:
        damage(store, names.pack_name("web1", pack), kind)
    point = back_up(vault, disks)

    assert read_back(open_vault(store), point) == disks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(6))
def test_a_map_that_has_lost_one_copy_gets_two_again(
    store: MemoryStore, kind: str, number: int
) -> None:
    damage(store, packs(store, "m")[number], kind)
    vault = open_vault(store)
    point = back_up(vault, DISKS)

    for name in packs(store, "m"):
        data = store._blobs.pop(name)
        assert read_back(open_vault(store), point) == DISKS
        store._blobs[name] = data


def test_a_pack_that_goes_during_the_backup_makes_no_point(store: MemoryStore) -> None:
    name = packs(store, "d")[0]
    vault = open_vault(store)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied(session, DISKS)
        damage(store, name, "lost")
        with pytest.raises(QuiesceError, match="has gone") as caught:
            session.commit(EVIDENCE, created_at=WHEN)

    assert caught.value.name == "VaultDamaged"
    assert name in caught.value.message
    assert len(vault.points()) == 1


@pytest.mark.parametrize("kind", ["empty", "cut", "zeroed", "replaced"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_log_entry_is_an_alarm_and_no_point(
    store: MemoryStore, kind: str, number: int
) -> None:
    damage(store, f"domains/web1/log/{number:012d}", kind)
    vault = open_vault(store)

    assert vault.points() == ()
    assert f"entry {number} is damaged" in vault.alarms()[0]


def test_a_lost_log_entry_is_named(store: MemoryStore) -> None:
    damage(store, "domains/web1/log/000000000001", "lost")

    with pytest.raises(QuiesceError, match="log/000000000001"):
        open_vault(store).points()


def test_a_pack_of_another_name_is_not_taken_for_it(store: MemoryStore) -> None:
    one, other, _ = packs(store, "d")
    blobs = store._blobs
    blobs[one], blobs[other] = blobs[other], blobs[one]
    vault = open_vault(store)

    with pytest.raises(QuiesceError) as caught:
        read_back(vault, vault.points()[0])
    assert caught.value.name == "VaultDamaged"


@pytest.mark.parametrize("at", range(8))
def test_an_adopted_pack_with_a_damaged_header_or_table_is_not_used(at: int) -> None:
    store = MemoryStore()
    vault = small_vault(store)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied(session, DISKS)
        session._packs.flush()
    for name in packs(store, "d"):
        data = store._blobs[name]
        position = at * 16 if at < 4 else len(data) - 1 - (at - 4) * 30
        store._blobs[name] = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
    before = len(packs(store, "d"))
    point = back_up(vault, DISKS)

    assert len(packs(store, "d")) == 2 * before
    assert read_back(open_vault(store), point) == DISKS
