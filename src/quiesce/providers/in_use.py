"""Who may write to a disk: the kernel, QEMU's image locks and the open files are asked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# From <fcntl.h>; Python 3.11 does not name the first.
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37
_FLOCK = struct.Struct("hhqqi4x")
# QEMU says what it may do to an image by shared locks on single bytes (block/file-posix.c):
# from 100 what it does, from 200 what it does not bear of others; 0 is reading, 1 to 3 writing.
_DOES = 100
_BEARS_NOT = 200
_READS = 0
_WRITES = 1
_WRITE_KINDS = 3
_WRITABLE = os.O_WRONLY | os.O_RDWR


def refuse_writers(path: Path, descriptor: int) -> None:
    """Raise QuiesceError DiskInUse where *path*, open at *descriptor*, may be written to."""
    if _is_locked_by_qemu(descriptor):
        raise in_use(path, f"{_writer(descriptor) or 'a QEMU'} has it open for writing")
    is_written = _is_written(descriptor)
    # Looking through all processes takes long, and the kernel knows better where it tells.
    writer = None if is_written is False else _writer(descriptor)
    if writer is not None or is_written:
        raise in_use(path, f"{writer or 'somebody'} has it open for writing")


def in_use(path: Path, why: str) -> QuiesceError:
    """Return the error that *path* is in use."""
    return QuiesceError(
        "DiskInUse",
        f"{path}: {why}",
        action="stop what writes to it, or shut the machine down; where nobody writes: --at-rest",
    )


def keep_qemus_out(path: Path, descriptor: int) -> None:
    """Lock the image as a QEMU does that reads it, as long as *descriptor* is open.

    Another QEMU does not open it for writing then. Raises QuiesceError DiskInUse.
    """
    for byte in (_DOES + _READS, _BEARS_NOT + _WRITES):
        lock = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
        try:
            fcntl.fcntl(descriptor, _F_OFD_SETLK, lock)
        except OSError as exc:
            if exc.errno in {errno.EAGAIN, errno.EACCES}:
                raise in_use(path, "another program has locked it") from exc
            return  # a file system without locks: QEMU has none there either


def _is_locked_by_qemu(descriptor: int) -> bool:
    """Return whether a QEMU writes, or bears no reader."""
    writes = _locked(descriptor, _DOES + _WRITES, _WRITE_KINDS)
    return writes or _locked(descriptor, _BEARS_NOT + _READS, 1)


def _locked(descriptor: int, first: int, count: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    try:
        found = fcntl.fcntl(descriptor, _F_OFD_GETLK, asked)
    except OSError:
        return False
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _is_written(descriptor: int) -> bool | None:
    """Return whether anybody has the file open for writing, None where the kernel does not tell.

    It gives a read lease only where nobody has.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as exc:
        return True if exc.errno == errno.EAGAIN else None
    # Whoever opens it for writing while a lease is held has to wait.
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _writer(descriptor: int) -> str | None:
    """Return the program that has the file or device open for writing, among those we may see."""
    status = os.fstat(descriptor)
    wanted = {_identity(status)}
    if stat.S_ISBLK(status.st_mode):
        wanted.update((0, number) for number in _relatives(status.st_rdev))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for opened in _writable_files(process):
                with contextlib.suppress(OSError):
                    if _identity(opened.stat()) in wanted:
                        name = (process / "comm").read_text(errors="replace").strip()
                        return f"{name} (process {process.name})"
    return None


def _writable_files(process: Path) -> Iterator[Path]:
    for opened in (process / "fd").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            told = (process / "fdinfo" / opened.name).read_text(encoding="ascii")
            flags = int(told.partition("flags:")[2].split()[0], 8)
            if flags & _WRITABLE and not flags & os.O_PATH:
                yield opened


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what a file or a device is known by, whatever its name."""
    if stat.S_ISBLK(status.st_mode):
        return 0, status.st_rdev
    return status.st_dev, status.st_ino


def _relatives(number: int) -> Iterator[int]:
    """Yield the whole disk of a partition, the partitions of a whole disk."""
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    folders = [place.resolve().parent] if (place / "partition").exists() else []
    with contextlib.suppress(OSError):
        folders += [one for one in place.resolve().iterdir() if (one / "partition").exists()]
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            major, minor = (folder / "dev").read_text(encoding="ascii").split(":")
            yield os.makedev(int(major), int(minor))
