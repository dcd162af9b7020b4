"""The log file in `/var/log/quiesce`: root's alone, bounded, and whole lines only."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time

from quiesce.system.deadline import Deadline

DIRECTORY = "/var/log/quiesce"
NAME = "quiesce-guest.log"

_MOST_BYTES = 1024 * 1024
_OLDER = 4
_LOCK_S = 1.0
_POLL_S = 0.01
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def append(text: str, *, directory: str = DIRECTORY) -> None:
    """Add *text*, all of it or nothing; a full file becomes `.1`, and at most four older stay.

    Safe where several processes do so at once. Raises OSError where it cannot be written.
    """
    opened = open_directory(directory)
    try:
        _lock(opened)
        data = text.encode("utf-8", "backslashreplace")
        if _size(opened) + len(data) > _MOST_BYTES:
            _rotate(opened)
        _write(opened, data)
    finally:
        os.close(opened)  # and the lock is free


def open_directory(path: str) -> int:
    """Return a descriptor of *path*, which is made where it is missing.

    Raises OSError, PermissionError where others than root can write in it.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    return open_trusted(path)


def open_trusted(path: str) -> int:
    """Return a descriptor of the directory *path*; raises as `open_directory`, and makes none."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not is_ours_alone(os.fstat(directory)):
        os.close(directory)
        raise PermissionError(errno.EPERM, "others can write in it", path)
    return directory


def is_ours_alone(status: os.stat_result) -> bool:
    """Return whether nobody but this process's user can write where *status* was found."""
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _lock(directory: int) -> None:
    """Lock the directory, for as long as it is open; raises TimeoutError."""
    deadline = Deadline.after(_LOCK_S)
    while not _is_locked(directory):
        if deadline.passed():
            raise TimeoutError(errno.ETIMEDOUT, "another process has it locked")
        time.sleep(_POLL_S)


def _is_locked(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(directory: int) -> int:
    try:
        return os.stat(NAME, dir_fd=directory, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _rotate(directory: int) -> None:
    for number in range(_OLDER, 0, -1):
        younger = NAME if number == 1 else f"{NAME}.{number - 1}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(younger, f"{NAME}.{number}", src_dir_fd=directory, dst_dir_fd=directory)


def _write(directory: int, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(NAME, flags, 0o600, dir_fd=directory)
    try:
        before = os.fstat(log).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(log, view) :]
        except OSError:
            os.ftruncate(log, before)
            raise
    finally:
        os.close(log)
