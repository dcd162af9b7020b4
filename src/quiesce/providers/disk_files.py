"""The files and devices that a machine's disks lie in: found, opened, proven to stand still."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.providers import in_use, plain, qcow2

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMATS = ("raw", "qcow2")
_MAX_CHAIN = 64
# Sectors written; flushes count as writes, but write none (Documentation/block/stat).
_WRITTEN_FIELD = 6


@dataclass(frozen=True)
class DiskSource:
    """A disk as it was asked for; *kind* is raw or qcow2, None: by what it is."""

    path: Path
    kind: str | None = None

    @classmethod
    def parse(cls, text: str) -> DiskSource:
        """Return the source in *text*: PATH, raw:PATH or qcow2:PATH."""
        kind, colon, path = text.partition(":")
        if colon and kind in _FORMATS:
            return cls(Path(path), kind)
        return cls(Path(text))

    @property
    def name(self) -> str:
        """The disk's name: that of the file."""
        return self.path.name


@dataclass(frozen=True)
class OpenFile:
    """A file or device that is read, and what it was when it was opened."""

    path: Path
    descriptor: int
    size_bytes: int
    is_device: bool
    mark: tuple[int, ...]

    def check(self) -> None:
        """Raise QuiesceError SnapshotBroken where it has been written to since it was opened."""
        plain.flush(self.descriptor)
        if _mark(self.descriptor) != self.mark:
            raise QuiesceError(
                "SnapshotBroken",
                f"{self.path} was written to while it was read",
                action="stop what writes to it, and run it again",
            )


@dataclass(frozen=True)
class OpenDisk:
    """One disk; *files* are the one that was named and, under a qcow2, those it lies on."""

    source: DiskSource
    kind: str
    size_bytes: int
    files: tuple[OpenFile, ...]
    kinds: tuple[str, ...] = field(default=())


@contextlib.contextmanager
def opened(source: DiskSource, *, at_rest: bool) -> Iterator[OpenDisk]:
    """Open *source* to be read; where not *at_rest*, prove that nobody writes to it.

    Nothing is mounted. Block devices are held exclusively, and images locked as QEMU does, so that
    nobody begins to write. Raises QuiesceError DiskNotFound, DiskInUse, SnapshotUnsupported.
    """
    with contextlib.ExitStack() as stack:
        first = _open(source.path, stack, at_rest=at_rest)
        with _naming(source.path):
            kind = source.kind or _kind(first)
            if kind == "raw":
                yield_size = first.size_bytes
                files, kinds = [first], ["raw"]
            else:
                yield_size, files, kinds = _chain(first, stack, at_rest=at_rest)
            if yield_size == 0:
                raise QuiesceError("SnapshotUnsupported", "it is empty")
        yield OpenDisk(source, kind, yield_size, tuple(files), tuple(kinds))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put *path* before what is wrong with it."""
    try:
        yield
    except QuiesceError as exc:
        if exc.name != "SnapshotUnsupported" or exc.message.startswith(f"{path}:"):
            raise
        raise QuiesceError(exc.name, f"{path}: {exc.message}", action=exc.action) from exc


def _open(path: Path, stack: contextlib.ExitStack, *, at_rest: bool) -> OpenFile:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        is_device = stat.S_ISBLK(path.stat().st_mode)
        if is_device and not at_rest:
            flags |= os.O_EXCL
        descriptor = os.open(path, flags)
        stack.callback(os.close, descriptor)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise QuiesceError(
                "SnapshotUnsupported", f"{path}: it is neither a file nor a block device"
            )
        if not at_rest:
            in_use.refuse_writers(path, descriptor)
            in_use.keep_qemus_out(path, descriptor)
        plain.flush(descriptor)
        size_bytes = plain.size_of(descriptor)
        return OpenFile(path, descriptor, size_bytes, is_device, _mark(descriptor))
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            why = "it is mounted, or in use by the kernel"
            raise in_use.in_use(path, why) from exc
        raise QuiesceError("DiskNotFound", f"{path}: {exc.strerror}") from exc


def _kind(file: OpenFile) -> str:
    """Return what *file* is. What a guest may have written there must not decide it alone."""
    if file.is_device:
        return "raw"
    looks = os.pread(file.descriptor, 4, 0) == qcow2.MAGIC
    named = file.path.suffix == ".qcow2"
    if looks != named:
        raise QuiesceError(
            "SnapshotUnsupported",
            "it looks like a qcow2 file and is not named so"
            if looks
            else "it is named like a qcow2 file and is none",
            action=f"say what it is: raw:{file.path} or qcow2:{file.path}",
        )
    return "qcow2" if looks else "raw"


def _chain(
    first: OpenFile, stack: contextlib.ExitStack, *, at_rest: bool
) -> tuple[int, list[OpenFile], list[str]]:
    """Return the size of a qcow2 disk, its files from the top down, and what each is."""
    head = _head(first)
    size_bytes = head.size_bytes
    files, kinds = [first], ["qcow2"]
    while head.backing is not None:
        if len(files) == _MAX_CHAIN:
            raise QuiesceError("SnapshotUnsupported", f"more than {_MAX_CHAIN} files below it")
        below = _open(files[-1].path.parent / head.backing, stack, at_rest=at_rest)
        files.append(below)
        kinds.append(head.backing_format or "raw")
        if kinds[-1] == "raw":
            break
        with _naming(below.path):
            head = _head(below)
    return size_bytes, files, kinds


def _head(file: OpenFile) -> qcow2.Head:
    head = qcow2.parse(os.pread(file.descriptor, qcow2.HEAD_BYTES, 0))
    if head.least_bytes > file.size_bytes:
        raise QuiesceError("SnapshotUnsupported", "it is cut off, or its qcow2 header is damaged")
    return head


def _mark(descriptor: int) -> tuple[int, ...]:
    """Return what changes when it is written to."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return status.st_size, status.st_mtime_ns
    number = status.st_rdev
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
    try:
        return plain.size_of(descriptor), int(place.read_text().split()[_WRITTEN_FIELD])
    except (OSError, ValueError, IndexError):
        return (plain.size_of(descriptor),)
