"""Asking again: which failures, how often, how long in between, and what a lost reply means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.stores.memory import MemoryStore
from quiesce.vault.stores.passing import PassingFailure
from quiesce.vault.stores.retrying import Budget, RetryingStore
from store_suite import StoreSuite

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


@dataclass
class World:
    """A clock that only sleeping moves, and a draw that is always the longest wait."""

    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)
    draw: float = 1.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@dataclass
class Flaky:
    """A store whose next *fails* requests fail, after they were done where *lost*."""

    store: MemoryStore = field(default_factory=MemoryStore)
    fails: int = 0
    lost: bool = False
    asked: list[str] = field(default_factory=list)
    failure: Callable[[], Exception] = lambda: PassingFailure("cannot: 503")

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def do(*args: Any) -> Any:
            self.asked.append(verb)
            if self.fails == 0:
                return getattr(self.store, verb)(*args)
            self.fails -= 1
            if self.lost:
                getattr(self.store, verb)(*args)
            raise self.failure()

        return do


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


@pytest.fixture
def store(flaky: Flaky, world: World) -> RetryingStore:
    return retrying(flaky, world)


def retrying(flaky: Flaky, world: World, budget: Budget | None = None) -> RetryingStore:
    return RetryingStore(
        flaky, budget, sleep=world.sleep, clock=lambda: world.now_s, draw=lambda: world.draw
    )


class TestRetryingStores(StoreSuite):
    """Around a store that never fails."""


REQUESTS = {
    "get": (lambda store: store.get("a/1"), b"one"),
    "size": (lambda store: store.size("a/1"), 3),
    "list": (lambda store: list(store.list("a/")), ["a/1", "a/2"]),
    "folders": (lambda store: list(store.folders("")), ["a"]),
    "blobs": (lambda store: [blob.size_bytes for blob in store.blobs("a/")], [3, 3]),
    "create": (lambda store: store.create("a/3", b"three"), True),
    "delete": (lambda store: store.delete(["a/1"]), None),
}


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("verb", REQUESTS)
def test_what_fails_nine_times_succeeds_the_tenth_time(
    store: RetryingStore, flaky: Flaky, world: World, verb: str, lost: bool
) -> None:
    store.create("a/1", b"one")
    store.create("a/2", b"two")
    flaky.fails, flaky.lost, flaky.asked[:] = 9, lost, []
    request, answer = REQUESTS[verb]

    assert request(store) == answer
    assert flaky.asked.count(verb) == 10
    assert world.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0]


def test_what_fails_ten_times_is_told_with_what_was_tried(
    store: RetryingStore, flaky: Flaky
) -> None:
    flaky.fails = 99
    with pytest.raises(QuiesceError) as caught:
        store.get("a")

    assert caught.value.name == "VaultUnavailable"
    assert caught.value.message == "cannot: 503; asked 10 times in 45.5 s"
    assert len(flaky.asked) == 10


def test_waits_are_drawn_so_that_many_do_not_come_back_at_once(
    store: RetryingStore, flaky: Flaky, world: World
) -> None:
    world.draw = 0.25
    flaky.fails = 2
    with pytest.raises(KeyError):
        store.get("a")

    assert world.slept == [0.025, 0.05]


@pytest.mark.parametrize("name", ["VaultUnavailable", "VaultFull", "VaultUnsupported"])
def test_what_does_not_pass_is_not_asked_again(
    store: RetryingStore, flaky: Flaky, name: str
) -> None:
    flaky.fails, flaky.failure = 1, lambda: QuiesceError(name, "no")
    with pytest.raises(QuiesceError, match=r"^no$"):
        store.create("a", b"")

    assert flaky.asked == ["create"]


def test_a_creation_whose_reply_was_lost_is_ours(store: RetryingStore, flaky: Flaky) -> None:
    flaky.fails, flaky.lost = 1, True

    assert store.create("a", b"mine") is True
    assert store.get("a") == b"mine"


def test_a_creation_that_another_won_while_we_were_failing_is_not_ours(
    store: RetryingStore, flaky: Flaky
) -> None:
    flaky.fails = 1
    flaky.store.create("a", b"another's")

    assert store.create("a", b"mine") is False
    assert store.get("a") == b"another's"


def test_the_first_answer_that_it_exists_is_believed(store: RetryingStore, flaky: Flaky) -> None:
    flaky.store.create("a", b"mine")

    assert store.create("a", b"mine") is False
    assert flaky.asked == ["create"]


def test_a_creation_that_was_deleted_meanwhile_is_not_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(fails=1, lost=True)
    store = retrying(flaky, world)
    monkeypatch.setattr(MemoryStore, "get", lambda *_: (_ for _ in ()).throw(KeyError("a")))

    assert store.create("a", b"mine") is False


def test_reading_back_is_asked_again_too(world: World) -> None:
    @dataclass
    class Twice(Flaky):
        plan: list[str] = field(default_factory=lambda: ["lost", "answer", "fail", "answer"])

        def __getattr__(self, verb: str) -> Callable[..., Any]:
            step = self.plan.pop(0) if self.plan else "answer"
            self.fails, self.lost = int(step != "answer"), step == "lost"
            return super().__getattr__(verb)

    flaky = Twice()

    assert retrying(flaky, world).create("a", b"mine") is True
    assert flaky.asked == ["create", "create", "get", "create", "get"]


def test_a_spent_budget_ends_the_asking_of_all(flaky: Flaky, world: World) -> None:
    store = retrying(flaky, world, Budget(12))
    flaky.fails = 99
    for expected in (10, 4, 1):
        flaky.asked.clear()
        with pytest.raises(QuiesceError, match=f"asked {expected} times"):
            store.get("a")

        assert len(flaky.asked) == expected


def test_ten_answers_earn_one_more_question(flaky: Flaky, world: World) -> None:
    store = retrying(flaky, world, Budget(1))
    store.create("a", b"")
    flaky.fails = 1
    assert store.get("a") == b""
    for _ in range(9):  # With the one that was just answered: ten.
        store.get("a")
    flaky.fails = 2
    with pytest.raises(QuiesceError, match="asked 2 times"):
        store.get("a")


def test_a_missing_blob_is_an_answer(flaky: Flaky, world: World) -> None:
    store = retrying(flaky, world)
    with pytest.raises(KeyError):
        store.get("a")

    assert world.slept == []
