"""What a directory lies on: its file system's devices, and what those lie in, to the bottom."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ESCAPED = re.compile(r"\\([0-7]{3})")
# LVM's own name of the volume below an origin and its snapshots.
_ORIGIN = "-real"


def refuse_on_disk(what: str, place: Path, disks: Iterable[str]) -> None:
    """Raise QuiesceError VaultOnDisk where *place* (of *what*) lies on one of *disks*.

    *disks* are paths of files and block devices. A disk that lies in a file beside the vault is
    none that the vault lies on. Where the kernel does not tell, nothing is refused.
    """
    below = _Below()
    below.add_place(place)
    for disk in disks:
        with contextlib.suppress(OSError):
            if below.has(Path(disk)):
                raise QuiesceError("VaultOnDisk", f"the {what} {place} lies on the disk {disk}")


class _Below:
    """The devices (by number) and files (by file system and inode) that something lies on."""

    def __init__(self) -> None:
        self._devices: set[int] = set()
        self._files: set[tuple[int, int]] = set()

    def add_place(self, place: Path) -> None:
        """Add what *place* lies on; where there is nothing yet, what it will lie on."""
        while not place.exists() and place != place.parent:
            place = place.parent
        with contextlib.suppress(OSError):
            for number in _devices_of(place):
                self._add_device(number)

    def has(self, disk: Path) -> bool:
        """Return whether *disk*, or the volume that it is a snapshot of, is one of them."""
        status = disk.stat()
        if not stat.S_ISBLK(status.st_mode):
            return (status.st_dev, status.st_ino) in self._files
        if status.st_rdev in self._devices:
            return True
        slaves = {number for number in _slaves(status.st_rdev) if _is_origin(number)}
        return not self._devices.isdisjoint(slaves)

    def _add_device(self, number: int) -> None:
        if number in self._devices:
            return
        self._devices.add(number)
        folder = _folder(number)
        below = list(_slaves(number))
        if (folder / "partition").exists():
            below += _numbers([folder.resolve().parent / "dev"])
        for one in below:
            self._add_device(one)
        backing = _read(folder / "loop" / "backing_file")
        if backing:
            status = Path(backing).stat()
            if stat.S_ISBLK(status.st_mode):
                self._add_device(status.st_rdev)
            elif (status.st_dev, status.st_ino) not in self._files:
                self._files.add((status.st_dev, status.st_ino))
                self.add_place(Path(backing))


def _devices_of(place: Path) -> Iterator[int]:
    """Yield the devices of the file system that *place* is on."""
    device = place.stat().st_dev
    if os.major(device):
        yield device
        return
    # Btrfs and others have a number of their own: the table of mounts knows the device.
    wanted = f"{os.major(device)}:{os.minor(device)}"
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted or _is_on(place, fields.split()[4]):
            source = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), rest.split()[1])
            with contextlib.suppress(OSError):
                status = Path(source).stat()
                if stat.S_ISBLK(status.st_mode):
                    yield status.st_rdev
                    yield from _members(status.st_rdev)


def _is_on(place: Path, mount_point: str) -> bool:
    """Return whether *mount_point* is that of *place*: a Btrfs subvolume has another number."""
    resolved = place.resolve()
    mounted = (one for one in (resolved, *resolved.parents) if os.path.ismount(one))
    return str(next(mounted, "/")) == mount_point


def _members(number: int) -> Iterator[int]:
    """Yield all devices of the Btrfs that has device *number*."""
    for folder in Path("/sys/fs/btrfs").glob("*/devices"):
        members = list(_numbers(folder.glob("*/dev")))
        if number in members:
            yield from members


def _slaves(number: int) -> Iterator[int]:
    return _numbers((_folder(number) / "slaves").glob("*/dev"))


def _is_origin(number: int) -> bool:
    return _read(_folder(number) / "dm" / "uuid").endswith(_ORIGIN)


def _folder(number: int) -> Path:
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")


def _numbers(files: Iterable[Path]) -> Iterator[int]:
    for file in files:
        major, _, minor = _read(file).partition(":")
        if minor:
            yield os.makedev(int(major), int(minor))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    except OSError:
        return ""
