"""The processes of a session, told apart from later ones that got the same number."""

from __future__ import annotations

import contextlib
import os

from quiesce.values import dataclass


@dataclass(frozen=True)
class Guard:
    """A process of ours; *started* is its start time in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Guard:
        """Return the guard with *pid*, which runs; raises OSError where it does not."""
        return cls(pid, _start_time(pid))

    def is_alive(self) -> bool:
        """Return whether that very process still runs."""
        try:
            return _start_time(self.pid) == self.started
        except OSError:
            return False

    def send(self, number: int) -> None:
        """Send it a signal; nothing where it is gone."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])
