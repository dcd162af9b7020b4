"""Scratch: where a snapshot keeps the old content of blocks that the guest writes over."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quiesce.errors import QuiesceError
from quiesce.policy.space import reserve_bytes
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from quiesce.model.disk import Disk
    from quiesce.providers.qmp import QmpConnection

# A guest that writes over more than this while it is copied breaks its snapshot, nothing else.
_NEEDED_PERCENT = 5
_UNMOUNT_S = 5.0
_ESCAPED = re.compile(r"\\([0-7]{3})")


class ScratchMaker(Protocol):
    """Makes the scratch of one disk."""

    def make(
        self, connection: QmpConnection, node: str, path: Path, size_bytes: int
    ) -> Mapping[str, Any]:
        """Return the arguments of the `blockdev-add` for a writable *node* of *size_bytes*.

        What it makes lies at *path*, or goes by itself when the node goes.
        """


class FileScratch:
    """A sparse raw file, opened by us and handed to QEMU, which may be another user."""

    def make(
        self, connection: QmpConnection, node: str, path: Path, size_bytes: int
    ) -> Mapping[str, Any]:
        """Make the file and hand it over."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, size_bytes)
            connection.send_descriptor(descriptor)
            added = connection.execute("add-fd", {"opaque": node})
        finally:
            os.close(descriptor)
        filename = f"/dev/fdset/{added['fdset-id']}"
        return {"driver": "file", "node-name": node, "filename": filename, "discard": "unmap"}


def needed_bytes(disks: Iterable[Disk]) -> int:
    """Return how much space must be free before a snapshot of *disks* is taken."""
    return sum(disk.size_bytes for disk in disks) * _NEEDED_PERCENT // 100


def make_directory(directory: Path, disks: Iterable[Disk]) -> None:
    """Make *directory* for its owner alone, where there is space enough.

    Raises QuiesceError ScratchTooSmall; nothing is there then that was not there before.
    """
    root = directory.parent
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        usage = shutil.disk_usage(root)
        needed, reserve = needed_bytes(disks), reserve_bytes(usage.total)
        if usage.free < needed + reserve:
            raise QuiesceError(
                "ScratchTooSmall",
                f"{root} has {usage.free >> 20} MiB free, a snapshot needs {needed >> 20} MiB, and"
                f" {reserve >> 20} MiB are kept free",
            )
        directory.mkdir(mode=0o700)
    except OSError as exc:
        raise QuiesceError("ScratchTooSmall", f"cannot use {directory}: {exc.strerror}") from exc


def remove_directory(directory: Path) -> None:
    """Remove *directory* with everything in it; harmless where there is none.

    Raises QuiesceError UndoIncomplete where something stays.
    """
    try:
        for mounted in _mounts_in(directory):
            process.run(["umount", "--lazy", mounted], deadline=Deadline.after(_UNMOUNT_S))
        for path in directory.glob("*.raw"):
            # A QEMU that is paused keeps it open until it runs again.
            os.truncate(path, 0)
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except (OSError, QuiesceError) as exc:
        raise QuiesceError("UndoIncomplete", f"{directory} stays: {exc}") from exc


def _mounts_in(directory: Path) -> Iterator[str]:
    """Yield what is mounted in *directory*: FUSE exports whose QEMU has died."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for line in mounts.splitlines():
        place = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split()[4])
        if place.startswith(f"{directory}/"):
            yield place
