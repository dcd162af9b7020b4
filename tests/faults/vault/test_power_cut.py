"""The power goes while a directory vault is written, pruned and repacked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import explorer
from power_cut import Event, Recorder, states_after
from quiesce.errors import QuiesceError
from quiesce.jobs import prune as prune_job
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from vault_box import back_up, open_vault, pattern, read_back, small_vault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from quiesce.ports import PrunableStore

pytestmark = pytest.mark.faults

SHARED = pattern(1, 3000)
DISKS = [{"a": pattern(seed, 3000), "b": SHARED} for seed in range(2, 6)]
TERMS = Terms(KeepRules(last=1), timedelta(0), datetime(2030, 1, 1, tzinfo=UTC))


class Scene:
    """A vault in a directory, whose changes are recorded while one thing is done to it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        explorer.without_threads(monkeypatch)
        self.root = root
        self.store = DirectoryStore(root)
        self.contents: dict[str, dict[str, bytes]] = {}
        vault = small_vault(self.store)
        for disks in DISKS[:2]:
            self.contents[back_up(vault, disks).id] = disks
        self.first = next(iter(self.contents))
        vault.forget(next(point for point in vault.points() if point.id == self.first))

    def record(
        self, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch, forget: Sequence[str] = ()
    ) -> tuple[dict[str, bytes], list[Event]]:
        before = {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        recorder = Recorder(self.root)
        with monkeypatch.context() as patch:
            recorder.install(patch, forget=forget)
            act()
        return before, recorder.events

    def memory(self, files: dict[str, bytes]) -> MemoryStore:
        store = MemoryStore()
        for path, data in files.items():
            store.create(path[len(str(self.root)) + 1 :], data)
        return store

    def back_up(self) -> None:
        point = back_up(open_vault(self.store), DISKS[2])
        self.contents[point.id] = DISKS[2]

    def prune(self) -> None:
        prune(self.store)


def prune(store: PrunableStore) -> None:
    maintenance = Maintenance(store, open_vault(store))
    prune_job.apply(maintenance, prune_job.plan(maintenance, TERMS), progress=SilentProgress())


def check(store: MemoryStore, contents: dict[str, dict[str, bytes]], *, must: set[str]) -> None:
    vault = open_vault(store)
    points = vault.points()
    for point in points:
        assert point.id not in contents or read_back(vault, point) == contents[point.id]
    assert must <= {point.id for point in points}
    assert vault.alarms() == ()


def cuts_of(scene: Scene, before: dict[str, bytes], events: list[Event], *, must: set[str]) -> int:
    states = 0
    for cut in range(len(events) + 1):
        for files in states_after(before, events[:cut], seed=cut):
            store = scene.memory(files)
            check(store, scene.contents, must=must)
            states += 1
            if states % 5 == 0:
                back_up(open_vault(store), DISKS[3])
                prune(store)
                check(store, scene.contents, must=set())
    return states


def test_a_backup_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path / "vault", monkeypatch)
    known = set(scene.contents)
    before, events = scene.record(scene.back_up, monkeypatch)

    assert cuts_of(scene, before, events, must=known) > 30
    new = set(scene.contents) - known
    for files in states_after(before, events, seed=0):
        check(scene.memory(files), scene.contents, must=new)


def test_a_prune_with_a_repack_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "vault", monkeypatch)
    before, events = scene.record(scene.prune, monkeypatch)

    assert {event.verb for event in events} >= {"link", "unlink", "fsync"}
    assert cuts_of(scene, before, events, must=set(scene.contents) - {scene.first}) > 30
    assert len(open_vault(scene.store)._domain("web1").refresh().moved) > 0


@pytest.mark.parametrize("forgotten", ["fdatasync", "fsync"])
def test_a_store_that_does_not_force_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    scene = Scene(tmp_path / "vault", monkeypatch)
    known = set(scene.contents)
    before, events = scene.record(scene.back_up, monkeypatch, forget=[forgotten])

    with pytest.raises((AssertionError, QuiesceError)):
        cuts_of(scene, before, events, must=known)
