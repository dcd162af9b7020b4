"""Start a script with nothing of ours but what it is meant to have."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SHELL = b"/bin/sh"
_UMASK = 0o077
_DEFAULTED = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def launch(
    path: str, params: Sequence[str], *, env: Mapping[str, str], stdout: int, stderr: int
) -> int:
    """Start *path* in its own session and return its process id; the caller reaps it.

    It has cwd `/`, umask 077, nothing on stdin, *stdout* and *stderr*, no other descriptor, no
    signal blocked or ignored, and exactly *env*. A file that the kernel cannot run by itself runs
    under `/bin/sh`. Raises OSError where it cannot be started.
    """
    argv = [path.encode(), *(param.encode() for param in params)]
    variables = {name.encode(): value.encode() for name, value in env.items()}
    try:
        return _spawn(argv[0], argv, variables, stdout, stderr)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    return _spawn(_SHELL, [_SHELL, *argv], variables, stdout, stderr)


def discard(descriptor: int) -> None:
    """Read and throw away what comes from *descriptor* until its end, in a process of its own.

    Nothing where no such process can be made; the writer then finds the pipe closed.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, descriptor, 0),
        (os.POSIX_SPAWN_DUP2, null, 1),
        (os.POSIX_SPAWN_DUP2, null, 2),
        *((os.POSIX_SPAWN_CLOSE, each) for each in _inheritable()),
    ]
    with _world_of_scripts(), contextlib.suppress(OSError):
        os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions, setsid=True)
    os.close(null)


def _spawn(
    program: bytes,
    argv: list[bytes],
    env: Mapping[bytes, bytes],
    stdout: int,
    stderr: int,
) -> int:
    with _world_of_scripts():
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )


def _inheritable() -> list[int]:
    """Return the descriptors above the standard three that a program of ours would inherit."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


@contextlib.contextmanager
def _world_of_scripts() -> Iterator[None]:
    """Have the directory and the umask of a script for a moment, which it inherits."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(_UMASK)
    try:
        os.chdir("/")
        yield
    finally:
        os.umask(mask)
        os.fchdir(here)
        os.close(here)
