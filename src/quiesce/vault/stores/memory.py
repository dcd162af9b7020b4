"""A store in memory, for tests and for trying things out."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from quiesce.ports import StoredBlob
from quiesce.vault.stores.blobs import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class MemoryStore:
    """Keeps blobs in a dictionary; several threads may use it at once. *clock* is its clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._blobs: dict[str, bytes] = {}
        self._stored_at_s: dict[str, float] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """Return the bytes of *name* in the range (`ports.BlobReader`)."""
        check_name(name)
        end = None if length_bytes is None else start_bytes + length_bytes
        return self._blobs[name][start_bytes:end]

    def size(self, name: str) -> int:
        """Return the size of *name* (`ports.BlobReader`)."""
        check_name(name)
        return len(self._blobs[name])

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with *prefix* (`ports.BlobReader`)."""
        with self._lock:
            names = sorted(name for name in self._blobs if name.startswith(prefix))
        yield from names

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the folders under *prefix* (`ports.BlobReader`)."""
        rests = (name[len(prefix) :] for name in self.list(prefix))
        yield from sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Create *name* unless it exists (`ports.BlobStore`)."""
        check_name(name)
        with self._lock:
            if name in self._blobs:
                return False
            self._blobs[name] = bytes(data)
            self._stored_at_s[name] = self._clock()
            return True

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """Yield the blobs whose names begin with *prefix* (`ports.PrunableStore`)."""
        with self._lock:
            found = [
                StoredBlob(name, len(data), self._stored_at_s[name])
                for name, data in sorted(self._blobs.items())
                if name.startswith(prefix)
            ]
        yield from found

    def delete(self, names: Sequence[str]) -> None:
        """Delete *names* (`ports.PrunableStore`)."""
        for name in names:
            check_name(name)
        with self._lock:
            for name in names:
                self._blobs.pop(name, None)
                self._stored_at_s.pop(name, None)
