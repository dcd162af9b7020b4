"""A write load on the VM's PostgreSQL from the host, and the ledger that its clients keep."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING

import psycopg

from quiesce.demo.ledger import Commit
from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.system.deadline import Deadline

_CLIENTS = 4
_PAUSE_S = 0.01  # a guest without KVM must have time for its backup too
_POLL_S = 0.05
_STATEMENT_S = 60.0
_CONNECT_S = 20
_PAYLOAD_BYTES = 512
_CREATE = (
    "CREATE TABLE IF NOT EXISTS ledger (number bigint PRIMARY KEY, client int NOT NULL,"
    " payload text NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
_INSERT = "INSERT INTO ledger (number, client, payload) VALUES (%s, %s, repeat(md5(%s), %s))"


class Load:
    """Clients that commit one row after the other; `running` makes one."""

    def __init__(self, postgresql: str) -> None:
        self._postgresql = postgresql
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self._ledgers: list[list[Commit]] = [[] for _ in range(_CLIENTS)]
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._write, args=(client,), name=f"client-{client}")
            for client in range(_CLIENTS)
        ]

    def commits(self) -> list[Commit]:
        """Return what is known of every commit so far, in the order of their beginning."""
        return sorted(itertools.chain(*map(list, self._ledgers)), key=lambda one: one.begun_s)

    def wait_for_commits(self, count: int, *, deadline: Deadline) -> None:
        """Return when *count* more commits have been acknowledged from now on.

        Raises QuiesceError DemoFailed where a client failed or the deadline passes.
        """
        target = self._acknowledged() + count
        while self._acknowledged() < target:
            self.check()
            if deadline.passed():
                raise QuiesceError("DemoFailed", "the write load stands still")
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise QuiesceError DemoFailed where a client was given an error."""
        if self._failures:
            raise QuiesceError("DemoFailed", f"a client of the load failed: {self._failures[0]}")

    def _acknowledged(self) -> int:
        return sum(len(ledger) for ledger in self._ledgers)

    def _start(self) -> None:
        with psycopg.connect(self._postgresql, connect_timeout=_CONNECT_S) as connection:
            connection.execute(_CREATE)
        for thread in self._threads:
            thread.start()

    def _end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _write(self, client: int) -> None:
        try:
            with psycopg.connect(
                self._postgresql,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                options=f"-c statement_timeout={_STATEMENT_S:.0f}s",
            ) as connection:
                while not self._stop.is_set():
                    self._commit(connection, client)
                    self._stop.wait(_PAUSE_S)
        except psycopg.Error as exc:
            self._failures.append(str(exc).strip())

    def _commit(self, connection: psycopg.Connection, client: int) -> None:
        number = next(self._numbers)
        begun_s = time.monotonic()
        try:
            connection.execute(_INSERT, (number, client, str(number), _PAYLOAD_BYTES // 32))
        except psycopg.Error:
            self._ledgers[client].append(Commit(number, begun_s, None))
            raise
        self._ledgers[client].append(Commit(number, begun_s, time.monotonic()))


@contextlib.contextmanager
def running(postgresql: str) -> Iterator[Load]:
    """Write to the server at *postgresql* while the context lasts; the ledger outlives it."""
    load = Load(postgresql)
    load._start()  # noqa: SLF001 - the context is the only way to start and end one
    try:
        yield load
    finally:
        load._end()  # noqa: SLF001


def present_numbers(postgresql: str) -> list[int]:
    """Return the numbers of the rows that the server at *postgresql* has."""
    with psycopg.connect(postgresql, connect_timeout=_CONNECT_S) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM ledger")]
