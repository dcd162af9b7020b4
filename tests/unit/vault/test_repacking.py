from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs import prune as prune_job
from quiesce.policy.retention import KeepRules
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault import collecting, repacking
from quiesce.vault.collecting import Terms
from quiesce.vault.format import entry as entries
from quiesce.vault.format import moves, names
from quiesce.vault.format.map import Place
from quiesce.vault.log import SessionState
from quiesce.vault.maintenance import Maintenance
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

if TYPE_CHECKING:
    from quiesce.vault.repository import Vault

NOW = datetime(2027, 1, 1, tzinfo=UTC)
OLD = {"vda": pattern(1, 8 * CHUNK), "vdb": pattern(9, CHUNK + 5)}
NEW = {"vda": pattern(2, 7 * CHUNK) + OLD["vda"][7 * CHUNK :], "vdb": OLD["vdb"]}
NEXT = {"vda": NEW["vda"][: 7 * CHUNK] + pattern(3, CHUNK), "vdb": OLD["vdb"]}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def half_dead(store: MemoryStore) -> tuple[Vault, str]:
    """Make a vault in which little of the first packs is still used; return the point left."""
    vault = small_vault(store)
    old = back_up(vault, OLD)
    new = back_up(vault, NEW)
    domain = vault._domain("web1")
    domain.append(_once(entries.Forget(old.id)))
    domain.append(_once(entries.Purge(old.id)))
    return vault, new.id


def _once(body: entries.Body):
    asked: list[int] = []

    def body_on(_: object) -> entries.Body | None:
        asked.append(1)
        return body if len(asked) == 1 else None

    return body_on


def repack(store: MemoryStore, vault: Vault) -> repacking.Repacked:
    domain = open_vault(store)._domain("web1")
    found = collecting.survey(store, "web1")
    sizes = {each.pack: each.blob.size_bytes for each in found.packs}
    return repacking.repack(store, domain, sizes)


def collect(store: MemoryStore, now: datetime = NOW) -> collecting.Collected:
    maintenance = Maintenance(store, open_vault(store))
    planned = prune_job.plan(maintenance, Terms(KeepRules(), timedelta(0), now))
    (done,) = prune_job.apply(maintenance, planned, progress=SilentProgress())
    return done


def stored_bytes(store: MemoryStore) -> int:
    return sum(blob.size_bytes for blob in store.blobs("domains/web1/packs/"))


def check(store: MemoryStore, expected: dict[str, dict[str, bytes]]) -> None:
    vault = open_vault(store)
    assert {point.id: read_back(vault, point) for point in vault.points()} == expected
    assert vault.alarms() == ()


