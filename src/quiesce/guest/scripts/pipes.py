"""Drain what a script writes, without limit, and keep the end of it."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

from quiesce.guest.processes.spawn import fork_detached

if TYPE_CHECKING:
    from quiesce.system.deadline import Deadline

KEPT_BYTES = 64 * 1024

_MOST_READS_AT_ONCE = 64


class Tail:
    """The reading end of a pipe; *is_open* until every writer has closed it."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.is_open = True
        self._kept = bytearray()

    def read(self) -> None:
        """Read what is there, never waiting; bounded, so that no writer can keep us here."""
        for _ in range(_MOST_READS_AT_ONCE):
            try:
                data = os.read(self.descriptor, KEPT_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.is_open = False
                return
            self._kept += data
            del self._kept[:-KEPT_BYTES]

    def text(self) -> str:
        """Return the last 64 KiB as text."""
        return self._kept.decode(errors="replace")


class Pipes:
    """Both pipes of one script, and until `hand_over` the ends that it is to write to."""

    def __init__(self) -> None:
        stdout, self.stdout_writer = os.pipe()
        stderr, self.stderr_writer = os.pipe()
        self.stdout = Tail(stdout)
        self.stderr = Tail(stderr)
        self._are_writers_open = True

    def close(self) -> None:
        """Close what is open of them."""
        self.hand_over()
        os.close(self.stdout.descriptor)
        os.close(self.stderr.descriptor)

    def drain_until_end_of(self, pid: int, deadline: Deadline) -> bool:
        """Drain until the child *pid* has ended, which is noticed at once; False at *deadline*.

        Who else still writes is not waited for.
        """
        end = watch(pid)
        try:
            return self._drain_until_readable(end, deadline)
        finally:
            os.close(end)

    def drain_for(self, seconds: float) -> None:
        """Drain what comes within *seconds*."""
        self._drain(self._poll(), seconds)

    def leave_to_writers(self) -> None:
        """Let those who still write go on writing when we are gone; nobody reads it."""
        for tail in (self.stdout, self.stderr):
            if tail.is_open:
                os.set_blocking(tail.descriptor, True)
                _discard(tail.descriptor)

    def _drain_until_readable(self, end: int, deadline: Deadline) -> bool:
        poll = self._poll()
        poll.register(end, select.POLLIN)
        while True:
            if end in self._drain(poll, deadline.left_s()):
                self.stdout.read()
                self.stderr.read()
                return True
            if deadline.passed():
                return False

    def _poll(self) -> select.poll:
        poll = select.poll()
        for tail in (self.stdout, self.stderr):
            if tail.is_open:
                poll.register(tail.descriptor, select.POLLIN)
        return poll

    def _drain(self, poll: select.poll, seconds: float) -> set[int]:
        ready = {descriptor for descriptor, _event in poll.poll(int(seconds * 1000) + 1)}
        for tail in (self.stdout, self.stderr):
            if tail.descriptor in ready:
                tail.read()
                if not tail.is_open:
                    poll.unregister(tail.descriptor)
        return ready

    def hand_over(self) -> None:
        """Close the writing ends: from now on they are the script's alone."""
        if self._are_writers_open:
            self._are_writers_open = False
            os.close(self.stdout_writer)
            os.close(self.stderr_writer)


def _discard(descriptor: int) -> None:
    """Read and throw away what comes from *descriptor* until its end, in a process of its own.

    Nothing where no such process can be made; the writer then finds the pipe closed.
    """

    def become_cat() -> None:
        os.dup2(descriptor, 0)
        os.execve("/bin/cat", ["cat"], {})  # noqa: S606 - ours, no shell

    with contextlib.suppress(OSError):
        fork_detached(become_cat, keep={descriptor})


def watch(pid: int) -> int:
    """Return a descriptor that becomes readable when the child *pid* ends; it is not reaped."""
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or a container's filter
        return watch_by_thread(pid)


def watch_by_thread(pid: int) -> int:
    """Do the same where the kernel has no descriptors for processes."""
    reader, writer = os.pipe()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writer)

    threading.Thread(target=wait, daemon=True).start()
    return reader
