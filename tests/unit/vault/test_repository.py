from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.model.disk import Disk
from quiesce.system import ulid
from quiesce.testing.fakes import MemoryReader, SilentProgress
from quiesce.vault.format import names
from quiesce.vault.format.entry import PackChange
from quiesce.vault.format.header import VaultHeader
from quiesce.vault.log import SessionState
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    WHEN,
    FailingStore,
    SparseReader,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

PLAIN = VaultHeader(bytes(16))
DISKS = {"vda": pattern(1, 3 * CHUNK) + bytes(2 * CHUNK) + b"tail", "vdb": pattern(2, 100)}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def vault(store: MemoryStore) -> Vault:
    return small_vault(store)


def state_of(vault: Vault, sid: str) -> SessionState:
    return vault._domain("web1").refresh().session(sid)


# --- the vault itself --------------------------------------------------------------------------


def test_a_new_vault_is_empty_and_says_that_it_is_not_encrypted(store: MemoryStore) -> None:
    Vault.create(store, PLAIN)

    assert open_vault(store).points() == ()
    assert b'"read":["unencrypted"]' in store.get("vault.json")


def test_a_vault_is_made_once(store: MemoryStore) -> None:
    Vault.create(store, PLAIN)

    with pytest.raises(QuiesceError) as caught:
        Vault.create(store, VaultHeader(bytes(range(16))))
    assert caught.value.name == "VaultExists"


@pytest.mark.parametrize("how", ["refused", "lost"])
def test_a_reply_lost_while_a_vault_is_made_makes_one_vault(store: MemoryStore, how: str) -> None:
    made = Vault.create(FailingStore(store, at=1, how=how), PLAIN)
    point = back_up(made, DISKS)

    assert read_back(open_vault(store), point) == DISKS


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "VaultNotFound"),
        (b"", "VaultDamaged"),
        (b"{}", "VaultDamaged"),
        (b"\xff" * 100, "VaultDamaged"),
        (b'{"format":7}', "VaultUnsupported"),
    ],
)
def test_what_is_no_vault_is_named(store: MemoryStore, content: bytes | None, error: str) -> None:
    if content is not None:
        store.create("vault.json", content)

    with pytest.raises(QuiesceError) as caught:
        open_vault(store)
    assert caught.value.name == error


# --- writing and reading back ------------------------------------------------------------------


def test_what_is_committed_is_read_back(vault: Vault, store: MemoryStore) -> None:
    point = back_up(vault, DISKS)
    reader = open_vault(store).read(point)

    assert read_back(open_vault(store), point) == DISKS
    assert reader.evidence == EVIDENCE
    assert [disk.name for disk in reader.disks] == ["vda", "vdb"]
    assert open_vault(store).points("web1") == (point,)


