"""A store that asks again: back-off with jitter, as long as the budget lasts."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from quiesce.errors import QuiesceError
from quiesce.vault.stores.passing import PassingFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quiesce.ports import PrunableStore, StoredBlob

T = TypeVar("T")

_ATTEMPTS: Final = 10
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 20.0


class Budget:
    """How many more requests may be repeated, among all threads of a store.

    It begins with *most*; a repetition takes one, ten requests that succeed give one back. So a
    store that fails now and then is asked patiently, and one that is gone is not asked by each
    thread ten times over.
    """

    _COST: Final = 10

    def __init__(self, most: int = 60) -> None:
        self._most = most * self._COST
        self._left = self._most
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one and return True, or return False where none is left."""
        with self._lock:
            if self._left < self._COST:
                return False
            self._left -= self._COST
            return True

    def earn(self) -> None:
        """Note that a request has succeeded."""
        with self._lock:
            self._left = min(self._most, self._left + 1)


class RetryingStore:
    """*store*, whose passing failures are met by asking again; several threads may use it at once.

    What does not pass within ten attempts, or when the budget is spent, is raised with their number
    and the time they took. *sleep*, *clock* (both in seconds) and *draw* (from 0 to 1) are the
    world.
    """

    def __init__(
        self,
        store: PrunableStore,
        budget: Budget | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._budget = Budget() if budget is None else budget
        self._sleep = sleep
        self._clock = clock
        self._draw = draw

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """Return the bytes of *name* in the range (`ports.BlobReader`)."""
        return self._again(lambda: self._store.get(name, start_bytes, length_bytes))

    def size(self, name: str) -> int:
        """Return the size of *name* (`ports.BlobReader`)."""
        return self._again(lambda: self._store.size(name))

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with *prefix* (`ports.BlobReader`); all are in memory then."""
        yield from self._again(lambda: tuple(self._store.list(prefix)))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the folders under *prefix* (`ports.BlobReader`)."""
        yield from self._again(lambda: tuple(self._store.folders(prefix)))

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Create *name* unless it exists (`ports.BlobStore`).

        Where an earlier attempt has created it and only its reply was lost, this returns True.
        """
        asked = 0

        def create() -> bool:
            nonlocal asked
            asked += 1
            # Only the first answer can tell whose it is; after that its content does.
            return self._store.create(name, data) or (asked > 1 and self._is_ours(name, data))

        return self._again(create)

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """Yield the blobs whose names begin with *prefix* (`ports.PrunableStore`)."""
        yield from self._again(lambda: tuple(self._store.blobs(prefix)))

    def delete(self, names: Sequence[str]) -> None:
        """Delete *names* (`ports.PrunableStore`)."""
        self._again(lambda: self._store.delete(names))

    def _is_ours(self, name: str, data: bytes | bytearray) -> bool:
        try:
            return self._store.get(name) == data
        except KeyError:
            return False

    def _again(self, ask: Callable[[], T]) -> T:
        began = self._clock()
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = ask()
            except PassingFailure as exc:
                if attempts == _ATTEMPTS or not self._budget.spend():
                    took = self._clock() - began
                    message = f"{exc.message}; asked {attempts} times in {took:.1f} s"
                    raise QuiesceError("VaultUnavailable", message) from exc
                longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempts - 1))
                self._sleep(longest * self._draw())
            except KeyError:
                self._budget.earn()
                raise
            else:
                self._budget.earn()
                return answer
