"""A small face on libnbd: read one export, little at a time, each thread on its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import nbd

from quiesce.errors import QuiesceError
from quiesce.model.extent import Extent, merged
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# More unread data than this on one connection can freeze QEMU's main loop.
OUTSTANDING_BYTES = 128 * 1024
_ANSWER_S = 30.0
_POLL_S = 0.01
_STATUS_BYTES = 1024 * 1024 * 1024
_ALLOCATION = "base:allocation"
_READS_AS_ZEROS = 2


class NbdReader:
    """Reads one export; implements `ports.BlockReader`.

    A server that does not answer within half a minute, hangs up or answers with an error means that
    the snapshot is broken.
    """

    def __init__(self, address: Path, export: str) -> None:
        """Connect to *export* behind the socket at *address*; raises as `read`."""
        self._address = address
        self._export = export
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[nbd.NBD] = []
        self._size_bytes = int(self._connection().get_size())

    @property
    def size_bytes(self) -> int:
        """The disk's size."""
        return self._size_bytes

    def extents(self) -> Iterator[Extent]:
        """Yield extents in order over the whole disk; raises as `read`."""
        return merged(self._pieces())

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """Return these bytes, whole. Raises QuiesceError SnapshotBroken on any error."""
        handle = self._connection()
        end_bytes = start_bytes + length_bytes
        pieces = []
        for at_bytes in range(start_bytes, end_bytes, OUTSTANDING_BYTES):
            piece = self._mine.memory[: end_bytes - at_bytes]
            with _as_broken("read"):
                _finish(handle, handle.aio_pread(nbd.Buffer.from_buffer(piece), at_bytes))
            pieces.append(bytes(piece))
        return b"".join(pieces)

    def close(self) -> None:
        """Hang up; no thread reads any more."""
        with self._lock:
            for handle in self._open:
                with contextlib.suppress(nbd.Error):
                    handle.aio_disconnect(0)
            self._open.clear()
        # The last references: a handle without one closes its socket.
        self._mine = threading.local()

    def _pieces(self) -> Iterator[Extent]:
        handle = self._connection()
        at_bytes = 0
        while at_bytes < self._size_bytes:
            entries: list[int] = []

            def keep(
                context: str, _at: int, found: list[int], _error: Any, to: list[int] = entries
            ) -> int:
                if context == _ALLOCATION:
                    to.extend(found)
                return 0

            asked_bytes = min(_STATUS_BYTES, self._size_bytes - at_bytes)
            with _as_broken("extents"):
                _finish(handle, handle.aio_block_status(asked_bytes, at_bytes, keep))
            if not entries:
                raise QuiesceError("SnapshotBroken", "the NBD server knows no extents")
            for length_bytes, flags in zip(entries[::2], entries[1::2], strict=True):
                length = min(length_bytes, self._size_bytes - at_bytes)
                yield Extent(at_bytes, length, zero=bool(flags & _READS_AS_ZEROS))
                at_bytes += length

    def _connection(self) -> nbd.NBD:
        handle: nbd.NBD | None = getattr(self._mine, "handle", None)
        if handle is None:
            with _as_broken("connect"):
                handle = _connected(self._address, self._export)
            self._mine.handle = handle
            # One for all reads of the thread: libnbd 1.14 never frees a buffer that was read into.
            self._mine.memory = memoryview(bytearray(OUTSTANDING_BYTES))
            with self._lock:
                self._open.append(handle)
        return handle


def connected_to_new(
    address: Path, *, is_alive: Callable[[], bool], deadline: Deadline
) -> socket.socket:
    """Return a connection to a server that has just been started; it listens when it is ready.

    Raises ConnectionError where it ends instead, or does not listen by *deadline*.
    """
    while True:
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(address))
        except (FileNotFoundError, ConnectionRefusedError):
            connected.close()
        except BaseException:
            connected.close()
            raise
        else:
            return connected
        if deadline.passed() or not is_alive():
            raise ConnectionError("the NBD server ended at its start")
        time.sleep(_POLL_S)


def _connected(address: Path, export: str) -> nbd.NBD:
    handle = nbd.NBD()
    handle.set_export_name(export)
    handle.add_meta_context(_ALLOCATION)
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(_ANSWER_S)
        connected.connect(str(address))
        connected.setblocking(False)
        handle.aio_connect_socket(connected.detach())
    _wait(handle, lambda: not handle.aio_is_connecting())
    if not handle.aio_is_ready():
        raise ConnectionError(f"no NBD export {export}")
    return handle


def _finish(handle: nbd.NBD, cookie: int) -> None:
    """Wait until the command is done; raises nbd.Error where it failed."""
    _wait(handle, lambda: handle.aio_command_completed(cookie))


def _wait(handle: nbd.NBD, done: Callable[[], bool]) -> None:
    deadline = Deadline.after(_ANSWER_S)
    while not done():
        if deadline.passed():
            raise TimeoutError("the NBD server does not answer")
        handle.poll(int(deadline.left_s() * 1000) + 1)


@contextlib.contextmanager
def _as_broken(what: str) -> Iterator[None]:
    try:
        yield
    except (nbd.Error, OSError) as exc:
        raise QuiesceError("SnapshotBroken", f"{what}: {exc}") from exc
