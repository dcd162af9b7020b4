"""The programs that read for a backup, noted or not."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.model.undo import UndoNote


def kill_readers(note: UndoNote) -> None:
    """Kill the readers in *note*, and what serves something of its scratch directory."""
    for pid, started in note.readers:
        if pid != os.getpid() and start_time(pid) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for pid in _servers_of(note.scratch_dir):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _servers_of(scratch_dir: str) -> Iterator[int]:
    """Yield the programs that serve something in *scratch_dir*, noted or not."""
    wanted = f"{scratch_dir}/".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-nbd") and any(wanted in word for word in words):
                yield int(place.name)


def start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None where there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(status.rpartition(")")[2].split()[19])
