"""Scrub: every damage is found, named by points, disks and bytes, and healed by the next backup."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.model.changes import ChangeList
from quiesce.model.disk import Disk
from quiesce.model.extent import Extent, merged
from quiesce.system import ulid
from quiesce.testing.fakes import MemoryReader, SilentProgress
from quiesce.vault import decisions, ledger
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names, pack
from quiesce.vault.format.ledger import Checked
from quiesce.vault.repository import Vault
from quiesce.vault.scrubbing import Budget, Clock, Scrub, Scrubbed
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    WHEN,
    FailingStore,
    back_up,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from quiesce.model.point import PointSummary
    from quiesce.ports import PrunableStore
    from quiesce.vault.log import LogState

# Two leaves, a hole, a short last chunk.
DISKS = {
    "vda": pattern(1, 5 * CHUNK) + bytes(256 * CHUNK) + pattern(2, 4 * CHUNK) + b"end",
    "vdb": b"compresses" * 40_000,
}
LATER = {**DISKS, "vda": DISKS["vda"][: 3 * CHUNK] + pattern(3, CHUNK) + DISKS["vda"][4 * CHUNK :]}
KINDS = ["lost", "empty", "cut", "flipped", "zeroed", "replaced"]


@dataclass
class Ticking:
    """A clock that goes on by a second whenever it is asked."""

    now: int = 0

    def seconds(self) -> float:
        self.now += 1
        return float(self.now)

    def date(self) -> str:
        return f"2026-11-25T00:{self.now // 60:02}:{self.now % 60:02}Z"


@dataclass
class Box:
    """A vault with two points, and who scrubs it."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: Ticking = field(default_factory=Ticking)
    encrypted: bool = True

    def __post_init__(self) -> None:
        vault = small_vault(self.store, encrypted=self.encrypted)
        self.points = [back_up(vault, DISKS), back_up(vault, LATER)]

    @property
    def vault(self) -> Vault:
        return open_vault(self.store)

    def packs(self, kind: str) -> list[str]:
        return [name for name in self.store.list("domains/web1/packs/") if f"/{kind}-" in name]

    def damage(self, name: str, how: str, at: float = 0.5) -> bytes:
        """Damage the blob *name*, and return what it was."""
        data = self.store._blobs.pop(name)
        made = {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "zeroed": bytes(len(data)),
            "replaced": pattern(9, len(data)),
            "flipped": flipped(data, int(at * (len(data) - 1))),
        }
        if how != "lost":
            self.store._blobs[name] = made[how]
        return data

    def scrub(
        self,
        budget: Budget = Budget(),  # noqa: B008 - a frozen value
        *,
        opens: bool = True,
        store: PrunableStore | None = None,
        has_key: bool = True,
    ) -> Scrubbed:
        self.clock.now += 60
        used = store or self.store
        clock = Clock(self.clock.date, self.clock.seconds)
        vault = open_vault(used) if has_key else Vault.open(used)
        (found,) = Scrub(used, vault, clock, opens=opens).run(budget, SilentProgress())
        return found

    def lost(self, point: PointSummary) -> dict[str, list[Extent]]:
        """Return what of *point* cannot be read, found out chunk by chunk."""
        reader = self.vault.read(point)
        lost: dict[str, list[Extent]] = {}
        for disk in reader.disks:
            found = []
            for start in range(0, disk.size_bytes, CHUNK):
                length = min(CHUNK, disk.size_bytes - start)
                try:
                    reader.disk(disk.name).read(start, length)
                except QuiesceError:
                    found.append(Extent(start, length))
            if found:
                lost[disk.name] = list(merged(found))
        return lost


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def told(found: Scrubbed) -> dict[str, dict[str, list[Extent]]]:
    assert all(point.disks is not None for point in found.points)
    return {
        point.sid: {disk.name: list(disk.lost) for disk in point.disks or ()}
        for point in found.points
    }


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def any_box(request: pytest.FixtureRequest) -> Box:
    return Box(encrypted=request.param)


@pytest.fixture
def box() -> Box:
    return Box(encrypted=True)


@pytest.mark.parametrize("opens", [False, True])
def test_a_whole_vault_is_read_and_found_whole(any_box: Box, opens: bool) -> None:
    box = any_box
    found = box.scrub(opens=opens)
    packs = box.packs("d") + box.packs("m")

    assert found.is_whole
    assert found.read.packs == len(packs)
    assert found.read.stored_bytes == sum(box.store.size(name) for name in packs)
    assert (found.left.packs, found.points) == (0, ())


