"""What the kernel says of block devices: whole disks, and what lies on what."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from quiesce.guest.filesystems.mounts import carriers_of, parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.filesystems.mounts import Mount

_BLOCKS = "/sys/block"
_MOUNTS = "/proc/self/mountinfo"
_NO_DISK = ("loop", "zram", "ram", "dm-", "md", "sr", "fd")
_DELETED = " (deleted)"


def read_mounts() -> tuple[Mount, ...]:
    """Return the mounts of this process's namespace; raises OSError."""
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        return parse_mountinfo(table.read())


def read_carriers(mounts: Sequence[Mount]) -> dict[str, tuple[str, ...]]:
    """Return for each device of *mounts* the devices of the file systems that carry it.

    No mounted file system is touched: the kernel's own tables tell.
    """
    below: dict[str, tuple[str, ...]] = {}
    files: dict[str, str] = {}
    for name in _names(_BLOCKS):
        folder = f"{_BLOCKS}/{name}"
        number = _read(f"{folder}/dev")
        slaves = tuple(_read(f"{folder}/slaves/{each}/dev") for each in _names(f"{folder}/slaves"))
        below[number] = tuple(slave for slave in slaves if slave)
        behind = _read(f"{folder}/loop/backing_file")
        if behind and not behind.endswith(_DELETED):
            files[number] = behind
        for part in _names(folder):
            if part.startswith(name):
                below[_read(f"{folder}/{part}/dev")] = (number,)
    members = {
        mount.device: _members(mount.source) for mount in mounts if mount.device.startswith("0:")
    }
    return carriers_of(mounts, below=below, files=files, members=members)


def count_disks() -> int:
    """Return the number of whole disks: no loop, zram, ram, dm, md, optical or floppy.

    A device without a medium and a hidden path of a multipath disk are no disks either.
    """
    return sum(
        1
        for name in _names(_BLOCKS)
        if not name.startswith(_NO_DISK)
        and _read(f"{_BLOCKS}/{name}/size") not in {"", "0"}
        and _read(f"{_BLOCKS}/{name}/hidden") != "1"
    )


def _members(source: str) -> tuple[str, ...]:
    """Return the block devices of a Btrfs file system that was mounted by *source*."""
    if not source.startswith("/dev/"):
        return ()
    own = _number(source)
    for uuid in _names("/sys/fs/btrfs"):
        folder = f"/sys/fs/btrfs/{uuid}/devices"
        numbers = tuple(_read(f"{folder}/{name}/dev") for name in _names(folder))
        if own in numbers:
            return numbers
    return (own,) if own else ()


def _number(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if not stat.S_ISBLK(status.st_mode):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
