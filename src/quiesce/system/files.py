"""Durable writes: the new content whole and on the disk, or the old one."""

from __future__ import annotations

import os


def replace_durably(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Put *data* at *path*, in place of what is there.

    When this returns, data and name are on the disk. If it raises, the old content is whole.
    """
    above, name = os.path.split(path)
    directory = os.open(above or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{name}.{os.urandom(4).hex()}"
        _write_new(directory, temporary, data, mode)
        try:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def create_durably(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Put *data* at *path*, where nothing is.

    When this returns, data and name are on the disk. Raises FileExistsError where there is
    something, of whatever kind; if it raises, nothing is added.
    """
    above, name = os.path.split(path)
    directory = os.open(above or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{name}.{os.urandom(4).hex()}"
        _write_new(directory, temporary, data, mode)
        try:
            os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.unlink(temporary, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_new(directory: int, name: str, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, mode, dir_fd=directory)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, mode)  # whatever the umask
        os.fdatasync(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)
