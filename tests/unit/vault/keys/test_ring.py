"""Keys of domains: who may make them, who may use them, and what a hostile store can do."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs import prune
from quiesce.model.disk import Disk
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.format import document, names
from quiesce.vault.format import entry as entries
from quiesce.vault.keys import creation, records
from quiesce.vault.keys.care import KeyCare
from quiesce.vault.keys.holders import HostKey, KeeperKey, Keys, RootKey
from quiesce.vault.keys.ring import new_secret, sealed_record
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    HOST,
    KEYS,
    ROOT,
    VAULT_ID,
    Died,
    FailingStore,
    back_up,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

OTHER = HostKey(b"o" * 32)
DISKS = {"vda": pattern(1, 3 * CHUNK) + b"tail", "vdb": b"some text " * 1000}
KEY_1, KEY_2 = (records.domain_key_name("web1", generation) for generation in (1, 2))


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    small_vault(store)
    return store


@pytest.fixture
def care(store: MemoryStore) -> KeyCare:
    return KeyCare(store, Vault.header_of(store), KEYS)


def vault_of(store: MemoryStore, host: HostKey | None, root: RootKey | None = None) -> Vault:
    return Vault.open(store, Keys(host=host, root=root))


def admitted(store: MemoryStore, host: HostKey = OTHER) -> records.HostRecord:
    return creation.admit(store, VAULT_ID, ROOT, host, label="other")


def error(store: MemoryStore, keys: Keys = KEYS) -> QuiesceError:
    with pytest.raises(QuiesceError) as caught:
        back_up(Vault.open(store, keys), DISKS)
    assert not [name for name in store.list("domains/web1/packs/") if "new" in name]
    return caught.value


def data_packs(store: MemoryStore, sid: str) -> list[bytes]:
    prefix = names.packs_prefix("web1", sid)
    return [store.get(name) for name in store.list(prefix) if "/d-" in name]


# --- who opens what ----------------------------------------------------------------------------


def test_host_and_root_read_what_the_host_wrote(store: MemoryStore) -> None:
    point = back_up(open_vault(store), DISKS)

    for vault in (vault_of(store, HOST), vault_of(store, None, ROOT)):
        assert vault.points() == (point,)
        assert read_back(vault, point) == DISKS
        assert vault.alarms() == ()


def test_without_a_key_there_is_nothing_to_see_and_that_is_said(store: MemoryStore) -> None:
    point = back_up(open_vault(store), DISKS)

    for vault in (vault_of(store, None), vault_of(store, OTHER)):
        assert vault.points() == ()
        assert "no key of this host" in vault.alarms()[0]
        with pytest.raises(QuiesceError) as caught:
            vault.read(point)
        assert caught.value.name == "VaultLocked"


def test_a_host_that_nobody_admitted_makes_no_keys(store: MemoryStore) -> None:
    for keys in (Keys(host=OTHER), Keys()):
        assert error(store, keys).name == "VaultLocked"
    assert list(store.list("domains/")) == []


def test_a_domain_is_shared_with_another_host(store: MemoryStore, care: KeyCare) -> None:
    point = back_up(open_vault(store), DISKS)
    record = admitted(store)
    assert error(store, Keys(host=OTHER)).name == "VaultLocked"

    assert care.share("web1", record)
    assert not care.share("web1", record)

    other = vault_of(store, OTHER)
    assert read_back(other, point) == DISKS
    later = back_up(other, DISKS)
    assert data_packs(store, later.id) == []
    assert read_back(open_vault(store), later) == DISKS


@pytest.mark.parametrize("how", FailingStore.WAYS)
@pytest.mark.parametrize("at", range(1, 9))
def test_keys_that_are_being_made_when_something_fails_serve_the_next_run(
    store: MemoryStore, at: int, how: str
) -> None:
    failing = FailingStore(store, at=at, how=how)
    with suppress(QuiesceError, Died):
        back_up(Vault.open(failing, KEYS), DISKS)

    point = back_up(open_vault(store), DISKS)

    assert read_back(open_vault(store), point) == DISKS


# --- a new generation, and one host less -------------------------------------------------------


def test_a_new_generation_writes_with_a_new_key_and_shares_what_is_there(
    store: MemoryStore, care: KeyCare
) -> None:
    first = back_up(open_vault(store), DISKS)
    assert care.rotate("web1", new_ids=False) == 2

    second = back_up(open_vault(store), DISKS)
    third = back_up(open_vault(store), {"vda": pattern(3, CHUNK)})

    assert data_packs(store, second.id) == []
    assert {raw[48:52] for raw in data_packs(store, third.id)} == {b"\2\0\0\0"}
    vault = open_vault(store)
    assert read_back(vault, first) == read_back(vault, second) == DISKS
    assert vault.alarms() == ()


def test_new_ids_share_nothing_and_old_points_stay_whole_when_repacked(
    store: MemoryStore, care: KeyCare
) -> None:
    whole = pattern(9, 8 * CHUNK)
    first = back_up(open_vault(store), {"vda": whole})
    kept = back_up(open_vault(store), {"vda": whole[: 2 * CHUNK]})
    care.rotate("web1", new_ids=True)

    again = back_up(open_vault(store), {"vda": whole[: 2 * CHUNK]})
    assert sum(map(len, data_packs(store, again.id))) > 2 * CHUNK

    open_vault(store).forget(first)
    maintenance = Maintenance(store, open_vault(store))
    terms = Terms(KeepRules(), timedelta(0), datetime.now(UTC) + timedelta(days=30))
    (done,) = prune.apply(maintenance, prune.plan(maintenance, terms), progress=SilentProgress())
    assert done.repacked.packs > 0
    vault = open_vault(store)
    for point in (kept, again):
        assert read_back(vault, point) == {"vda": whole[: 2 * CHUNK]}


def test_ids_of_every_generation_are_known_across_new_ids(
    store: MemoryStore, care: KeyCare
) -> None:
    back_up(open_vault(store), DISKS)
    before = open_vault(store)._domain("web1").keys.chunk_id(b"x")
    care.rotate("web1", new_ids=True)
    keys = open_vault(store)._domain("web1").keys

    assert keys.chunk_id(b"x") != before
    assert keys.is_id(before, b"x")
    assert keys.is_id(keys.chunk_id(b"x"), b"x")
    assert not keys.is_id(before, b"y")


def test_a_removed_host_opens_nothing_new_and_the_others_go_on(
    store: MemoryStore, care: KeyCare
) -> None:
    point = back_up(open_vault(store), DISKS)
    care.share("web1", admitted(store))

    care.remove(HOST.id)  # which made the domain's first key

    other = vault_of(store, OTHER)
    assert read_back(other, point) == DISKS
    assert read_back(vault_of(store, None, ROOT), point) == DISKS
    later = back_up(other, DISKS)
    assert error(store, Keys(host=HOST)).name == "VaultLocked"
    as_root = KeyCare(store, Vault.header_of(store), Keys(keeper=ROOT.keeper, root=ROOT))
    as_root.rotate("web1", new_ids=True)
    (state,) = as_root.state().domains
    assert state.recipients == tuple(sorted((OTHER.id, "root")))
    assert read_back(vault_of(store, OTHER), later) == DISKS
    back_up(vault_of(store, OTHER), DISKS)


@pytest.mark.parametrize("junk", [b"junk", b'{"format":1}', b'{"format":2}'])
def test_junk_where_the_keeper_signs_anew_costs_no_key(
    store: MemoryStore, care: KeyCare, junk: bytes
) -> None:
    admitted(store)
    point = back_up(vault_of(store, OTHER), DISKS)
    store.create(records.domain_key_name("web1", 1, "root"), junk)

    care.remove(OTHER.id)

    assert read_back(vault_of(store, None, ROOT), point) == DISKS


def test_a_host_stays_where_its_removal_would_cost_a_key(store: MemoryStore, care: KeyCare) -> None:
    admitted(store)
    point = back_up(vault_of(store, OTHER), DISKS)
    other_key = planted("keeper", 1, {"root": ROOT.public_keys.root})
    name = records.domain_key_name("web1", 1, "root")
    store._blobs[name] = other_key.encode(VAULT_ID, ROOT.keeper.sign)

    with pytest.raises(QuiesceError) as caught:
        care.remove(OTHER.id)

    assert caught.value.name == "VaultDamaged"
    assert read_back(vault_of(store, None, ROOT), point) == DISKS


class Stubborn(MemoryStore):
    """A store that says of one name that it is taken, and shows nothing there."""

    def create(self, name: str, data: bytes | bytearray) -> bool:
        return name != records.domain_key_name("web1", 1, "root") and super().create(name, data)


def test_a_store_that_does_not_take_the_new_record_keeps_the_old_one() -> None:
    store = Stubborn()
    small_vault(store)
    point = back_up(open_vault(store), DISKS)

    with pytest.raises(QuiesceError) as caught:
        KeyCare(store, Vault.header_of(store), KEYS).remove(HOST.id)

    assert caught.value.name == "VaultDamaged"
    assert read_back(vault_of(store, None, ROOT), point) == DISKS


@pytest.mark.parametrize("how", FailingStore.WAYS)
@pytest.mark.parametrize("at", range(1, 25))
def test_a_removal_that_breaks_off_costs_nobody_else_a_key(
    store: MemoryStore, at: int, how: str
) -> None:
    admitted(store)
    point = back_up(vault_of(store, OTHER), DISKS)
    store.create(records.domain_key_name("web1", 1, "root"), b"junk")
    failing = FailingStore(store, at=at, how=how)
    with suppress(QuiesceError, Died):
        KeyCare(failing, Vault.header_of(store), KEYS).remove(OTHER.id)

    assert read_back(vault_of(store, None, ROOT), point) == DISKS


def test_sharing_over_junk_opens_the_domain_all_the_same(store: MemoryStore, care: KeyCare) -> None:
    point = back_up(open_vault(store), DISKS)
    record = admitted(store)
    store.create(records.domain_key_name("web1", 1, record.id), b"junk")

    assert care.share("web1", record)

    assert read_back(vault_of(store, OTHER), point) == DISKS


def test_what_is_no_key_is_not_removed_and_the_last_slot_stays(
    store: MemoryStore, care: KeyCare
) -> None:
    from quiesce.vault.keys.slots import Kind

    slots = [
        care.add_slot(ROOT, bytes([number]) * 32, kind=Kind.RECOVERY, label="x").name
        for number in range(2)
    ]
    for name in ("recovery-00000000", "0" * 16, "../vault.json", "vault.json"):
        with pytest.raises(QuiesceError) as caught:
            care.remove(name)
        assert caught.value.name == "KeyNotFound"
    care.remove(slots[0])
    with pytest.raises(QuiesceError) as caught:
        care.remove(slots[1])
    assert caught.value.name == "KeyNeeded"
    assert [slot.name for slot in care.state().slots] == [slots[1]]


def test_only_the_keeper_shares_rotates_and_removes_hosts(store: MemoryStore) -> None:
    back_up(open_vault(store), DISKS)
    record = admitted(store)
    care = KeyCare(store, Vault.header_of(store), Keys(host=HOST))

    for act in (
        lambda: care.share("web1", record),
        lambda: care.rotate("web1", new_ids=False),
        lambda: care.remove(record.id),
    ):
        with pytest.raises(QuiesceError) as caught:
            act()
        assert caught.value.name == "KeeperKeyMissing"


# --- what a hostile store can do ---------------------------------------------------------------


def planted(signer: str, generation: int, recipients: dict[str, bytes]) -> records.DomainRecord:
    return sealed_record(VAULT_ID, "web1", generation, new_secret(), recipients, signer=signer)


def test_a_key_that_the_store_made_is_never_written_with(store: MemoryStore) -> None:
    evil = KeeperKey(b"e" * 32)
    for signer in ("keeper", HOST.id, OTHER.id):
        record = planted(signer, 1, {"root": ROOT.public_keys.root, HOST.id: HOST.public})
        store._blobs[KEY_1] = record.encode(VAULT_ID, evil.sign)
        found = error(store)
        assert found.name == "VaultDamaged"
        assert KEY_1 in found.message


def test_a_newer_key_that_the_store_or_a_host_made_stops_the_backup(store: MemoryStore) -> None:
    point = back_up(open_vault(store), DISKS)
    admitted(store)
    record = planted(OTHER.id, 2, {HOST.id: HOST.public})
    store._blobs[KEY_2] = record.encode(VAULT_ID, OTHER.sign)

    assert error(store).name == "VaultDamaged"
    assert read_back(open_vault(store), point) == DISKS


def test_the_first_key_that_another_host_made_for_us_is_not_ours(store: MemoryStore) -> None:
    admitted(store)
    record = planted(OTHER.id, 1, {"root": ROOT.public_keys.root, HOST.id: HOST.public})
    store._blobs[KEY_1] = record.encode(VAULT_ID, OTHER.sign)

    assert error(store).name == "VaultLocked"


def test_a_key_of_another_domain_or_generation_does_not_serve(
    store: MemoryStore, care: KeyCare
) -> None:
    back_up(open_vault(store), DISKS, machine="web2")
    store._blobs[KEY_1] = store.get(records.domain_key_name("web2", 1))
    assert error(store).name == "VaultDamaged"
    del store._blobs[KEY_1]
    back_up(open_vault(store), DISKS)
    store._blobs[KEY_2] = store.get(KEY_1)
    assert error(store).name == "VaultDamaged"


def test_a_second_key_of_one_generation_is_refused(store: MemoryStore, care: KeyCare) -> None:
    point = back_up(open_vault(store), DISKS)
    record = planted("keeper", 1, {OTHER.id: OTHER.public})
    name = records.domain_key_name("web1", 1, OTHER.id)
    store._blobs[name] = record.encode(VAULT_ID, ROOT.keeper.sign)

    assert "another key" in care.state().problems[0]
    assert read_back(open_vault(store), point) == DISKS


@pytest.mark.parametrize("name", ["domains/web1/keys/000003", "keys/host-" + "0" * 16])
def test_a_record_of_an_unknown_format_stops_readers_only_where_the_keeper_signed_it(
    store: MemoryStore, care: KeyCare, name: str
) -> None:
    point = back_up(open_vault(store), DISKS)
    for junk in (b'{"format":2}', document.encode({"format": 2, "signature": "00" * 64})):
        store._blobs[name] = junk
        assert read_back(open_vault(store), point) == DISKS
        assert name in care.state().problems[0]

    newer = {"format": 2, "kind": "x"}
    store._blobs[name] = records._signed(newer, VAULT_ID, ROOT.keeper.sign)
    with pytest.raises(QuiesceError) as caught:
        care.state()
    assert caught.value.name == "VaultUnsupported"


def test_keys_that_are_gone_are_not_made_again(store: MemoryStore) -> None:
    back_up(open_vault(store), DISKS)
    del store._blobs[KEY_1]

    assert "missing" in error(store).message


def test_a_newer_key_that_the_keeper_has_named_is_not_written_without(
    store: MemoryStore, care: KeyCare
) -> None:
    point = back_up(open_vault(store), DISKS)
    care.rotate("web1", new_ids=False)
    open_vault(store).forget(point)
    del store._blobs[KEY_2]

    assert "generation 2" in error(store).message


def test_a_newer_key_that_goes_while_a_host_works_is_missed_by_it(
    store: MemoryStore, care: KeyCare
) -> None:
    back_up(open_vault(store), DISKS)
    care.rotate("web1", new_ids=False)
    vault = open_vault(store)
    back_up(vault, DISKS)
    del store._blobs[KEY_2]

    with pytest.raises(QuiesceError, match="generation 2"):
        back_up(vault, DISKS)


def test_a_newer_key_that_goes_and_that_no_keeper_has_named_is_an_alarm(
    store: MemoryStore, care: KeyCare
) -> None:
    back_up(open_vault(store), DISKS)
    care.rotate("web1", new_ids=False)
    back_up(open_vault(store), DISKS)
    del store._blobs[KEY_2]

    assert sum("nobody who holds the key" in alarm for alarm in open_vault(store).alarms()) == 2


def test_an_entry_without_a_key_stops_nobody_by_the_key_that_it_names(store: MemoryStore) -> None:
    back_up(open_vault(store), DISKS)
    state = open_vault(store)._domain("web1").refresh()
    opened = entries.Open("01JD" + "0" * 22, "x", "")
    raw = entries.encode(entries.Entry(state.tail + 1, state.prev, "x", opened))
    forged = document.encode({**document.decode(raw), "key": 77, "mac": "00" * 32})
    store.create(names.log_name("web1", state.tail + 1), forged)

    point = back_up(open_vault(store), DISKS)

    vault = open_vault(store)
    assert read_back(vault, point) == DISKS
    assert len(vault.alarms()) == 1


def test_nothing_that_is_secret_lies_in_the_store(store: MemoryStore, care: KeyCare) -> None:
    text = b"a secret that repeats itself, again and again; " * 2000
    vault = open_vault(store)
    with vault.session(machine="web1", uuid=None, sid="01JD0000000000000000000000") as session:
        from quiesce.testing.fakes import MemoryReader
        from vault_box import EVIDENCE, WHEN

        session.copy_disk(
            Disk("hush-disk", len(text), "hush-serial"),
            MemoryReader(text),
            progress=SilentProgress(),
        )
        session.commit(replace(EVIDENCE, definition={"text": "hush"}), created_at=WHEN)
    care.rotate("web1", new_ids=True)
    stored = b"".join(store._blobs.values())

    for secret in (ROOT.secret, HOST.secret, ROOT.keeper.secret):
        assert secret not in stored
        assert secret.hex().encode() not in stored
    assert re.search(rb"hush|secret that|created_at|quiesce\.manifest", stored) is None
    assert vault.read(vault.points()[0]).disks[0].serial == "hush-serial"
