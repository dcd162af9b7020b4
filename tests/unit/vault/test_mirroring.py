"""A mirror can be read at each moment, goes on where it was stopped, and stays the vault's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.format import names
from quiesce.vault.keys import creation
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.mirroring import Mirror
from quiesce.vault.repository import Vault
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    Died,
    FailingStore,
    back_up,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.ports import PrunableStore
    from quiesce.vault.mirroring import Mirrored

DISKS = [
    {"vda": pattern(seed, 5 * CHUNK) + pattern(9, 2 * CHUNK), "vdb": pattern(seed, 700)}
    for seed in range(3)
]


def mirror(source: PrunableStore, target: PrunableStore) -> tuple[Mirrored, ...]:
    return Mirror(source, target).run(SilentProgress())


def prune(store: PrunableStore) -> None:
    """Let all points of web1 go but the last."""
    vault = open_vault(store)
    for point in vault.points("web1")[:-1]:
        vault.forget(point)
    now = datetime.now(UTC) + timedelta(days=30)
    keeper = Maintenance(store, open_vault(store))
    for planned in list(keeper.plan(Terms(KeepRules(), timedelta(), now))):
        keeper.apply(planned)


def contents(store: PrunableStore) -> dict[str, dict[str, bytes]]:
    vault = open_vault(store)
    return {point.id: read_back(vault, point) for point in vault.points()}


def blobs(store: PrunableStore) -> set[str]:
    return set(store.list(""))


@pytest.fixture
def source() -> MemoryStore:
    """A vault of two machines, with three points of one and one of the other."""
    store = MemoryStore()
    vault = small_vault(store)
    for disks in DISKS:
        back_up(vault, disks)
    back_up(vault, DISKS[0], machine="db1")
    return store


@pytest.fixture
def target() -> MemoryStore:
    return MemoryStore()


def test_a_mirror_is_the_vault(source: MemoryStore, target: MemoryStore) -> None:
    done = mirror(source, target)

    assert contents(target) == contents(source)
    assert blobs(target) == blobs(source)
    assert [(each.name, each.points, each.lost) for each in done] == [
        ("db1", 1, ()),
        ("web1", 3, ()),
    ]
    assert sum(each.packs for each in done) == sum("/packs/" in name for name in blobs(target))


def test_only_what_is_new_is_copied(source: MemoryStore, target: MemoryStore) -> None:
    mirror(source, target)
    before = blobs(target)
    assert all((each.packs, each.entries) == (0, 0) for each in mirror(source, target))
    back_up(open_vault(source), {**DISKS[2], "vdb": pattern(7, 900)})
    counted = FailingStore(target)
    (_, web1) = mirror(source, counted)

    assert (web1.points, web1.entries) == (4, 2)
    created = {
        each.split()[1]
        for each in counted.operations
        if each.startswith("create d") and "/keys/" not in each
    }
    assert created == blobs(target) - before
    assert contents(target) == contents(source)


def test_what_was_pruned_before_the_mirror_is_not_copied(
    source: MemoryStore, target: MemoryStore
) -> None:
    prune(source)
    mirror(source, target)

    assert len(contents(target)) == 2
    assert contents(target) == contents(source)


def test_a_prune_reaches_the_mirror_and_nothing_is_deleted_there(
    source: MemoryStore, target: MemoryStore
) -> None:
    mirror(source, target)
    before = blobs(target)
    prune(source)
    mirror(source, target)

    assert len(contents(target)) == 2
    assert contents(target) == contents(source)
    assert blobs(target) >= before


class Watched(MemoryStore):
    """Calls back after each creation."""

    def __init__(self) -> None:
        super().__init__()
        self.watch: Callable[[str], None] = lambda _: None

    def create(self, name: str, data: bytes | bytearray) -> bool:
        created = super().create(name, data)
        self.watch(name)
        return created


def test_at_each_moment_every_point_that_it_shows_can_be_read(source: MemoryStore) -> None:
    truth = contents(source)
    target = Watched()
    seen = []

    def look(name: str) -> None:
        if names.log_prefix("web1") in name or names.log_prefix("db1") in name:
            found = contents(target)
            assert found.items() <= truth.items()
            seen.append(len(found))
        else:
            assert open_vault(target) is not None

    target.watch = look
    mirror(source, target)

    assert sorted(set(seen)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("side", "how"),
    [("source", "refused"), ("source", "killed before")]
    + [("target", how) for how in FailingStore.WAYS],
)
def test_whatever_cuts_it_the_mirror_can_be_read_and_the_next_run_goes_on(
    side: str, how: str
) -> None:
    source = MemoryStore()
    vault = small_vault(source)
    for seed in range(2):
        back_up(vault, {"vda": pattern(seed, 2 * CHUNK)})
    truth = contents(source)
    at, is_cut = 1, True
    while is_cut:
        target = MemoryStore()
        failing = FailingStore({"source": source, "target": target}[side], at=at, how=how)
        try:
            mirror(*((failing, target) if side == "source" else (source, failing)))
        except (QuiesceError, Died):
            if any(target.list(names.VAULT_NAME)):
                assert contents(target).items() <= truth.items()
        is_cut = len(failing.operations) >= at
        mirror(source, target)
        assert contents(target) == truth
        at += 1
    assert at > 20


def test_packs_that_a_prune_takes_away_meanwhile_are_not_missed(
    source: MemoryStore, target: MemoryStore
) -> None:
    class PrunedMeanwhile(FailingStore):
        def get(self, name: str, *more: int | None) -> bytes:
            if "/packs/" in name and not self.operations.count("pruned"):
                self.operations.append("pruned")
                prune(source)
            return super().get(name, *more)

    done = mirror(PrunedMeanwhile(source), target)

    assert all(each.lost == () for each in done)
    assert len(contents(source)) == 2
    assert contents(target) == contents(source)


@pytest.mark.parametrize("damage", ["missing", "rotten"])
def test_what_the_vault_itself_has_lost_is_named_and_the_rest_is_copied(
    source: MemoryStore, target: MemoryStore, damage: str
) -> None:
    lost = min(name for name in blobs(source) if "web1/packs/" in name and "/d-" in name)
    raw = source.get(lost)
    source.delete([lost])
    if damage == "rotten":
        source.create(lost, b"x" + raw[1:])
    (db1, web1) = mirror(source, target)

    assert [pack.text for pack in web1.lost] == [lost.partition("/packs/")[2]]
    assert db1.lost == ()
    assert blobs(source) - blobs(target) <= {lost}
    assert lost not in blobs(target)

    if damage == "missing":
        source.create(lost, raw)
        (_, web1) = mirror(source, target)
        assert (web1.packs, web1.lost) == (1, ())
        assert contents(target) == contents(source)


def test_the_mirror_of_another_vault_is_refused(source: MemoryStore, target: MemoryStore) -> None:
    Vault.create(target, creation.plain_vault())
    before = blobs(target)
    with pytest.raises(QuiesceError, match="another vault") as caught:
        mirror(source, target)

    assert caught.value.name == "MirrorDiverged"
    assert blobs(target) == before


def test_a_mirror_that_was_backed_up_to_is_refused(
    source: MemoryStore, target: MemoryStore
) -> None:
    mirror(source, target)
    back_up(open_vault(target), DISKS[1])
    for _ in range(2):
        with pytest.raises(QuiesceError, match="entries there that are not") as caught:
            mirror(source, target)
        assert caught.value.name == "MirrorDiverged"
        # And where the vault has gone on too.
        back_up(open_vault(source), DISKS[0])


def test_a_mirror_can_be_mirrored_back(source: MemoryStore, target: MemoryStore) -> None:
    mirror(source, target)
    back = MemoryStore()
    mirror(target, back)

    assert {name: back.get(name) for name in blobs(back)} == {
        name: source.get(name) for name in blobs(source)
    }


def test_keys_are_copied_before_what_they_open(source: MemoryStore) -> None:
    source.create("keys/passphrase", b"wrapped")
    source.create("domains/web1/keys/000001.root", b"wrapped too")
    target = FailingStore(MemoryStore())
    mirror(source, target)
    created = [each.split()[1] for each in target.operations if each.startswith("create")]

    in_domains = [name.startswith("domains/") for name in created]
    assert created[0] == "vault.json"
    assert created.index("keys/passphrase") < in_domains.index(True)
    assert created.index("domains/web1/keys/000001.root") < created.index(names.log_name("web1", 1))