@pytest.mark.parametrize("how", KINDS)
def test_what_a_damaged_data_pack_means_is_told_to_the_byte(any_box: Box, how: str) -> None:
    box = any_box
    for name in box.packs("d"):
        data = box.damage(name, how)
        found = box.scrub()

        assert [names.pack_name("web1", each) for each in found.damaged] == [name]
        expected = {point.id: box.lost(point) for point in box.points}
        assert any(expected.values())
        for sid, disks in expected.items():
            assert told(found).get(sid, {}) == disks
        box.store._blobs[name] = data


@pytest.mark.parametrize("how", KINDS)
def test_a_damaged_map_whose_twin_is_whole_has_lost_nothing(box: Box, how: str) -> None:
    for name in box.packs("m"):
        data = box.damage(name, how)
        found = box.scrub(opens=False)

        assert [names.pack_name("web1", each) for each in found.damaged] == [name]
        assert all(not disks for disks in told(found).values())
        box.store._blobs[name] = data


def test_a_lost_leaf_is_told_as_its_range_of_the_disk(box: Box) -> None:
    disk_map = box.vault.read(box.points[1]).disk_map(Disk("vda", len(LATER["vda"])))
    leaf = None if disk_map is None else disk_map.ref(0, 1)
    assert leaf is not None
    for each in leaf.place.packs:
        box.damage(names.pack_name("web1", each), "lost")
    found = box.scrub()

    start, size = 256 * CHUNK, len(LATER["vda"])
    assert told(found)[box.points[1].id]["vda"][-1] == Extent(start, size - start)


def test_a_lost_manifest_is_told_as_a_lost_point(box: Box) -> None:
    place = box.vault.read(box.points[0]).manifest_ref.place
    for each in place.packs:
        box.damage(names.pack_name("web1", each), "zeroed")
    first = next(each for each in box.scrub().points if each.sid == box.points[0].id)

    assert first.disks is None
    assert "/m-" in str(first.why)


@pytest.mark.parametrize("at", [0.0, 0.001, 0.4, 0.999, 1.0])
def test_a_flipped_bit_anywhere_in_a_pack_is_found_without_a_key(box: Box, at: float) -> None:
    for name in box.packs("d") + box.packs("m"):
        data = box.damage(name, "flipped", at)
        assert [each.text for each in box.scrub(has_key=False).damaged] == [name[-93:]]
        box.store._blobs[name] = data


def test_without_a_key_the_points_are_named_and_no_more(box: Box) -> None:
    box.damage(box.packs("d")[0], "lost")
    found = box.scrub(has_key=False)

    assert (found.locked, found.opened) == (True, False)
    assert {point.sid for point in found.points} <= {point.id for point in box.points}
    assert [(point.disks, point.machine) for point in found.points[:1]] == [(None, "web1")]
    assert ledger.read(box.store, "web1").checked.opened == {}


def test_a_pack_that_was_written_wrongly_is_found_by_opening_it(box: Box) -> None:
    sid, digest = ulid.new(), names.digest(b"something else")
    domain = box.vault.domains()[0]
    seal = domain.keys.pack("d", domain.keys.current, bytes(16))
    builder = pack.PackBuilder(domain.head.vault_id, "d", 1 << 20, seal)
    builder.add(digest, b"plain", 5, pack.RAW)
    sealed = builder.seal()
    name = pack.pack_of(sid, "d", sealed)
    domain.append(lambda s: None if sid in s.sessions else entries.Open(sid, "web1", "x"))
    box.store.create(names.pack_name("web1", name), sealed)
    kept = domain.state.points[box.points[0].id]
    change = entries.PackChange(None, frozenset({name}))
    body = entries.Snapshot(sid, change, kept.snapshot.manifest, kept.snapshot.summary)
    domain.append(lambda s: None if sid in s.points else body)

    assert box.scrub(opens=False).is_whole
    assert "written wrongly" in box.scrub(opens=True).damaged[name]


