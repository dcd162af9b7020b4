"""Read a disk that is a raw file or a block device, as it lies there."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.model.extent import Extent, merged

if TYPE_CHECKING:
    from collections.abc import Iterator


class PlainReader:
    """Reads an open file or block device; implements `ports.BlockReader`."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """The disk's size."""
        return self._size_bytes

    def extents(self) -> Iterator[Extent]:
        """Yield extents in order over the whole disk; holes of a file are zero."""
        return merged(self._pieces())

    def read(self, start_bytes: int, length_bytes: int) -> bytes:
        """Return these bytes, whole. Raises QuiesceError SnapshotBroken on any error."""
        try:
            data = os.pread(self._descriptor, length_bytes, start_bytes)
            while len(data) < length_bytes:
                more = os.pread(self._descriptor, length_bytes - len(data), start_bytes + len(data))
                if not more:
                    raise QuiesceError(
                        "SnapshotBroken",
                        f"the disk ends at byte {start_bytes + len(data)}, it had"
                        f" {self._size_bytes} bytes",
                        action="see who changes the disk, and run it again",
                    )
                data += more
        except OSError as exc:
            raise QuiesceError(
                "SnapshotBroken",
                f"cannot read {length_bytes} bytes at {start_bytes}: {exc.strerror}",
                action="see the kernel's log for errors of the disk",
            ) from exc
        return data

    def _pieces(self) -> Iterator[Extent]:
        at = 0
        while at < self._size_bytes:
            data = self._next(at, os.SEEK_DATA)
            if data is None:
                yield Extent(at, self._size_bytes - at, zero=True)
                return
            yield Extent(at, data - at, zero=True)
            hole = self._next(data, os.SEEK_HOLE)
            at = self._size_bytes if hole is None else hole
            yield Extent(data, at - data)

    def _next(self, at: int, what: int) -> int | None:
        """Return where data or a hole begins at *at* or after it; None: nowhere before the end."""
        try:
            found = os.lseek(self._descriptor, at, what)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return None
            if exc.errno == errno.EINVAL:  # it knows no holes
                return at if what == os.SEEK_DATA else None
            raise QuiesceError("SnapshotBroken", f"cannot find holes: {exc.strerror}") from exc
        return min(found, self._size_bytes)


def size_of(descriptor: int) -> int:
    """Return the size of an open file or block device; raises OSError."""
    return os.lseek(descriptor, 0, os.SEEK_END)


def flush(descriptor: int) -> None:
    """Have the kernel write what it still has of it, so that its marks of change stand still."""
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
