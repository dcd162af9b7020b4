"""What somebody who has the store, but no keys, can do to packs and to the log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.domain import Domain
from quiesce.vault.format import document, names
from quiesce.vault.format import entry as entries
from quiesce.vault.format.header import VaultHeader
from quiesce.vault.format.pack import HEADER_BYTES, PackBuilder
from quiesce.vault.format.sealing import (
    TAG_BYTES,
    DomainSecret,
    PlainPack,
    SealedKeys,
    SealedPack,
)
from quiesce.vault.keys.author import EntryAuthor
from quiesce.vault.keys.holders import Keys
from quiesce.vault.log import PointState
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    HOST,
    KEYS,
    VAULT_ID,
    WHEN,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.model.point import PointSummary

DISKS = {"vda": b"".join(pattern(n, CHUNK) for n in range(3))}


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    small_vault(store)
    return store


@pytest.fixture
def point(store: MemoryStore) -> PointSummary:
    return back_up(open_vault(store), DISKS)


def packs(store: MemoryStore, kind: str, domain: str = "web1") -> list[str]:
    return [name for name in store.list(f"domains/{domain}/packs/") if f"/{kind}-" in name]


def is_damage(store: MemoryStore, point: PointSummary) -> bool:
    vault = open_vault(store)
    try:
        found = read_back(vault, point)
    except QuiesceError as exc:
        return exc.name == "VaultDamaged"
    return found != DISKS


# --- packs -------------------------------------------------------------------------------------


def test_no_key_meets_a_nonce_twice(store: MemoryStore) -> None:
    for number in range(4):
        back_up(open_vault(store), {"vda": pattern(number, 9 * CHUNK)})
    salts = {}
    for name in (*packs(store, "d"), *packs(store, "m")):
        raw = store.get(name)
        # A pack and its second copy are one ciphertext under one key.
        salts.setdefault(raw[32:48], set()).add(raw[HEADER_BYTES:])

    assert all(len(contents) == 1 for contents in salts.values())
    assert len(salts) > 10


def test_slots_of_a_pack_are_numbered_without_repetition() -> None:
    seen = []

    class Noting(PlainPack):
        tag_bytes = 16

        def seal_into(self, frame: bytes, stored: bytes, target: memoryview) -> None:
            seen.append(frame[4:8])

    builder = PackBuilder(VAULT_ID, "d", 1 << 20, Noting())
    for number in range(50):
        builder.add(bytes(32), b"x" * (number + 1), number + 1, 0)
    builder.seal()

    assert len(set(seen)) == len(seen) == 51


def test_a_frame_and_its_content_belong_together() -> None:
    seal = SealedPack(bytes(32), VAULT_ID, 1, bytes(16))
    other = SealedPack(bytes(32), bytes(16), 1, bytes(16))
    frame = bytes(range(16))
    sealed = bytearray(len(b"content") + TAG_BYTES)
    seal.seal_into(frame, b"content", memoryview(sealed))

    assert seal.open(frame, sealed) == b"content"
    for at in range(16):
        wrong = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
        with pytest.raises(ValueError, match="not what was sealed"):
            seal.open(wrong, sealed)
    with pytest.raises(ValueError, match="not what was sealed"):
        other.open(frame, sealed)


def test_chunks_that_change_places_are_damage(store: MemoryStore, point: PointSummary) -> None:
    (name,) = packs(store, "d")
    raw = store.get(name)
    step = 16 + CHUNK + 16
    first, second = raw[64 : 64 + step], raw[64 + step : 64 + 2 * step]
    swaps = {
        "whole": second + first,
        "content": first[:16] + second[16:] + second[:16] + first[16:],
    }
    for swapped in swaps.values():
        store._blobs[name] = raw[:64] + swapped + raw[64 + 2 * step :]
        assert is_damage(store, point)


def test_a_pack_in_place_of_another_is_damage(store: MemoryStore, point: PointSummary) -> None:
    other = back_up(open_vault(store), {"vda": DISKS["vda"][::-1]}, machine="web2")
    (ours,), (theirs,) = packs(store, "d"), packs(store, "d", "web2")
    mine = store.get(ours)
    store._blobs[ours] = store.get(theirs)
    assert is_damage(store, point)

    # Not even with the header that it had.
    store._blobs[ours] = mine[:64] + store.get(theirs)[64:]
    assert is_damage(store, point)
    assert other.id


def test_a_pack_without_encryption_is_damage_in_an_encrypted_vault(
    store: MemoryStore, point: PointSummary
) -> None:
    (name,) = packs(store, "d")
    builder = PackBuilder(VAULT_ID, "d", 1 << 20, PlainPack())
    for at in range(3):
        builder.add(bytes(32), pattern(at, CHUNK), CHUNK, 0)
    store._blobs[name] = bytes(builder.seal())

    assert is_damage(store, point)


def test_a_header_with_an_unknown_generation_is_no_damage_but_a_missing_key(
    store: MemoryStore,
) -> None:
    keys = SealedKeys(VAULT_ID, {1: DomainSecret(bytes(32), bytes(32))})

    with pytest.raises(QuiesceError) as caught:
        keys.pack("d", 2, bytes(16))
    assert caught.value.name == "VaultLocked"


# --- the log -----------------------------------------------------------------------------------


def append(store: MemoryStore, raw: bytes) -> None:
    number = len(list(store.list("domains/web1/log/"))) + 1
    assert store.create(names.log_name("web1", number), raw)


def next_entry(
    store: MemoryStore, body: entries.Body, author: entries.Author | None = None
) -> bytes:
    state = open_vault(store)._domain("web1").refresh()
    return entries.encode(entries.Entry(state.tail + 1, state.prev, "evil", body), author)


def test_a_forged_forget_changes_nothing_and_is_an_alarm(
    store: MemoryStore, point: PointSummary
) -> None:
    domain = open_vault(store)._domain("web1")
    domain.refresh()
    holder = EntryAuthor(VAULT_ID, "web1", domain.keys, None)
    for author in (None, holder):
        append(store, next_entry(store, entries.Forget(point.id), author))

    vault = open_vault(store)
    assert vault.points()[0].state == "live"
    assert sum("not signed" in alarm for alarm in vault.alarms()) == 2
    # Who has no keys folds the same.
    assert Vault.open(store, Keys())._domain("web1").refresh().points.keys() == {point.id}


def test_a_signed_entry_serves_once_and_there(store: MemoryStore, point: PointSummary) -> None:
    vault = open_vault(store)
    vault.forget(point)
    signed = store.get(names.log_name("web1", 3))
    vault.recall(point)
    append(store, signed)  # as it was
    value = document.decode(signed)
    state = open_vault(store)._domain("web1").refresh()
    append(store, document.encode({**value, "n": state.tail + 1, "prev": state.prev.hex()}))

    again = open_vault(store)
    assert again.points()[0].state == "live"
    assert len(again.alarms()) == 2


def test_a_legal_hold_ends_by_the_keeper_alone(store: MemoryStore, point: PointSummary) -> None:
    host = Vault.open(store, Keys(host=HOST))
    host.hold(point, hold_id="court", legal=True)
    host.hold(point, hold_id="mine")
    host.unhold(point)
    with pytest.raises(QuiesceError) as caught:
        host.unhold(point, legal=True)
    assert caught.value.name == "KeeperKeyMissing"
    append(store, next_entry(store, entries.Unhold("court")))

    vault = open_vault(store)
    assert [hold.hold for hold in vault.holds(point)] == ["court"]
    assert vault.unhold(point, legal=True) == ("court",)


def test_a_host_takes_nothing_away(store: MemoryStore, point: PointSummary) -> None:
    host = Vault.open(store, Keys(host=HOST))
    with pytest.raises(QuiesceError) as caught:
        host.forget(point)
    assert caught.value.name == "KeeperKeyMissing"
    assert open_vault(store)._domain("web1").refresh().tail == 2


def test_a_point_that_somebody_else_made_is_not_offered(
    store: MemoryStore, point: PointSummary
) -> None:
    """Somebody without keys makes a point out of what is there."""
    sid = "01JD" + "0" * 22
    state = open_vault(store)._domain("web1").refresh()
    real = state.points[point.id].snapshot
    append(store, next_entry(store, entries.Open(sid, "web1", "uuid")))
    change = entries.PackChange(point.id, frozenset())
    append(store, next_entry(store, entries.Snapshot(sid, change, real.manifest, real.summary)))

    vault = open_vault(store)
    assert [each.id for each in vault.points()] == [point.id]
    assert vault._domain("web1").state.points[sid].state is PointState.LIVE
    assert sum("nobody who holds" in alarm for alarm in vault.alarms()) == 2
    later = back_up(vault, DISKS)
    assert read_back(open_vault(store), later) == DISKS
    assert open_vault(store)._domain("web1").refresh().opened[later.id].base == point.id


def test_a_session_that_somebody_else_commits_is_no_success(
    store: MemoryStore, point: PointSummary
) -> None:
    """Somebody without keys makes the point of the session that is open, before its owner can."""
    vault, sid = open_vault(store), "01JD" + "0" * 22
    change = entries.PackChange(point.id, frozenset())

    with (
        pytest.raises(QuiesceError) as caught,
        vault.session(machine="web1", uuid=None, sid=sid) as session,
    ):
        copied(session, DISKS)
        real = open_vault(store)._domain("web1").refresh().points[point.id].snapshot
        append(store, next_entry(store, entries.Snapshot(sid, change, real.manifest, real.summary)))
        session.commit(EVIDENCE, created_at=WHEN)

    assert caught.value.name == "SessionLost"
    assert [each.id for each in open_vault(store).points()] == [point.id]


class Overtaken(MemoryStore):
    """A store in which *other* makes an entry out of the next snapshot, and comes before it."""

    other: Callable[[bytes], bytes] | None = None

    def create(self, name: str, data: bytes | bytearray) -> bool:
        other, raw = self.other, bytes(data)
        if other is not None and b'"type":"snapshot"' in raw:
            self.other = None
            assert super().create(name, other(raw))
        return super().create(name, data)


def without_mac(raw: bytes) -> bytes:
    value = document.decode(raw)
    return document.encode({key: value[key] for key in value.keys() - {"mac", "key"}})


def test_only_the_very_point_of_the_session_is_its_success() -> None:
    """The manifest is the session's own, or who made the point holds the key; never both."""
    store = Overtaken()
    first = back_up(small_vault(store), DISKS)
    keys = open_vault(store)._domain("web1").keys

    def with_another_manifest(raw: bytes) -> bytes:
        entry = entries.parse(raw)
        assert isinstance(entry.body, entries.Snapshot)
        manifest = entry.body.manifest._replace(offset=entry.body.manifest.offset + 1)
        author = EntryAuthor(VAULT_ID, "web1", keys, None)
        return entries.encode(replace(entry, body=replace(entry.body, manifest=manifest)), author)

    for other in (without_mac, with_another_manifest):
        store.other = other
        with pytest.raises(QuiesceError) as caught:
            back_up(open_vault(store), DISKS)
        assert caught.value.name == "SessionLost"
    assert open_vault(store).points()[0] == first


