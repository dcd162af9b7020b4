"""Disk images that a restore writes: raw and qcow2, sparse, whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import nbd

from quiesce.errors import QuiesceError
from quiesce.providers.nbd import connected_to_new
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.ports import BlockWriter

_QEMU_IMG_S = 60.0
_NBD_START_S = 20.0
_NBD_END_S = 300.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def raw_image(path: Path, size_bytes: int) -> Iterator[BlockWriter]:
    """Write a new sparse raw file; it has its name only once it is committed and on the disk.

    Raises QuiesceError TargetExists, before anything is written, where *path* exists,
    RestoreNoSpace, RestoreFailed. Whoever leaves without commit or with an error, or is killed
    before the commit, leaves nothing.
    """
    _refuse_existing(path)
    with _as_restore_error(path), _unfinished(path) as (hidden, descriptor):
        os.ftruncate(descriptor, size_bytes)
        yield _RawImage(path, hidden, descriptor)


@contextlib.contextmanager
def qcow2_image(path: Path, size_bytes: int) -> Iterator[BlockWriter]:
    """Write a new qcow2 file through QEMU's own writer; otherwise as `raw_image`."""
    _refuse_existing(path)
    with _as_restore_error(path), _unfinished(path) as (hidden, descriptor):
        create = ["qemu-img", "create", "-q", "-f", "qcow2", str(hidden), str(size_bytes)]
        process.run(create, deadline=Deadline.after(_QEMU_IMG_S))
        with _served(hidden) as server:
            yield _Qcow2Image(path, hidden, descriptor, server)


class _RawImage:
    def __init__(self, path: Path, hidden: Path, descriptor: int) -> None:
        self._path = path
        self._hidden = hidden
        self._descriptor = descriptor

    def write(self, start_bytes: int, data: bytes) -> None:
        with _as_restore_error(self._path):
            view = memoryview(data)
            while view:
                written = os.pwrite(self._descriptor, view, start_bytes)
                start_bytes += written
                view = view[written:]

    def finish(self) -> None:
        with _as_restore_error(self._path):
            os.fsync(self._descriptor)

    def commit(self) -> None:
        with _as_restore_error(self._path):
            _give_name(self._hidden, self._path)


class _Server:
    """A qemu-nbd that serves one image, and our one connection to it."""

    def __init__(self, handle: nbd.NBD, started: process.Started) -> None:
        self.handle = handle
        self.lock = threading.Lock()
        self._started = started

    def end(self) -> None:
        """Flush, hang up, and return when the image is closed cleanly."""
        self.handle.flush()
        self.handle.shutdown()
        self._started.wait(timeout=_NBD_END_S)


class _Qcow2Image:
    def __init__(self, path: Path, hidden: Path, descriptor: int, server: _Server) -> None:
        self._path = path
        self._hidden = hidden
        self._descriptor = descriptor
        self._server = server

    def write(self, start_bytes: int, data: bytes) -> None:
        with _as_restore_error(self._path), self._server.lock:
            self._server.handle.pwrite(data, start_bytes)

    def finish(self) -> None:
        with _as_restore_error(self._path):
            self._server.end()
            os.fsync(self._descriptor)

    def commit(self) -> None:
        with _as_restore_error(self._path):
            _give_name(self._hidden, self._path)


@contextlib.contextmanager
def _served(image: Path) -> Iterator[_Server]:
    """Serve *image* for one connection; the server ends with it."""
    address = image.with_name(f"{image.name}.sock")
    serve = ["qemu-nbd", "--format=qcow2", "--cache=writeback", "--discard=unmap"]
    with _short(address) as short:
        started = process.start([*serve, f"--socket={short}", str(image)])
        try:
            connected = connected_to_new(
                short,
                is_alive=lambda: started.poll() is None,
                deadline=Deadline.after(_NBD_START_S),
            )
            handle = nbd.NBD()
            handle.connect_socket(connected.detach())
            yield _Server(handle, started)
        finally:
            process.kill_group(started)
            address.unlink(missing_ok=True)


@contextlib.contextmanager
def _short(address: Path) -> Iterator[Path]:
    """Yield another path of *address*: that of a socket has 107 characters at most."""
    directory = os.open(address.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{directory}/{address.name}")
    finally:
        os.close(directory)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield a hidden empty file beside *path*, and a descriptor of it; it is removed on leaving.

    An error takes the name back too, so that a restore of several disks is whole or not there.
    What a killed restore left under that name is taken over; a lock tells it from one at work.
    """
    hidden = path.with_name(f".{path.name}.unfinished")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(hidden, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QuiesceError("AlreadyRunning", f"another restore writes {path}") from None
        os.ftruncate(descriptor, 0)
        try:
            yield hidden, descriptor
        except BaseException:
            _take_name_back(path, descriptor)
            raise
        finally:
            hidden.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _give_name(hidden: Path, path: Path) -> None:
    """Give the whole file its name, never over something, durably."""
    os.link(hidden, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _take_name_back(path: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(path), os.fstat(descriptor)):
            path.unlink()


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise QuiesceError("TargetExists", f"{path} exists")


@contextlib.contextmanager
def _as_restore_error(path: Path) -> Iterator[None]:
    try:
        yield
    except QuiesceError as exc:
        if exc.name not in {"ProgramFailed", "ProgramMissing"}:
            raise
        message = f"cannot write {path}: {exc.message}"
        raise QuiesceError("RestoreFailed", message, action=exc.action) from exc
    except FileExistsError as exc:
        raise QuiesceError("TargetExists", f"{path} exists") from exc
    except OSError as exc:
        name = "RestoreNoSpace" if exc.errno in _FULL else "RestoreFailed"
        raise QuiesceError(name, f"cannot write {path}: {exc.strerror}") from exc
    except nbd.Error as exc:
        name = "RestoreNoSpace" if exc.errnum in _FULL else "RestoreFailed"
        raise QuiesceError(name, f"cannot write {path}: {exc.string}") from exc