contents = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 2, 3]), st.integers(1, CHUNK)), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_every_version_of_a_disk_is_read_back(
    versions: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    vault = small_vault(MemoryStore(), pack_bytes=1 << 16)
    written = []
    for version in versions:
        disk = b"".join(pattern(seed, CHUNK) if seed else bytes(CHUNK) for seed, _ in version)
        disk = disk[: len(disk) - version[-1][1] + 1] or b"x"
        written.append((back_up(vault, {"vda": disk}), disk))

    for point, disk in written:
        assert read_back(vault, point) == {"vda": disk}
        start = data.draw(st.integers(0, len(disk)))
        length = data.draw(st.integers(0, 3 * CHUNK))
        found = vault.read(point).disk("vda").read(start, length)
        assert found == disk[start : start + length]


def test_nothing_exists_before_the_commit(vault: Vault) -> None:
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied(session, DISKS)

        assert vault.points() == ()


def test_an_unchanged_disk_adds_no_data(vault: Vault, store: MemoryStore) -> None:
    back_up(vault, DISKS)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        result, _ = copied(session, DISKS)
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert (result.new_bytes, result.stored_bytes, result.mode) == (0, 0, "compare")
    assert result.read_bytes == len(DISKS["vda"])
    assert not [name for name in store.list("domains/web1/packs/") if f"{point.id}/d-" in name]
    assert read_back(vault, point) == DISKS


def test_only_changed_chunks_are_stored(vault: Vault) -> None:
    back_up(vault, DISKS)
    changed = bytearray(DISKS["vda"])
    changed[CHUNK + 5] ^= 1
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        (result,) = copied(session, {"vda": bytes(changed)})
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert result.new_bytes == CHUNK
    assert read_back(vault, point) == {"vda": bytes(changed)}


def test_data_that_moved_or_is_there_twice_is_stored_once(vault: Vault) -> None:
    back_up(vault, {"vda": pattern(1, CHUNK) + pattern(2, CHUNK)})
    moved = pattern(2, CHUNK) + pattern(1, CHUNK) + pattern(3, CHUNK) * 3
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        (result,) = copied(session, {"other": moved})
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert result.new_bytes == CHUNK
    assert read_back(vault, point) == {"other": moved}


def test_a_zero_disk_stores_no_chunk_and_no_map(vault: Vault, store: MemoryStore) -> None:
    point = back_up(vault, {"vda": bytes(5 * CHUNK)})

    packs = list(store.list("domains/web1/packs/"))
    assert len(packs) == 2  # the manifest and its second copy
    assert read_back(vault, point) == {"vda": bytes(5 * CHUNK)}


def test_a_disk_is_compared_with_the_one_of_its_serial_when_its_name_changed(vault: Vault) -> None:
    data = MemoryReader(pattern(1, CHUNK))
    for name, mode in [("vda", "full"), ("sda", "compare"), ("sdb", "compare")]:
        with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
            disk = Disk(name, CHUNK, serial="S1")
            assert session.copy_disk(disk, data, progress=SilentProgress()).mode == mode
            session.commit(EVIDENCE, created_at=WHEN)


def test_a_second_point_names_its_packs_as_a_difference(vault: Vault) -> None:
    large = {"vda": pattern(1, 40 * CHUNK)}
    first = back_up(vault, large)
    second = back_up(vault, {"vda": large["vda"][:-1] + b"?"})

    points = vault._domain("web1").state.points
    change = points[second.id].snapshot.packs
    assert isinstance(change, PackChange)
    assert change.base == first.id
    assert read_back(vault, second)["vda"][-1:] == b"?"


def test_a_point_lists_only_packs_that_it_needs(vault: Vault, store: MemoryStore) -> None:
    large = {"vda": pattern(1, 40 * CHUNK)}
    first = back_up(vault, large)
    replaced = {"vda": pattern(2, 8 * CHUNK) + large["vda"][8 * CHUNK :]}
    second = back_up(vault, replaced)

    state = vault._domain("web1").state
    before, after = state.packs_of(first.id), state.packs_of(second.id)
    assert len([pack for pack in before - after if pack.kind == "d"]) == 2
    for pack in before - after:
        del store._blobs[names.pack_name("web1", pack)]
    assert read_back(open_vault(store), second) == replaced


def test_machines_do_not_share_a_log(vault: Vault) -> None:
    one = back_up(vault, DISKS, machine="web1")
    other = back_up(vault, DISKS, machine="Web1")

    assert vault.points("web1") == (one,)
    assert vault.points("Web1") == (other,)
    assert set(vault.points()) == {one, other}


@pytest.mark.parametrize("length", [10, CHUNK])
def test_a_disk_of_another_size_than_announced_is_refused(vault: Vault, length: int) -> None:
    reader = MemoryReader(bytes(length))
    with (
        pytest.raises(QuiesceError) as caught,
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as session,
    ):
        session.copy_disk(Disk("vda", length + 1), reader, progress=SilentProgress())
    assert caught.value.name == "SnapshotBroken"


@pytest.mark.parametrize("name", ["../x", "", "vda"])
def test_a_disk_that_could_not_be_restored_by_name_is_refused(vault: Vault, name: str) -> None:
    with (
        pytest.raises(QuiesceError) as caught,
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as session,
    ):
        copied(session, {"vda": b"1"})
        copied(session, {name: b"2"})
    assert caught.value.name == "SnapshotUnsupported"


def test_a_reader_that_breaks_in_the_middle_ends_the_copy() -> None:
    vault = small_vault(MemoryStore())

    class Breaking(SparseReader):
        def read(self, start_bytes: int, length_bytes: int) -> bytes:
            if start_bytes > 8 * CHUNK:
                raise QuiesceError("SnapshotBroken", "scratch ran out")
            return super().read(start_bytes, length_bytes)

    reader = Breaking(40 * CHUNK, {n: pattern(n, CHUNK) for n in range(40)})
    with (
        pytest.raises(QuiesceError, match="scratch ran out"),
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as session,
    ):
        session.copy_disk(Disk("vda", 40 * CHUNK), reader, progress=SilentProgress())
    assert vault.points() == ()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_reader_that_returns_another_length_breaks_the_snapshot(
    vault: Vault, change: int
) -> None:
    class Wrong(SparseReader):
        def read(self, start_bytes: int, length_bytes: int) -> bytes:
            return (super().read(start_bytes, length_bytes) + b"more")[: length_bytes + change]

    reader = Wrong(8 * CHUNK, {n: pattern(n, CHUNK) for n in range(8)})
    with (
        pytest.raises(QuiesceError) as caught,
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as session,
    ):
        session.copy_disk(Disk("vda", 8 * CHUNK), reader, progress=SilentProgress())
    assert caught.value.name == "SnapshotBroken"


def test_progress_covers_the_whole_disk(vault: Vault) -> None:
    class Counting(SilentProgress):
        stages: list[tuple[str, int | None]] = []  # noqa: RUF012 - of this one test
        done = 0

        def stage(self, name: str, total_bytes: int | None = None) -> None:
            self.stages.append((name, total_bytes))

        def advance(self, done_bytes: int) -> None:
            self.done += done_bytes

    progress, size = Counting(), 99 * CHUNK + 5
    reader = SparseReader(size, {7: pattern(1, CHUNK), 50: pattern(2, CHUNK)})
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        session.copy_disk(Disk("vda", size), reader, progress=progress)

    assert (progress.stages, progress.done) == ([("copy vda", size)], size)


# --- sessions ----------------------------------------------------------------------------------


def test_a_session_that_uploaded_nothing_is_aborted(vault: Vault) -> None:
    sid = ulid.new()
    with vault.session(machine="web1", uuid=None, sid=sid):
        pass

    assert state_of(vault, sid) is SessionState.ABORTED


def test_a_session_that_uploaded_is_left_for_the_next(vault: Vault, store: MemoryStore) -> None:
    sid, data = ulid.new(), {"vda": pattern(1, 20 * CHUNK)}
    with vault.session(machine="web1", uuid=None, sid=sid) as session:
        copied(session, data)
    assert state_of(vault, sid) is SessionState.OPEN

    point = back_up(vault, data)
    reused = [name for name in store.list("domains/web1/packs/") if f"{sid}/d-" in name]
    assert state_of(vault, sid) is SessionState.ABORTED
    assert len(reused) == 5
    assert point.new_bytes < 10 * CHUNK
    assert read_back(open_vault(store), point) == data


def test_a_session_that_was_adopted_cannot_commit(vault: Vault, store: MemoryStore) -> None:
    with (
        pytest.raises(QuiesceError) as caught,
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as paused,
    ):
        copied(paused, DISKS)
        later = back_up(open_vault(store), DISKS)
        paused.commit(EVIDENCE, created_at=WHEN)

    assert caught.value.name == "SessionLost"
    assert vault.points() == (later,)
    assert read_back(vault, later) == DISKS


def test_all_interrupted_sessions_are_closed_by_the_next(vault: Vault, store: MemoryStore) -> None:
    sids = [ulid.new() for _ in range(3)]
    stuck = []
    for sid in sids:
        context = open_vault(store).session(machine="web1", uuid=None, sid=sid)
        session = context.__enter__()
        stuck.append((context, session))
        copied(session, {"vda": pattern(len(stuck), 5 * CHUNK)})
    point = back_up(vault, DISKS)

    assert {state_of(vault, sid) for sid in sids} == {SessionState.ABORTED}
    assert vault.points() == (point,)
    for context, _ in stuck:
        context.__exit__(None, None, None)


def test_a_pack_that_vanished_is_not_committed(vault: Vault, store: MemoryStore) -> None:
    with (
        pytest.raises(QuiesceError, match="has gone") as caught,
        vault.session(machine="web1", uuid=None, sid=ulid.new()) as session,
    ):
        copied(session, {"vda": pattern(1, 20 * CHUNK)})
        session._packs.flush()
        lost = next(name for name in store.list("domains/web1/packs/") if "/d-" in name)
        del store._blobs[lost]
        session.commit(EVIDENCE, created_at=WHEN)
    assert caught.value.name == "VaultDamaged"
    assert vault.points() == ()


def test_another_uuid_under_the_same_name_is_refused(vault: Vault) -> None:
    back_up(vault, DISKS, uuid="AAAA-1")
    back_up(vault, DISKS, uuid="aaaa-1")

    with pytest.raises(QuiesceError, match="aaaa-1") as caught:
        back_up(vault, DISKS, uuid="bbbb-2")
    assert caught.value.name == "MachineIdentityChanged"


def test_the_same_machine_may_have_a_new_uuid_and_keeps_it(vault: Vault) -> None:
    back_up(vault, DISKS, uuid="aaaa-1")
    back_up(vault, DISKS, uuid="bbbb-2", same_machine=True)
    back_up(vault, DISKS, uuid="bbbb-2")

    with pytest.raises(QuiesceError):
        back_up(vault, DISKS, uuid="aaaa-1")


def test_a_machine_without_a_uuid_gets_one_and_keeps_it(vault: Vault) -> None:
    uuids = []
    for _ in range(2):
        with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
            uuids.append(session.uuid)

    assert uuids[0] == uuids[1]
    assert len(uuids[0]) == 36


# --- finding -----------------------------------------------------------------------------------


@pytest.fixture
def three(vault: Vault) -> list[str]:
    sids = [f"01JD{n}{'0' * 21}" for n in "AAB"]
    sids[1] = sids[1][:-1] + "1"
    for sid, hour in zip(sids, (8, 10, 12), strict=True):
        with vault.session(machine="web1", uuid=None, sid=sid) as session:
            copied(session, DISKS)
            session.commit(EVIDENCE, created_at=f"2026-11-23T{hour:02}:00:00.000Z")
    return sids


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("01JDB000", 2),
        ("01jdb000", 2),
        (f"01JDA{'0' * 21}", 0),
        (f"01JDA{'0' * 20}1", 1),
        ("web1@latest", 2),
        ("web1@2026-11-23T10:00:00Z", 1),
        ("web1@2026-11-23T09:59:59.999+00:00", 0),
        ("web1@2026-11-23T13:30:00+02:00", 1),
        ("web1@2027-01-01", 2),
    ],
)
def test_a_selector_finds_its_point(
    vault: Vault, three: list[str], selector: str, found: int
) -> None:
    assert vault.find(selector).id == three[found]


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        ("01JDA000", "PointAmbiguous"),
        ("01JDB00", "PointNotFound"),
        ("0" * 26, "PointNotFound"),
        (f"01JDA{'0' * 22}", "PointNotFound"),
        ("web2@latest", "PointNotFound"),
        ("web1@2026-11-23T07:00:00Z", "PointNotFound"),
        ("web1@yesterday", "PointNotFound"),
        ("", "PointNotFound"),
    ],
)
def test_a_selector_that_finds_none_or_several_says_so(
    vault: Vault, three: list[str], selector: str, error: str
) -> None:
    with pytest.raises(QuiesceError) as caught:
        vault.find(selector)
    assert caught.value.name == error


def test_a_point_without_a_readable_summary_is_an_alarm(store: MemoryStore) -> None:
    point = back_up(small_vault(store, encrypted=False), DISKS)
    name = names.log_name("web1", 2)
    store._blobs[name] = re.sub(rb'"created_at":"[^"]*"', b'"created_at":"never"', store.get(name))
    again = open_vault(store)

    assert again.points() == ()
    assert point.id in again.alarms("web1")[0]
