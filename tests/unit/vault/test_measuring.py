"""What points and machines take, and what is dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.jobs import prune
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault import measuring
from quiesce.vault.collecting import Terms
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.looking import look
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, back_up, open_vault, pattern, small_vault

if TYPE_CHECKING:
    from quiesce.vault.measuring import DomainSize

# Two chunks are equal, one is short, many are zero, in two leaves.
FIRST = {
    "vda": pattern(1, 3 * CHUNK) + pattern(1, CHUNK) + bytes(300 * CHUNK) + pattern(2, 100),
    "vdb": bytes(3 * CHUNK),
}
SECOND = {**FIRST, "vdb": pattern(3, 2 * CHUNK) + bytes(CHUNK)}


class Counting:
    """Progress that counts."""

    done = 0

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """See `ports.Progress`."""

    def advance(self, done_bytes: int) -> None:
        self.done += done_bytes


def measured(store: MemoryStore, progress: Counting | None = None) -> DomainSize:
    (domain,) = open_vault(store).domains()
    return measuring.measure(store, look(store, domain), progress or Counting())


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    store = MemoryStore()
    vault = small_vault(store, encrypted=request.param)
    back_up(vault, FIRST)
    back_up(vault, SECOND)
    return store


def test_equal_chunks_count_once_and_zeros_not_at_all(store: MemoryStore) -> None:
    (machine,) = measured(store).machines
    first, second = (point.size for point in machine.points)

    assert first is not None
    assert second is not None
    assert first.logical == second.logical == sum(map(len, FIRST.values()))
    assert first.unique == 3 * CHUNK + 100
    assert second.unique == 5 * CHUNK + 100
    assert machine.size.logical == first.logical + second.logical
    assert machine.size.unique == second.unique


def test_what_compresses_takes_less_and_maps_take_more() -> None:
    store = MemoryStore()
    back_up(small_vault(store), {"vda": b"compresses" * 100_000})
    (machine,) = measured(store).machines
    size = machine.size

    assert size.unique == 1_000_000
    assert 0 < size.compressed < 10_000
    assert size.compressed < size.stored < sum(map(store.size, store.list("domains/web1/packs/")))


def test_points_that_share_everything_take_no_more_together(store: MemoryStore) -> None:
    back_up(open_vault(store), SECOND)
    (machine,) = measured(store).machines
    _, second, third = (point.size for point in machine.points)

    assert second is not None
    assert third is not None
    assert (third.unique, third.compressed) == (second.unique, second.compressed)
    assert machine.size.unique == second.unique


def test_in_a_vault_with_nothing_dead_nothing_is_dead(store: MemoryStore) -> None:
    found = measured(store)

    assert found.dead_inside == 0
    assert found.look.dead.packs == found.look.open.packs == found.look.unknown.packs == 0
    assert found.look.live.stored_bytes == sum(map(store.size, store.list("domains/web1/packs/")))


def test_dead_bytes_are_those_that_a_prune_frees_or_leaves_in_packs() -> None:
    store = MemoryStore()
    vault = small_vault(store)
    data = pattern(9, 8 * CHUNK)
    point = back_up(vault, {"vda": data})
    back_up(vault, {"vda": data[:CHUNK] + pattern(1, 7 * CHUNK)})
    vault.forget(point)
    assert measured(store).look.dead.packs == 0
    maintenance = Maintenance(store, open_vault(store))
    terms = Terms(KeepRules(), timedelta(0), datetime.now(UTC) + timedelta(days=30))
    (planned,) = prune.plan(maintenance, terms)
    domain = open_vault(store).domains()[0]
    # Purged alone, so that nothing is repacked.
    domain.append(lambda state: entries.Purge(point.id) if point.id in state.points else None)
    found = measured(store)

    assert found.look.dead.packs > 0
    assert found.dead_inside is not None
    # Of the pack that the second point shares, three chunks of four are dead.
    assert 3 * CHUNK <= found.dead_inside < 3 * CHUNK + 2000
    before = found.look.dead.stored_bytes
    (done,) = prune.apply(maintenance, [planned], progress=SilentProgress())
    assert done.freed_bytes >= before


def test_after_a_repack_next_to_nothing_is_dead() -> None:
    store = MemoryStore()
    vault = small_vault(store)
    data = pattern(9, 8 * CHUNK)
    point = back_up(vault, {"vda": data})
    back_up(vault, {"vda": data[:CHUNK] + pattern(1, 7 * CHUNK)})
    vault.forget(point)
    maintenance = Maintenance(store, open_vault(store))
    terms = Terms(KeepRules(), timedelta(0), datetime.now(UTC) + timedelta(days=30))
    (done,) = prune.apply(maintenance, prune.plan(maintenance, terms), progress=SilentProgress())

    assert done.repacked.packs
    found = measured(store)
    assert found.dead_inside == 0
    assert found.machines[0].size.unique == 8 * CHUNK


def test_a_damaged_point_is_told_and_the_others_are_measured(store: MemoryStore) -> None:
    vault = open_vault(store)
    first, second = vault.points()
    for pack in vault.read(second).manifest_ref.place.packs:
        store.delete([names.pack_name("web1", pack)])
    found = measured(store)
    sizes = {point.point.id: point.size for point in found.machines[0].points}

    assert sizes[first.id] is not None
    assert sizes[second.id] is None
    assert found.dead_inside is None


def test_progress_counts_the_disks(store: MemoryStore) -> None:
    progress = Counting()
    measured(store, progress)

    assert progress.done == 2 * sum(map(len, FIRST.values()))


def test_without_a_key_there_is_the_size_of_the_packs_and_no_more() -> None:
    store = MemoryStore()
    back_up(small_vault(store), FIRST)
    (domain,) = Vault.open(store).domains()
    found = measuring.measure(store, look(store, domain), Counting())

    assert (found.locked, found.machines, found.dead_inside) == (True, (), None)
    assert found.look.live.stored_bytes == sum(map(store.size, store.list("domains/web1/packs/")))