def test_what_is_used_moves_and_the_rest_goes(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    before = stored_bytes(store)
    done = repack(store, vault)
    check(store, {sid: NEW})

    assert done.packs > 0
    assert 0 < done.copied_bytes < 4 * CHUNK
    collect(store)
    assert stored_bytes(store) < before - 4 * CHUNK
    check(store, {sid: NEW})


def test_a_second_repack_finds_nothing_to_do(store: MemoryStore) -> None:
    vault, _ = half_dead(store)
    repack(store, vault)
    tail = open_vault(store)._domain("web1").refresh().tail

    assert repack(store, vault).packs == 0
    assert open_vault(store)._domain("web1").refresh().tail == tail


def test_a_backup_after_a_repack_stores_only_what_is_new(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    repack(store, vault)
    collect(store)
    fresh = open_vault(store)
    with fresh.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        done = copied(session, NEXT)
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert sum(each.new_bytes for each in done) == CHUNK
    check(store, {sid: NEW, point.id: NEXT})


def test_what_was_moved_is_moved_again(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    expected = {sid: NEW}
    last, disks = sid, NEW
    for seed in range(20, 26):
        repack(store, vault)
        collect(store)
        disks = {
            "vda": pattern(seed, 5 * CHUNK) + disks["vda"][5 * CHUNK :],
            "vdb": disks["vdb"],
        }
        point = back_up(open_vault(store), disks)
        expected[point.id] = disks
        check(store, expected)
        if seed % 2:
            fresh = open_vault(store)
            fresh.forget(next(each for each in fresh.points() if each.id == last))
            collect(store)
            del expected[last]
            check(store, expected)
        last = point.id
    state = open_vault(store)._domain("web1").refresh()
    assert len(state.moved) > 4


def test_a_reader_that_began_before_follows_what_moved(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    reader = vault.read(vault.find(sid))
    disk = reader.disk("vda")
    runs = list(disk.runs())
    repack(store, vault)
    collect(store)

    data = bytearray(disk.size_bytes)
    for run in runs:
        for start, piece in disk.fetch(run):
            data[start : start + len(piece)] = piece
    assert bytes(data) == NEW["vda"]


def test_a_point_made_meanwhile_is_taken_into_account(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, sid = half_dead(store)
    real = repacking.Repacker._check_present
    made = []

    def check_present(self: object, *args: object) -> None:
        real(self, *args)
        made.append(back_up(open_vault(store), NEXT))

    monkeypatch.setattr(repacking.Repacker, "_check_present", check_present)
    repack(store, vault)
    collect(store)

    check(store, {sid: NEW, made[0].id: NEXT})


def test_packs_of_the_base_of_an_open_session_stay(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        assert repack(store, vault).packs == 0
        collect(store, datetime.now(UTC))
        copied(session, NEXT)
        point = session.commit(EVIDENCE, created_at=WHEN)

    check(store, {sid: NEW, point.id: NEXT})


def test_a_damaged_map_stops_the_repack_and_not_the_collection(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    third = back_up(vault, NEXT)
    for name in list(store.list("domains/web1/packs/")):
        if f"/{sid}/m-" in name:
            store._blobs[name] = bytes(len(store._blobs[name]))
    tail = vault._domain("web1").refresh().tail
    vault.forget(third)
    done = collect(store)

    assert done.left is not None
    assert done.purged == (third.id,)
    assert done.deleted > 0
    assert open_vault(store)._domain("web1").refresh().tail == tail + 2


def test_a_damaged_chunk_is_left_where_it_is(store: MemoryStore) -> None:
    vault, sid = half_dead(store)
    reader = vault.read(vault.find(sid))
    rotten = next(
        ref for map_ in reader.disk_maps() for _, ref in map_.refs() if ref.place.pack.sid != sid
    )
    name = names.pack_name("web1", rotten.place.pack)
    data = bytearray(store._blobs[name])
    data[rotten.offset + 20] ^= 1
    store._blobs[name] = bytes(data)
    repack(store, vault)
    collect(store)

    assert name in set(store.list(""))
    with pytest.raises(QuiesceError, match="damaged"):
        read_back(open_vault(store), vault.find(sid))


def test_an_interrupted_repack_is_given_up_by_the_next(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, sid = half_dead(store)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(repacking.Repacker, "_check_present", die)
        patch.setattr(repacking.Repacker, "_abort_on", lambda self, state: None)
        with pytest.raises(Killed):
            repack(store, vault)
    state = vault._domain("web1").refresh()
    (left,) = state.open_sessions()
    check(store, {sid: NEW})
    point = back_up(open_vault(store), NEXT)
    assert vault._domain("web1").refresh().session(left.sid) is SessionState.OPEN

    repack(store, vault)
    collect(store)
    assert vault._domain("web1").refresh().session(left.sid) is SessionState.ABORTED
    assert not [name for name in store.list("") if f"/{left.sid}/" in name]
    check(store, {sid: NEW, point.id: NEXT})


def test_a_prune_repacks_what_it_made_mostly_dead(store: MemoryStore) -> None:
    vault = small_vault(store)
    old, new = back_up(vault, OLD), back_up(vault, NEW)
    vault.forget(old)
    before = stored_bytes(store)
    done = collect(store)

    assert done.purged == (old.id,)
    assert done.repacked.packs > 0
    assert done.freed_bytes > 5 * CHUNK
    assert stored_bytes(store) < before - 5 * CHUNK
    check(store, {new.id: NEW})


def test_a_move_table_is_read_back() -> None:
    places = [Place(names.PackName(ulid.new(), "d", bytes([n] * 32))) for n in range(3)]
    places.append(Place(names.PackName(ulid.new(), "m", bytes(32)), bytes([7] * 32)))
    table = [moves.Move(places[n % 3], 64 + n, places[3], 100 + n) for n in range(50)]

    assert sorted(moves.parse(moves.encode(table)), key=lambda move: move.target_offset) == table
    assert moves.parse(moves.encode([])) == []


@pytest.mark.parametrize("cut", [0, 10, 15, 50, -1])
def test_a_cut_move_table_is_damage(cut: int) -> None:
    place = Place(names.PackName(ulid.new(), "d", bytes(32)))
    raw = moves.encode([moves.Move(place, 64, place, 80)])

    with pytest.raises(ValueError, match=r"table|move"):
        moves.parse(raw[:cut])


def test_a_move_that_names_no_pack_is_damage() -> None:
    place = Place(names.PackName(ulid.new(), "d", bytes(32)))
    raw = bytearray(moves.encode([moves.Move(place, 64, place, 80)]))
    raw[-12] = 9

    with pytest.raises(ValueError, match="names no pack"):
        moves.parse(bytes(raw))
