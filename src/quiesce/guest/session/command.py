"""The snapshot command: forked before anything is at rest, let go inside the window."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.processes import terminal
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.guest.processes.terminal import Terminal

_NOT_STARTED = 127
_WANTS_TERMINAL = frozenset({signal.SIGTTIN, signal.SIGTTOU})


@dataclass(frozen=True)
class Command:
    """A process that waits for its moment; it dies unstarted when we do.

    *terminal* is lent to it as soon as it wants to read from there.
    """

    pid: int
    starter: int
    terminal: Terminal | None

    def go(self) -> None:
        """Let the command run."""
        os.write(self.starter, b"g")
        os.close(self.starter)

    def drop(self) -> None:
        """Let the command end without having run."""
        os.close(self.starter)
        os.waitpid(self.pid, 0)

    def ended(self) -> int | None:
        """Return its exit status (negative: the signal) if it has ended, None if it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            if self.terminal is not None and os.WSTOPSIG(status) in _WANTS_TERMINAL:
                self._go_on_with(self.terminal)
            return None
        return os.waitstatus_to_exitcode(status) if pid else None

    def _go_on_with(self, own: Terminal) -> None:
        with contextlib.suppress(OSError):
            own.lend(self.pid)
            os.killpg(self.pid, signal.SIGCONT)

    def take_terminal_back(self) -> bool:
        """Have the terminal for ourselves again, once; whether it was lent to the command."""
        return self.terminal is not None and self.terminal.take_back(self.pid)

    def kill(self) -> None:
        """Kill its whole process group; it dies as soon as nothing that is frozen blocks it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def find(name: str) -> str:
    """Return the program that *name* names; raises QuiesceError SnapshotFailed where none does."""
    program = shutil.which(name)
    if program is None:
        raise QuiesceError(
            "SnapshotFailed",
            "there is no command {command}",
            command=name,
            action="give the command's full path",
        )
    return program


def prepare(program: str, argv: Sequence[str], *, env: Mapping[str, str], stdout: int) -> Command:
    """Fork the process that will become *program* with *argv*; *stdout* is its standard output.

    Raises QuiesceError SnapshotFailed where no process can be made.
    """
    reader, starter = os.pipe()
    try:
        pid = os.fork()
    except OSError as exc:
        os.close(reader)
        os.close(starter)
        raise QuiesceError(
            "SnapshotFailed",
            "no process for {command}: {reason}",
            command=argv[0],
            reason=exc.strerror,
            action="free memory or process numbers, and run it again",
        ) from exc
    if pid == 0:
        os.close(starter)
        _become(reader, program, argv, env=env, stdout=stdout)
    os.close(reader)
    with contextlib.suppress(OSError):  # the child has done it first
        os.setpgid(pid, pid)
    return Command(pid, starter, terminal.ours())


def _become(
    reader: int, program: str, argv: Sequence[str], *, env: Mapping[str, str], stdout: int
) -> None:
    try:
        os.setpgid(0, 0)
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGCHLD,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(stdout, 1)
        if os.read(reader, 1):
            os.execve(program, list(argv), dict(env))  # noqa: S606 - the user's own command, no shell
    finally:
        os._exit(_NOT_STARTED)
