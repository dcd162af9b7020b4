"""A store in a directory: a blob is on the disk, whole, when `create` returns."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.policy.space import reserve_bytes
from quiesce.ports import StoredBlob
from quiesce.vault.stores.blobs import check_name, is_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_UNNAMED_FILES: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_PACKS: Final = "packs"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


class DirectoryStore:
    """Keeps each blob in a file of its own under *root*; several threads may use it at once.

    The directory is made by the first `create`. Everything in it is for its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[PurePosixPath] = set()

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """Return the bytes of *name* in the range (`ports.BlobReader`)."""
        with self._opened(name) as descriptor:
            left = max(0, os.fstat(descriptor).st_size - start_bytes)
            if length_bytes is not None:
                left = min(left, length_bytes)
            parts = []
            while left > 0:
                part = os.pread(descriptor, left, start_bytes)
                if not part:
                    break
                parts.append(part)
                start_bytes += len(part)
                left -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self, name: str) -> int:
        """Return the size of *name* (`ports.BlobReader`)."""
        with self._opened(name) as descriptor:
            return os.fstat(descriptor).st_size

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with *prefix* (`ports.BlobReader`)."""
        parent, slash, _ = prefix.rpartition("/")
        with _translated(f"cannot list {prefix}"):
            for name in self._walk(parent + slash):
                if name.startswith(prefix):
                    yield name

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the folders under *prefix* (`ports.BlobReader`)."""
        parent, slash, start = prefix.rpartition("/")
        with _translated(f"cannot list {prefix}"):
            for folder, is_directory in self._entries(parent + slash):
                if is_directory and folder.startswith(start):
                    yield folder[len(start) :]

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Create *name* unless it exists (`ports.BlobStore`).

        A file without a name is written, forced to the disk and only then linked, and the
        directory is forced too. If this raises, nothing is visible unless the error came after the
        link. Packs leave a reserve of the file system free, which the log may use: so that a full
        vault can still be told what to give up. Raises VaultUnsupported on a file system without
        hard links.
        """
        check_name(name)
        path = PurePosixPath(name)
        with _translated(f"cannot create {name}"):
            directory = self._durable_directory(path.parent)
            try:
                if _PACKS in path.parts:
                    _keep_reserve(directory, name, len(data))
                created = _create_in(directory, path.name, data)
                os.fsync(directory)
                return created
            finally:
                os.close(directory)

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """Yield the blobs whose names begin with *prefix* (`ports.PrunableStore`)."""
        for name in self.list(prefix):
            with _translated(f"cannot list {prefix}"), suppress(FileNotFoundError):
                found = (self._root / name).lstat()
                yield StoredBlob(name, found.st_size, found.st_mtime)

    def delete(self, names: Sequence[str]) -> None:
        """Delete *names* (`ports.PrunableStore`); a directory that becomes empty goes too."""
        for name in names:
            check_name(name)
        folders: dict[PurePosixPath, list[str]] = {}
        for name in names:
            path = PurePosixPath(name)
            folders.setdefault(path.parent, []).append(path.name)
        for folder, files in folders.items():
            with _translated(f"cannot delete in {folder}"), suppress(FileNotFoundError):
                self._delete_in(folder, files)

    def _delete_in(self, folder: PurePosixPath, files: Sequence[str]) -> None:
        directory = os.open(self._root / folder, _DIRECTORY)
        try:
            for file in files:
                with suppress(FileNotFoundError):
                    os.unlink(file, dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)
        with suppress(OSError):  # It has other blobs, or files that are none of ours.
            (self._root / folder).rmdir()
            self._durable.discard(folder)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        check_name(name)
        with _translated(f"cannot read {name}"):
            try:
                descriptor = os.open(self._root / name, _READ)
            except (FileNotFoundError, NotADirectoryError):
                raise KeyError(name) from None
            try:
                mode = os.fstat(descriptor).st_mode
                if stat.S_ISDIR(mode):
                    raise KeyError(name)
                if not stat.S_ISREG(mode):
                    raise QuiesceError("VaultDamaged", f"{name} is not a regular file")
                yield descriptor
            finally:
                os.close(descriptor)

    def _entries(self, folder: str) -> Sequence[tuple[str, bool]]:
        try:
            with os.scandir(self._root / folder) as found:
                entries = [(entry.name, entry.is_dir()) for entry in found]
        except (FileNotFoundError, NotADirectoryError):
            return []
        valid = (entry for entry in entries if is_name(entry[0]))
        return sorted(valid, key=lambda entry: entry[0] + "/" * entry[1])

    def _walk(self, folder: str) -> Iterator[str]:
        for entry, is_directory in self._entries(folder):
            if is_directory:
                yield from self._walk(f"{folder}{entry}/")
            else:
                yield folder + entry

    def _durable_directory(self, folder: PurePosixPath) -> int:
        if folder in self._durable:
            # Whoever deleted the last blob in it has deleted the directory too.
            with suppress(FileNotFoundError):
                return os.open(self._root / folder, _DIRECTORY)
        _make_durably(self._root)
        for ancestor in (*reversed(folder.parents), folder):
            _make_durably(self._root / ancestor)
        self._durable.add(folder)
        return os.open(self._root / folder, _DIRECTORY)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        message = f"{what}: {exc.strerror}"
        if exc.errno in _NO_SPACE:
            raise QuiesceError("VaultFull", message) from exc
        raise QuiesceError("VaultUnavailable", message) from exc


def _keep_reserve(directory: int, name: str, length_bytes: int) -> None:
    status = os.fstatvfs(directory)
    reserve = reserve_bytes(status.f_blocks * status.f_frsize)
    free = status.f_bavail * status.f_frsize
    if free - length_bytes < reserve:
        raise QuiesceError(
            "VaultFull",
            f"cannot create {name}: {free >> 20} MiB are free, of which {reserve >> 20} MiB are"
            " kept free",
        )


def _make_durably(directory: Path) -> None:
    # Also where it exists: whoever made it may have died before its name was on the disk.
    if not directory.parent.exists():
        _make_durably(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    parent = os.open(directory.parent, _DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _create_in(directory: int, name: str, data: bytes | bytearray) -> bool:
    try:
        descriptor = os.open(
            ".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
    except OSError as exc:
        if exc.errno not in _NO_UNNAMED_FILES:
            raise
        return _create_by_name(directory, name, data)
    try:
        _write(descriptor, data)
        return _link(f"/proc/self/fd/{descriptor}", directory, name)
    finally:
        os.close(descriptor)


def _create_by_name(directory: int, name: str, data: bytes | bytearray) -> bool:
    temporary = f".{secrets.token_hex(16)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        _write(descriptor, data)
        if _link(temporary, directory, name, from_directory=directory):
            return True
        # The reply to a link may be lost on a network file system: the name is ours all the same.
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return os.path.samestat(there, os.fstat(descriptor))
    finally:
        os.unlink(temporary, dir_fd=directory)
        os.close(descriptor)


def _write(descriptor: int, data: bytes | bytearray) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(descriptor, view[done:])
    os.fdatasync(descriptor)


def _link(source: str, directory: int, name: str, *, from_directory: int | None = None) -> bool:
    try:
        # With a directory descriptor Python calls linkat, which follows /proc/self/fd/N.
        os.link(source, name, src_dir_fd=from_directory, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno in _NO_LINKS:
            raise QuiesceError(
                "VaultUnsupported",
                "the vault's file system has no hard links",
                action="put the vault on a file system with hard links, such as ext4 or XFS",
            ) from exc
        raise
    return True
