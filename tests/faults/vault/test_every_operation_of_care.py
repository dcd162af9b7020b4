"""Every store operation of a forget, a prune and a repack is cut in turn."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs import prune as prune_job
from quiesce.policy.retention import KeepRules
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    Died,
    FailingStore,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from pathlib import Path

    from quiesce.ports import PrunableStore

pytestmark = pytest.mark.faults

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
TERMS = Terms(KeepRules(last=2), timedelta(days=2), START + timedelta(days=7))
MUCH_LATER = Terms(KeepRules(last=2), timedelta(days=2), START + timedelta(days=50))


@dataclass
class Scene:
    """A vault with an old forgotten point, one to forget, two to keep, and what is in them."""

    store: MemoryStore
    disks: dict[str, dict[str, bytes]]

    def clone(self) -> MemoryStore:
        copy = MemoryStore(self.store._clock)
        copy._blobs, copy._stored_at_s = dict(self.store._blobs), dict(self.store._stored_at_s)
        return copy


@pytest.fixture(scope="module")
def scene() -> Scene:
    now = [START]

    def clock() -> float:
        return now[0].timestamp()

    store = MemoryStore(clock)
    vault = small_vault(store)
    disks, points = {}, []
    data = pattern(1, 8 * CHUNK)
    for day in range(4):
        content = {"vda": pattern(10 + day, 3 * CHUNK) + data[3 * CHUNK :]}
        if day == 1:
            content = {"vda": pattern(30, 7 * CHUNK) + data[7 * CHUNK :]}
            data = content["vda"]
        with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
            copied(session, content)
            created = now[0].isoformat().replace("+00:00", "Z")
            points.append(session.commit(EVIDENCE, created_at=created))
        disks[points[-1].id] = content
        if day == 1:
            vault.forget(points[0])
        now[0] += timedelta(days=1)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied(session, {"vda": pattern(90, CHUNK)})
        session._packs.flush()
    now[0] = TERMS.now
    return Scene(store, disks)


def prune(store: PrunableStore, terms: Terms = TERMS) -> None:
    maintenance = Maintenance(store, open_vault(store))
    prune_job.apply(maintenance, prune_job.plan(maintenance, terms), progress=SilentProgress())


def cut_prune(store: PrunableStore, *, at: int, how: str) -> str:
    """Cut a prune; return the operation that was cut, empty where it ended before."""
    failing = FailingStore(store, at=at, how=how)
    with suppress(QuiesceError, Died):
        prune(failing)
    return "".join(failing.operations[at - 1 : at])


def check(store: PrunableStore, scene: Scene) -> dict[str, str]:
    """Every point reads back as it was written; return the states of all."""
    vault = open_vault(store)
    points = vault.points()
    for point in points:
        assert read_back(vault, point) == scene.disks[point.id]
    assert vault.alarms() == ()
    return {point.id: point.state for point in points}


def left_behind(store: PrunableStore) -> list[str]:
    """Return the packs that a last prune, long after, has not deleted and nothing lists."""
    prune(store, MUCH_LATER)
    live = open_vault(store)._domain("web1").refresh().live_packs
    names = {f"domains/web1/packs/{pack.text}" for pack in live}
    return [name for name in store.list("domains/web1/packs/") if name not in names]


def test_an_uncut_prune_does_all_of_it(scene: Scene) -> None:
    store = scene.clone()
    whole = FailingStore(store)
    prune(whole)

    state = open_vault(store)._domain("web1").refresh()
    assert len(state.moved) > 0
    assert sorted(check(store, scene).values()) == ["forgotten", "live", "live"]
    assert {operation.partition(" ")[0] for operation in whole.operations} == {
        "get",
        "size",
        "folders",
        "list",
        "blobs",
        "create",
        "delete",
    }
    assert left_behind(store) == []


@pytest.mark.parametrize("how", FailingStore.WAYS)
def test_points_restore_and_the_next_prune_needs_nobody(scene: Scene, how: str) -> None:
    uncut = scene.clone()
    prune(uncut)
    expected = check(uncut, scene)
    at, cut = 1, "the first"
    while cut:
        store = scene.clone()
        cut = cut_prune(store, at=at, how=how)
        check(store, scene)

        prune(store)
        assert check(store, scene) == expected, cut
        assert left_behind(store) == [], cut
        at += 1
    assert at > 40


@pytest.mark.parametrize("how", ["refused", "lost", "late", "killed before", "killed after"])
def test_a_backup_after_a_cut_prune_needs_nobody(scene: Scene, how: str) -> None:
    at, cut = 1, "the first"
    while cut:
        store = scene.clone()
        cut = cut_prune(store, at=at, how=how)
        new = {"vda": pattern(60, CHUNK) + pattern(1, 8 * CHUNK)[CHUNK:]}
        point = back_up(open_vault(store), new)

        vault = open_vault(store)
        assert read_back(vault, point) == new
        for each in vault.points():
            assert each.id == point.id or read_back(vault, each) == scene.disks[each.id]
        at += 2


@pytest.mark.parametrize("how", FailingStore.WAYS)
@pytest.mark.parametrize("verb", ["forget", "recall", "hold", "unhold"])
def test_decisions_about_a_point_are_made_once_or_not_at_all(
    scene: Scene, how: str, verb: str
) -> None:
    arguments = {"hold": {"hold_id": "h"}}.get(verb, {})
    at, cut = 1, "the first"
    while cut:
        store = scene.clone()
        vault = open_vault(store)
        wanted = "forgotten" if verb == "recall" else "live"
        point = next(each for each in vault.points() if each.state == wanted)
        if verb == "unhold":
            vault.hold(point, hold_id="h")
        before = vault._domain("web1").refresh().tail
        failing = FailingStore(store, at=at, how=how)
        try:
            getattr(open_vault(failing), verb)(point, **arguments)
            said = True
        except (QuiesceError, Died):
            said = False
        cut = "".join(failing.operations[at - 1 : at])
        tail = vault._domain("web1").refresh().tail

        assert tail in {before, before + 1}
        assert tail == before + 1 or not said
        getattr(open_vault(store), verb)(point, **arguments)
        assert vault._domain("web1").refresh().tail == before + 1
        at += 1
    assert at > 3


@pytest.mark.parametrize("how", ["full", "killed before", "killed after"])
def test_a_directory_survives_every_cut_too(scene: Scene, tmp_path: Path, how: str) -> None:
    for at in range(1, 200, 7):
        store = in_directory(scene, tmp_path / f"{at}")
        cut = cut_prune(store, at=at, how=how)
        check(store, scene)
        prune(store)
        assert sorted(check(store, scene).values()) == ["forgotten", "live", "live"]
        if not cut:
            return


def in_directory(scene: Scene, root: Path) -> DirectoryStore:
    store = DirectoryStore(root)
    for blob in scene.store.blobs(""):
        store.create(blob.name, scene.store.get(blob.name))
        os.utime(root / blob.name, (blob.stored_at_s, blob.stored_at_s))
    return store
