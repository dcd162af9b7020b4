"""The demo guest's two disks, made of a root directory in user space.

The system disk boots by itself from a BIOS: a master boot record, GRUB's core image behind it, and
one ext4 partition at 1 MiB. The data disk is one XFS file system without partitions.
"""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.system import process

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from quiesce.system.deadline import Deadline

PARTITION_AT_BYTES = 1 << 20
_SECTOR_BYTES = 512
_GRUB = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "boot", "configfile")
_BOOT_CODE_BYTES = 440
_LINUX_PARTITION = 0x83


def build_system_disk(root: Path, disk: Path, *, size_bytes: int, deadline: Deadline) -> None:
    """Write *disk*, a sparse raw image whose ext4 partition, labelled `system`, holds *root*."""
    partition = disk.with_suffix(".part")
    core = disk.with_suffix(".core")
    with partition.open("wb") as file:
        file.truncate(size_bytes - PARTITION_AT_BYTES)
    features = "^metadata_csum_seed,^orphan_file"  # GRUB 2.06 and Linux 6.1 do not know them
    process.run(
        ["mkfs.ext4", "-q", "-L", "system", "-O", features, "-d", str(root), str(partition)],
        deadline=deadline,
    )
    process.run(
        [
            "grub-mkimage",
            "-O",
            "i386-pc",
            "-p",
            "(hd0,msdos1)/boot/grub",
            "-o",
            str(core),
            *list(_GRUB_MODULES),
        ],
        deadline=deadline,
    )
    with disk.open("wb") as file:
        file.truncate(size_bytes)
        file.write(_boot_record(size_bytes))
        file.write(core.read_bytes())
    process.run(
        ["dd", f"if={partition}", f"of={disk}", "bs=1M", "seek=1", "conv=sparse,notrunc"],
        deadline=deadline,
    )
    core.unlink()
    partition.unlink()


def build_data_disk(tree: Path, disk: Path, *, size_bytes: int, deadline: Deadline) -> None:
    """Write *disk*, a sparse raw image: an XFS, labelled `pgdata`, that holds *tree*."""
    listing = disk.with_suffix(".proto")
    listing.write_text("\n".join(_listing(tree)) + "\n", encoding="utf-8")
    with disk.open("wb") as file:
        file.truncate(size_bytes)
    process.run(
        ["mkfs.xfs", "-q", "-L", "pgdata", "-p", str(listing), str(disk)], deadline=deadline
    )
    listing.unlink()


def _boot_record(size_bytes: int) -> bytes:
    code = (_GRUB / "boot.img").read_bytes()[:_BOOT_CODE_BYTES]
    first = PARTITION_AT_BYTES // _SECTOR_BYTES
    no_cylinders = b"\xfe\xff\xff"
    entry = struct.pack(
        "<B3sB3sII",
        0x80,  # active
        no_cylinders,
        _LINUX_PARTITION,
        no_cylinders,
        first,
        size_bytes // _SECTOR_BYTES - first,
    )
    return code.ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"


def _listing(tree: Path) -> Iterator[str]:
    """Yield the lines of mkfs.xfs's prototype file for *tree*."""
    yield from ("/", "0 0", _directory(tree.lstat()))
    yield from _entries(tree)
    yield "$"


def _entries(tree: Path) -> Iterator[str]:
    for path in sorted(tree.iterdir()):
        info = path.lstat()
        if stat.S_ISDIR(info.st_mode):
            yield f"{path.name} {_directory(info)}"
            yield from _entries(path)
            yield "$"
        elif stat.S_ISLNK(info.st_mode):
            yield f"{path.name} l--777 {info.st_uid} {info.st_gid} {path.readlink()}"
        else:
            yield f"{path.name} ---{_mode(info)} {info.st_uid} {info.st_gid} {path}"


def _directory(info: os.stat_result) -> str:
    return f"d--{_mode(info)} {info.st_uid} {info.st_gid}"


def _mode(info: os.stat_result) -> str:
    return f"{stat.S_IMODE(info.st_mode):03o}"
