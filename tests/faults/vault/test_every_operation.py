"""Every store operation of a backup is cut in turn: the vault stays whole, nobody is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.system import ulid
from quiesce.vault.log import SessionState
from quiesce.vault.stores.directory import DirectoryStore
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
    from collections.abc import Iterator
    from pathlib import Path

    from quiesce.model.point import PointSummary
    from quiesce.ports import BlobStore

pytestmark = pytest.mark.faults

BEFORE = {"vda": pattern(1, 6 * CHUNK) + bytes(CHUNK), "vdb": pattern(2, 700)}
AFTER = {
    "vda": pattern(3, 4 * CHUNK) + BEFORE["vda"][4 * CHUNK :],
    "vdb": pattern(4, 3 * CHUNK + 7),
}
LATER = {"vda": AFTER["vda"][:-CHUNK] + pattern(5, CHUNK), "vdb": AFTER["vdb"]}


@dataclass
class Run:
    """A backup of AFTER that was cut: what it said, and its session."""

    sid: str
    store: FailingStore
    outcome: PointSummary | BaseException
    at: int

    @property
    def cut(self) -> str:
        """The operation that was cut, empty where the run ended before."""
        return "".join(self.store.operations[self.at - 1 : self.at])


def cut_run(store: BlobStore, *, at: int, how: str) -> Run:
    failing = FailingStore(store, at=at, how=how)
    sid = ulid.new()
    try:
        return Run(sid, failing, back_up(open_vault(failing), AFTER, sid=sid), at)
    except (QuiesceError, Died) as exc:
        return Run(sid, failing, exc, at)


def every_cut(how: str) -> Iterator[tuple[BlobStore, PointSummary, Run]]:
    """Yield a vault with one whole point after a run that was cut at 1, 2, … until none was."""
    at, is_cut = 1, True
    while is_cut:
        store = MemoryStore()
        first = back_up(small_vault(store), BEFORE)
        run = cut_run(store, at=at, how=how)
        is_cut = run.cut != ""
        yield store, first, run
        at += 1
    assert at > 20


@pytest.mark.parametrize("how", FailingStore.WAYS)
def test_old_points_restore_and_the_next_run_needs_nobody(how: str) -> None:
    for store, first, run in every_cut(how):
        vault = open_vault(store)
        points = {point.id: point for point in vault.points("web1")}

        assert read_back(vault, points[first.id]) == BEFORE
        if not isinstance(run.outcome, BaseException):
            assert run.sid in points
        if run.sid in points:
            assert read_back(vault, points[run.sid]) == AFTER

        later = back_up(vault, LATER)
        fresh = open_vault(store)
        assert read_back(fresh, later) == LATER
        assert read_back(fresh, points[first.id]) == BEFORE
        assert set(points) | {later.id} == {point.id for point in fresh.points()}
        assert fresh.alarms() == ()


@pytest.mark.parametrize("how", FailingStore.WAYS)
def test_after_the_next_run_no_session_is_open(how: str) -> None:
    for store, _, _ in every_cut(how):
        vault = open_vault(store)
        back_up(vault, LATER)

        sessions = vault._domain("web1").refresh().sessions
        assert SessionState.OPEN not in sessions.values()


@pytest.mark.parametrize("how", ["refused", "full", "killed before", "killed after"])
def test_what_was_uploaded_is_not_uploaded_again(how: str) -> None:
    reused = 0
    for store, _, run in every_cut(how):
        packs = {name for name in store.list("domains/web1/packs/") if f"/{run.sid}/d-" in name}
        if run.sid in {point.id for point in open_vault(store).points()}:
            continue
        again = back_up(open_vault(store), AFTER)

        now = [name for name in store.list("domains/web1/packs/") if f"/{again.id}/d-" in name]
        assert len(packs) + len(now) <= 3
        reused += bool(packs)
    assert reused > 3


def test_a_run_that_fails_says_so() -> None:
    for _, _, run in every_cut("refused"):
        if isinstance(run.outcome, BaseException):
            assert isinstance(run.outcome, QuiesceError)
            assert run.outcome.name in {"VaultUnavailable", "VaultFull"}


@pytest.mark.parametrize("how", ["lost", "late"])
def test_a_create_without_a_reply_ends_no_run(how: str) -> None:
    cuts = 0
    for store, _, run in every_cut(how):
        cuts += run.cut.startswith("create")
        if run.cut.startswith("create"):
            assert run.sid in {point.id for point in open_vault(store).points()}
            assert not isinstance(run.outcome, BaseException)
    assert cuts > 8


def test_a_create_that_fails_once_is_tried_again() -> None:
    for _, _, run in every_cut("refused"):
        if run.cut.startswith("create"):
            assert not isinstance(run.outcome, BaseException)


@pytest.mark.parametrize("how", ["full", "killed before", "killed after"])
def test_a_directory_survives_every_cut_too(tmp_path: Path, how: str) -> None:
    at, is_cut = 1, True
    while is_cut:
        store = DirectoryStore(tmp_path / str(at))
        first = back_up(small_vault(store), BEFORE)
        run = cut_run(store, at=at, how=how)
        is_cut = run.cut != ""
        at += 3
        later = back_up(open_vault(store), LATER)

        assert read_back(open_vault(store), first) == BEFORE
        assert read_back(open_vault(store), later) == LATER
