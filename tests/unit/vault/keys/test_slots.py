from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.vault.format import document
from quiesce.vault.keys import creation, records, slots
from quiesce.vault.keys.access import Access
from quiesce.vault.keys.files import KeyDirectory
from quiesce.vault.keys.passphrase import PassphraseSources
from quiesce.vault.keys.slots import Kind
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore

NAMES = {Kind.PASSPHRASE: "passphrase-00000001", Kind.RECOVERY: "recovery-00000001"}


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive keys of passphrases with little memory: what a slot costs is tested by its format."""
    monkeypatch.setattr(slots, "MEMORY_KIB", 64)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def new(store: MemoryStore) -> creation.NewVault:
    new = creation.new_vault()
    Vault.create(store, new.head)
    return new


def add(new: creation.NewVault, store: MemoryStore, secret: bytes, kind: Kind) -> slots.Slot:
    return creation.add_slot(
        store, new.root, secret, kind=kind, label="x", vault_hash=new.head.hash
    )


def opened(store: MemoryStore, given: str, tmp_path: object) -> object:
    access = Access("file:///v", KeyDirectory(tmp_path), PassphraseSources(text=given))  # type: ignore[arg-type]
    return access.root(store, Vault.header_of(store))


def error(store: MemoryStore, given: str, tmp_path: object) -> QuiesceError:
    with pytest.raises(QuiesceError) as caught:
        opened(store, given, tmp_path)
    return caught.value


@given(st.binary(min_size=32, max_size=32))
def test_a_recovery_key_is_typed_back(secret: bytes) -> None:
    spelt = slots.recovery_text(secret)

    assert slots.recovery_secret(spelt) == secret
    assert slots.recovery_secret(f" {spelt.lower().replace('-', ' ')}\n") == secret


@given(st.binary(min_size=32, max_size=32), st.integers(0, 68), st.sampled_from("ABCXYZ234567"))
def test_a_mistyped_recovery_key_is_noticed(secret: bytes, at: int, letter: str) -> None:
    spelt = slots.recovery_text(secret)
    wrong = spelt[:at] + letter + spelt[at + 1 :]
    if wrong.replace("-", "") != spelt.replace("-", ""):
        assert slots.recovery_secret(wrong) is None


def test_every_slot_opens_the_root_and_no_other_secret_does(
    new: creation.NewVault, store: MemoryStore, tmp_path: object
) -> None:
    recovery = bytes(range(32))
    add(new, store, b"one", Kind.PASSPHRASE)
    add(new, store, "zwei ä".encode(), Kind.PASSPHRASE)
    add(new, store, recovery, Kind.RECOVERY)

    for right in ("one", "zwei ä", "zwei a\u0308", slots.recovery_text(recovery)):
        assert opened(store, right, tmp_path) == new.root
    for wrong in ("two", "One", " one", slots.recovery_text(bytes(32))):
        assert error(store, wrong, tmp_path).name == "WrongKey"
    typo = slots.recovery_text(recovery)[:-1] + "A"
    assert "has a mistake" in error(store, typo, tmp_path).message


def test_a_damaged_slot_is_damage_and_a_wrong_passphrase_is_not(
    new: creation.NewVault, store: MemoryStore, tmp_path: object
) -> None:
    slot = add(new, store, b"one", Kind.PASSPHRASE)
    name = records.KEYS_PREFIX + slot.name
    raw = store.get(name)
    for at in range(0, len(raw), 7):
        store._blobs[name] = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        found = error(store, "one", tmp_path)
        assert found.name == "VaultDamaged", found
    store._blobs[name] = raw
    assert error(store, "two", tmp_path).name == "WrongKey"


@pytest.mark.parametrize("junk", [b"junk", b'{"format":2}', b'{"format":"x"}', b"[]", b""])
def test_junk_in_a_slot_stops_nobody_who_opens_another(
    new: creation.NewVault, store: MemoryStore, tmp_path: object, junk: bytes
) -> None:
    secret = bytes(range(32))
    add(new, store, secret, Kind.RECOVERY)
    for kind in ("passphrase", "recovery"):
        store.create(f"{records.KEYS_PREFIX}{kind}-00000000", junk)

    assert opened(store, slots.recovery_text(secret), tmp_path) == new.root
    wrong = error(store, slots.recovery_text(bytes(32)), tmp_path)
    assert wrong.name == "WrongKey"
    assert "passphrase-00000000 is damaged" in wrong.message


@pytest.mark.parametrize("work", [{"memory_kib": 1 << 30}, {"passes": 1000}, {"lanes": 1}])
def test_a_slot_that_asks_for_other_work_is_refused(
    new: creation.NewVault, store: MemoryStore, work: dict[str, int]
) -> None:
    slot = add(new, store, b"one", Kind.PASSPHRASE)
    value = document.decode(slot.encode())
    del value["check"]
    value["argon2id"] |= work
    check = slots.digest(document.encode(value)).hex()

    with pytest.raises(ValueError, match="another derivation"):
        slots.parse(document.encode({**value, "check": check}), slot.name)


def test_a_slot_of_another_vault_opens_nothing_here(
    new: creation.NewVault, store: MemoryStore, tmp_path: object
) -> None:
    other = creation.new_vault()
    add(other, store, b"one", Kind.PASSPHRASE)
    assert error(store, "one", tmp_path).name == "WrongKey"

    # Nor where it claims to be ours.
    creation.add_slot(
        store, other.root, b"two", kind=Kind.PASSPHRASE, label="", vault_hash=new.head.hash
    )
    assert error(store, "two", tmp_path).name == "VaultDamaged"


def test_nobody_who_shows_a_key_tells_it(new: creation.NewVault) -> None:
    slot = slots.make(
        new.root, b"hush", name=NAMES[Kind.RECOVERY], label="", vault_hash=bytes(32), salt=bytes(16)
    )
    shown = f"{new!r} {new.keys!r} {new.root!r} {slot!r} {PassphraseSources(text='hush')!r}"

    for secret in (new.root.secret, new.host.secret, new.root.keeper.secret, slot.wrapped):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert "hush" not in shown