@pytest.mark.parametrize("how", ["lost", "flipped"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_log_is_told(box: Box, how: str, number: int) -> None:
    box.damage(f"domains/web1/log/{number:012d}", how)
    found = box.scrub()

    assert not found.is_whole
    # A flipped bit may leave an entry that is one, but then the next does not follow it.
    told = " ".join(found.look.alarms)
    assert str(number) in told or f"{number + 1} does not follow" in told


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("is_incremental", [False, True])
def test_the_next_backup_stores_again_what_a_scrub_found_damaged(
    box: Box, how: str, is_incremental: bool
) -> None:
    for name in [*box.packs("d")[:2], box.packs("m")[0]]:
        box.damage(name, how)
    box.scrub(opens=False)
    vault = box.vault
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        for disk, data in LATER.items():
            changed = ChangeList((), box.points[1].id, 0.0) if is_incremental else None
            session.copy_disk(
                Disk(disk, len(data)),
                MemoryReader(data),
                progress=SilentProgress(),
                changed=changed,
            )
        point = session.commit(EVIDENCE, created_at=WHEN)

    assert read_back(box.vault, point) == LATER
    assert box.scrub().points
    assert told(box.scrub()).get(point.id, {}) == {}
    before = len(box.packs("d"))
    back_up(box.vault, LATER)
    assert len(box.packs("d")) == before


def test_a_pack_that_is_whole_again_is_used_again(box: Box) -> None:
    name = box.packs("d")[0]
    data = box.damage(name, "flipped")
    assert not box.scrub().is_whole
    assert list(ledger.damaged(box.store, "web1")) == [names.parse_pack(name[-93:])]
    box.store._blobs[name] = data

    assert box.scrub().is_whole
    assert ledger.damaged(box.store, "web1") == {}
    before = len(box.packs("d"))
    back_up(box.vault, LATER)
    assert len(box.packs("d")) == before


def test_what_was_read_longest_ago_is_read_first(box: Box) -> None:
    many = len(box.packs("d") + box.packs("m"))
    moments = []
    for _ in range(many):
        found = box.scrub(Budget(read_bytes=1))
        assert found.read.packs == 1
        assert found.left.packs == many - 1
        moments.append(found.oldest)

    assert moments[:-1] == [None] * (many - 1)
    assert moments[-1] is not None
    assert moments[-1] < str(box.scrub(Budget(read_bytes=1)).oldest)
    assert box.scrub(Budget(read_bytes=1), opens=False).read.packs == 1


def test_damage_that_is_known_is_told_again_and_read_first(box: Box) -> None:
    name = box.packs("d")[0]
    box.damage(name, "flipped")
    box.scrub()
    found = box.scrub(Budget(read_bytes=1))

    assert [names.pack_name("web1", each) for each in found.damaged] == [name]
    assert found.read.stored_bytes == box.store.size(name)


def test_a_budget_of_time_ends_the_scrub(box: Box) -> None:
    found = box.scrub(Budget(seconds=3))

    assert 0 < found.read.packs < found.look.live.packs
    assert found.read.packs + found.left.packs == found.look.live.packs


def test_an_interrupted_scrub_has_kept_what_it_read(box: Box) -> None:
    counting = FailingStore(box.store)
    box.scrub(store=counting)
    reads = [
        n
        for n, each in enumerate(counting.operations, 1)
        if each.startswith("get") and "/packs/" in each
    ]
    fresh = Box()
    with pytest.raises(QuiesceError, match="on purpose"):
        fresh.scrub(store=FailingStore(fresh.store, at=reads[-1]))

    checked = ledger.read(fresh.store, "web1").checked
    assert 0 < len(checked.opened) < len(fresh.packs("d") + fresh.packs("m"))


def test_what_is_purged_and_deleted_meanwhile_is_no_damage(box: Box) -> None:
    def purge_on(sid: str, state: LogState) -> entries.Purge | None:
        return entries.Purge(sid) if sid in state.points else None

    class Purging(FailingStore):
        def size(self, name: str) -> int:
            return box.store.size(name)

        def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
            with lock:
                if "/packs/" in name and domain.state.points:
                    for sid in list(domain.state.points):
                        decisions.forget(domain, sid)
                        domain.append(partial(purge_on, sid))
                    box.store.delete(box.packs("d") + box.packs("m"))
            return box.store.get(name, start_bytes, length_bytes)

    domain = box.vault.domains()[0]
    domain.refresh()
    lock = threading.Lock()

    assert box.scrub(store=Purging(box.store)).is_whole
    assert ledger.damaged(box.store, "web1") == {}


def test_many_records_become_one_and_damage_stays_known(box: Box) -> None:
    name = box.packs("d")[0]
    box.damage(name, "cut")
    for _ in range(20):
        box.scrub(Budget(read_bytes=1))
    box.scrub()

    assert len(list(box.store.list("scrub/web1/c-"))) < 16
    assert len(ledger.damaged(box.store, "web1")) == 1
    assert len(ledger.read(box.store, "web1").checked.opened) == box.scrub().look.live.packs


@pytest.mark.parametrize("how", KINDS)
def test_a_damaged_ledger_costs_nothing_but_time(box: Box, how: str) -> None:
    box.damage(box.packs("d")[0], "cut")
    box.scrub()
    for name in list(box.store.list("scrub/")):
        box.damage(name, how, 0.0)

    found = box.scrub()
    assert len(found.damaged) == 1
    assert found.left.packs == 0
    back_up(box.vault, LATER)


def test_of_two_moments_the_later_one_counts() -> None:
    one = Checked({"a": "2026-01-02", "b": "2026-01-01"}, {})
    other = Checked({"a": "2026-01-01"}, {"b": "2026-01-03"})

    assert one.with_later(other) == Checked(dict(one.hashed), {"b": "2026-01-03"})
