from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.system import ulid
from quiesce.vault.domain import Domain
from quiesce.vault.format import entry, names
from quiesce.vault.format.entry import Abort, Open
from quiesce.vault.format.header import VaultHeader
from quiesce.vault.log import LogState, SessionState
from quiesce.vault.stores.memory import MemoryStore
from vault_box import FailingStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.ports import BlobStore

A, B = (f"0{letter}{'0' * 24}" for letter in "AB")


def domain(store: BlobStore) -> Domain:
    return Domain(store, VaultHeader(bytes(16)), "web1")


def opening(sid: str) -> Callable[[LogState], entry.Body | None]:
    def body_on(state: LogState) -> entry.Body | None:
        is_new = state.session(sid) is SessionState.UNKNOWN
        return Open(sid, "web1", "uuid") if is_new else None

    return body_on


def test_two_writers_append_after_each_other() -> None:
    store = MemoryStore()
    one, other = domain(store), domain(store)
    one.append(opening(A))
    other.append(opening(B))

    assert one.refresh() == other.refresh()
    assert list(one.state.sessions) == [A, B]
    assert list(store.list("domains/web1/log/")) == [names.log_name("web1", n) for n in (1, 2)]


def long_log(entries: int) -> MemoryStore:
    store = MemoryStore()
    writing = domain(store)
    for _ in range(entries):
        sid = ulid.new()
        writing.append(opening(sid))
    return store


class Slow(MemoryStore):
    """Answers for a log entry only when a second one is asked for."""

    def __init__(self, other: MemoryStore) -> None:
        super().__init__()
        self._blobs = other._blobs
        self.met = threading.Barrier(2)

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        if self._blobs.keys() >= {name}:
            self.met.wait(timeout=10)
        return super().get(name, start_bytes, length_bytes)


def test_entries_of_a_long_log_are_read_several_at_once() -> None:
    store = long_log(64)

    assert domain(Slow(store)).refresh() == domain(store).refresh()
    assert domain(store).refresh().tail == 64


def test_a_gap_in_a_long_log_is_damage() -> None:
    store = long_log(100)
    store.delete([names.log_name("web1", 40)])

    with pytest.raises(QuiesceError, match="log/000000000040 is missing") as caught:
        domain(store).refresh()
    assert caught.value.name == "VaultDamaged"


class Racing:
    """A store in which another entry comes first, once, just before ours is created."""

    def __init__(self, store: MemoryStore, other: entry.Body) -> None:
        self._other: entry.Body | None = other
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def create(self, name: str, data: bytes) -> bool:
        if self._other is not None:
            other, self._other = self._other, None
            domain(self._store).append(lambda _: other)
        return self._store.create(name, data)


def test_who_loses_the_race_folds_and_appends_behind() -> None:
    store = MemoryStore()
    slow = domain(Racing(store, Open(B, "web1", "uuid")))
    slow.append(opening(A))

    assert list(slow.state.sessions) == [B, A]
    assert domain(store).refresh() == slow.state


def test_who_loses_the_race_to_an_abort_of_its_session_is_told() -> None:
    store = MemoryStore()
    domain(store).append(opening(A))
    slow = domain(Racing(store, Abort(A)))

    with pytest.raises(QuiesceError) as caught:
        slow.append(lambda _: Abort(A))
    assert caught.value.name == "SessionLost"
    assert slow.state.tail == 2


@pytest.mark.parametrize("how", ["refused", "lost"])
def test_an_entry_comes_once_whatever_became_of_the_reply(how: str) -> None:
    for at in range(1, 6):
        store = MemoryStore()
        failing = FailingStore(store, at=at, how=how)
        try:
            domain(failing).append(opening(A))
            said = True
        except QuiesceError:
            said = False

        state = domain(store).refresh()
        assert state.tail == (1 if state.session(A) is SessionState.OPEN else 0)
        assert not said or state.session(A) is SessionState.OPEN


def test_a_request_that_lands_late_is_recognised_as_the_aim_reached() -> None:
    store = MemoryStore()
    create = 3  # after the list and the get of entry 1
    writer = domain(FailingStore(store, at=create, how="late"))
    writer.append(opening(A))

    assert writer.state.tail == 1
    assert domain(store).refresh() == writer.state


def test_a_store_that_never_works_ends_the_append() -> None:
    class Broken(MemoryStore):
        def create(self, name: str, data: bytes | bytearray) -> bool:
            raise QuiesceError("VaultFull", "full")

    with pytest.raises(QuiesceError) as caught:
        domain(Broken()).append(opening(A))
    assert caught.value.name == "VaultFull"


def test_an_entry_that_is_missing_in_the_middle_is_damage_by_name() -> None:
    store = MemoryStore()
    writer = domain(store)
    for sid in (A, B):
        writer.append(opening(sid))
    del store._blobs[names.log_name("web1", 1)]

    with pytest.raises(QuiesceError, match="log/000000000001") as caught:
        domain(store).refresh()
    assert caught.value.name == "VaultDamaged"


def test_ones_own_entry_is_known_by_its_bytes_when_the_reply_is_lost() -> None:
    store = MemoryStore()
    domain(store).append(opening(A))
    writer = domain(FailingStore(store, at=4, how="lost"))
    writer.append(lambda _: Abort(A))

    assert writer.state.session(A) is SessionState.ABORTED
    assert writer.state.tail == 2


def test_exists_as_the_answer_to_ones_own_create_is_success() -> None:
    class Retrying(MemoryStore):
        def create(self, name: str, data: bytes | bytearray) -> bool:
            super().create(name, data)
            return super().create(name, data)

    writer = domain(Retrying())
    writer.append(opening(A))
    writer.append(lambda _: Abort(A))

    assert writer.state.session(A) is SessionState.ABORTED
    assert writer.state.tail == 2