def test_a_session_that_somebody_else_opens_is_not_gone_on_with(store: MemoryStore) -> None:
    sid = "01JD" + "0" * 22
    back_up(open_vault(store), DISKS)
    append(store, next_entry(store, entries.Open(sid, "web1", "uuid")))

    with pytest.raises(QuiesceError) as caught:
        back_up(open_vault(store), DISKS, sid=sid)

    assert caught.value.name == "SessionLost"


def test_a_summary_of_another_point_is_none(store: MemoryStore, point: PointSummary) -> None:
    domain = open_vault(store)._domain("web1")
    summary = domain.refresh().points[point.id].snapshot.summary

    assert domain.keys.open_summary(point.id, summary)["machine"] == "web1"
    with pytest.raises(ValueError, match="not what was sealed"):
        domain.keys.open_summary("01JD" + "0" * 22, summary)


def test_entries_that_vouch_for_themselves_are_void_without_encryption() -> None:
    store = MemoryStore()
    vault = small_vault(store, encrypted=False)
    point = back_up(vault, DISKS)
    forget = entries.Entry(3, vault._domain("web1").refresh().prev, "x", entries.Forget(point.id))
    author = EntryAuthor(VAULT_ID, "web1", None, KEYS.keeper)
    append(store, entries.encode(forget, author))

    assert open_vault(store).points()[0].state == "live"
    assert len(open_vault(store).alarms()) == 1


def test_a_keeper_without_keys_of_the_domain_can_still_tidy_up(
    store: MemoryStore, point: PointSummary
) -> None:
    keeper = Domain(store, Vault.header_of(store), "web1", Keys(keeper=KEYS.keeper))
    keeper.refresh()
    keeper.append(
        lambda state: (
            entries.Forget(point.id) if state.points[point.id].state is PointState.LIVE else None
        )
    )

    vault = open_vault(store)
    assert vault.points()[0].state == "forgotten"
    assert vault.alarms() == ()


def test_a_vault_says_whether_it_is_encrypted() -> None:
    head = VaultHeader(VAULT_ID)
    value = document.decode(head.encode())
    for features in ([], ["encrypted", "unencrypted"]):
        value["features"]["read"] = features
        store = MemoryStore()
        store.create(names.VAULT_NAME, document.encode(value))
        with pytest.raises(QuiesceError) as caught:
            Vault.open(store)
        assert caught.value.name == "VaultDamaged"
