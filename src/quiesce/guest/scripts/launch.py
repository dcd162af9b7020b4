"""Start a script with nothing of ours but what it is meant to have.

Its process is forked, and in its control groups, before anything is at rest: letting it go takes
neither memory nor a process number, and no time that an application would stand still for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import select
import signal
from typing import TYPE_CHECKING

from quiesce.guest.processes.spawn import close_all_but
from quiesce.guest.scripts import script_cgroup
from quiesce.guest.scripts.pipes import Pipes
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.scripts.script_cgroup import ScriptCgroup

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SHELL = b"/bin/sh"
_UMASK = 0o077
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_WHOLE = b"\0\0"
_READY, _BEGUN, _FAILED = b"r", b"b", b"f"


@dataclass(frozen=True)
class Starter:
    """A process that waits to become a script; it ends unstarted when we do.

    It is a child of ours, the first of its own session; *cgroup* and *pipes* are the script's.
    """

    pid: int
    cgroup: ScriptCgroup
    pipes: Pipes
    _order: int
    _news: int

    def is_alive(self) -> bool:
        """Return whether it still waits: it may have been killed meanwhile."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def go(self, env: Mapping[str, str]) -> None:
        """Let it become the script, with exactly *env*."""
        order = b"\0".join(f"{name}={value}".encode() for name, value in env.items())
        with contextlib.suppress(BrokenPipeError):  # it has been killed, which its end tells
            os.write(self._order, order + _WHOLE)

    def has_begun(self, limit_s: float) -> bool:
        """Return whether it, which was told to go, does so within *limit_s*; asked until it has.

        Where it was stopped or killed it does not.
        """
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        return bool(poll.poll(limit_s * 1000)) and os.read(self._news, 1) == _BEGUN

    def failure(self) -> OSError | None:
        """Return why it, which has ended, could not become the script."""
        told = os.read(self._news, 16).strip(_FAILED)
        return OSError(int(told), os.strerror(int(told))) if told else None

    def close(self) -> None:
        """Close our ends of its pipes, and take its control groups away if it was the last."""
        os.close(self._order)
        os.close(self._news)
        self.pipes.close()
        self.cgroup.leave()

    def kill(self) -> None:
        """Kill it, and wait until it is dead; it is not reaped."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        """Have it end unstarted."""
        self.kill()
        os.waitpid(self.pid, 0)

    def drop(self) -> None:
        """Have it end unstarted, and close what we have of it."""
        self.end()
        self.close()


def prepare(spec: ScriptSpec, *, session: str) -> Starter:
    """Fork the process that will become the script; raises OSError where none can be made.

    It has cwd `/`, umask 077, nothing on stdin, its pipes on stdout and stderr, no other
    descriptor, and no signal blocked or ignored. A file that the kernel cannot run by itself runs
    under `/bin/sh`.
    """
    cgroup = script_cgroup.make(session, spec.phase)
    pipes = Pipes()
    orders, order = os.pipe()
    news, told = os.pipe()
    try:
        pid = _fork(spec, cgroup, (pipes.stdout_writer, pipes.stderr_writer, orders, told))
    except OSError:
        for each in (order, news):
            os.close(each)
        pipes.close()
        cgroup.leave()
        raise
    finally:
        os.close(orders)
        os.close(told)
    pipes.hand_over()
    os.read(news, 1)  # it is in its control groups, or dead
    return Starter(pid, cgroup, pipes, order, news)


def _fork(spec: ScriptSpec, cgroup: ScriptCgroup, ends: tuple[int, int, int, int]) -> int:
    """Fork with no signal let in, so that none of our handlers runs in the child."""
    gc.freeze()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _wait_and_become(spec, cgroup, ends)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _wait_and_become(
    spec: ScriptSpec, cgroup: ScriptCgroup, ends: tuple[int, int, int, int]
) -> None:
    status = _NOT_EXECUTABLE
    told = ends[3]
    try:
        stdout, stderr, orders, told = (_above_standard(end) for end in ends)
        os.setsid()
        cgroup.enter()
        _enter_world(stdout, stderr, keep=(orders, told))
        os.write(told, _READY)
        env = _read_order(orders)
        if env is not None:
            os.write(told, _BEGUN)
            _become(spec.path.encode(), [param.encode() for param in spec.params], env)
    except OSError as exc:
        status = _NOT_FOUND if exc.errno == errno.ENOENT else _NOT_EXECUTABLE
        os.write(told, _FAILED + b"%d" % (exc.errno or 0))
    finally:
        os._exit(status)


def _above_standard(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _enter_world(stdout: int, stderr: int, *, keep: Sequence[int]) -> None:
    """Have what a script is to have, and nothing else of ours but the descriptors in *keep*."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(_UMASK)
    os.chdir("/")
    stdin = _above_standard(os.open(os.devnull, os.O_RDONLY))
    for standard, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, standard)
    close_all_but(keep)


def _read_order(orders: int) -> dict[bytes, bytes] | None:
    """Wait for the environment; None where we are not to start, or whoever forked us is dead."""
    told = b""
    while not told.endswith(_WHOLE):
        data = os.read(orders, 65536)
        if not data:
            return None
        told += data
    pairs = (line.partition(b"=") for line in told[: -len(_WHOLE)].split(b"\0"))
    return {name: value for name, _sign, value in pairs}


def _become(path: bytes, params: list[bytes], env: Mapping[bytes, bytes]) -> None:
    try:
        os.execve(path, [path, *params], env)  # noqa: S606 - the owner's script, no shell
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    os.execve(_SHELL, [_SHELL, path, *params], env)  # noqa: S606 - as the kernel's shells do
