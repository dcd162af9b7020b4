"""A directory on tmpfs for the snapshot command, while the disks of the machine stand still."""

from __future__ import annotations

import contextlib
import errno
import os

from quiesce.guest.processes.locking import RUN_DIR

_SUFFIX = ".home"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Deeper ones stay, on a tmpfs; each level takes a descriptor.
_MOST_LEVELS = 64


def make(session: str) -> str:
    """Return the path of the directory, made anew; raises OSError."""
    path = f"{RUN_DIR}/{session}{_SUFFIX}"
    os.mkdir(path, 0o700)
    return path


def sweep() -> None:
    """Take away what any session left; the caller has the lock, so none of them lives."""
    try:
        left = [name for name in os.listdir(RUN_DIR) if name.endswith(_SUFFIX)]
    except OSError:
        return
    for name in left:
        remove(f"{RUN_DIR}/{name}")


def remove(path: str) -> None:
    """Take one away with all that is in it, as far as that can be done.

    What the command left mounted there is somebody's data: it stays, and what it lies in.
    """
    directory, name = os.path.split(path)
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, _DIRECTORY)
        try:
            _remove(descriptor, name, mount=_mount_of(descriptor), levels=_MOST_LEVELS)
        finally:
            os.close(descriptor)


def _remove(parent: int, name: str, *, mount: str, levels: int) -> None:
    """Remove the directory *name* of *parent*, which is of *mount*."""
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        if _mount_of(descriptor) == mount and levels > 0:
            _empty(descriptor, mount=mount, levels=levels)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _empty(descriptor: int, *, mount: str, levels: int) -> None:
    with os.scandir(descriptor) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        with contextlib.suppress(OSError):
            if is_directory:
                _remove(descriptor, name, mount=mount, levels=levels - 1)
            else:
                os.unlink(name, dir_fd=descriptor)


def _mount_of(descriptor: int) -> str:
    """Return the number of the mount in which *descriptor* is; a bind mount has its own."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line
    raise OSError(errno.ENODATA, "the kernel does not tell the mount")
