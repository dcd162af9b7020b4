"""A directory on tmpfs for the snapshot command, while the disks of the machine stand still."""

from __future__ import annotations

import os

from quiesce.guest.processes.locking import RUN_DIR

_SUFFIX = ".home"


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
    """Take one away with all that is in it, as far as that can be done."""
    import shutil  # noqa: PLC0415 - most programs of ours have nothing to take away

    shutil.rmtree(path, ignore_errors=True)
