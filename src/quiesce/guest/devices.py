"""What the kernel says of block devices: whole disks, and what lies on what."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.mounts import Mount


def read_mounts() -> tuple[Mount, ...]:
    """Return the mounts of this process's namespace; raises OSError."""
    raise NotImplementedError


def read_carriers(mounts: Sequence[Mount]) -> dict[str, tuple[str, ...]]:
    """Return for each device of *mounts* the devices of the file systems that carry it."""
    raise NotImplementedError


def count_disks() -> int:
    """Return the number of whole disks: no loop, zram, ram, dm, md, optical or floppy."""
    raise NotImplementedError
