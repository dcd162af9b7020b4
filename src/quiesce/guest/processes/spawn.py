"""Fork a process that outlives its caller and holds nothing of it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING

from quiesce.guest.processes.locking import RUN_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def fork_detached(main: Callable[[], None], *, keep: Collection[int]) -> int:
    """Run *main* in a process that init owns, and return its process id.

    The process has its own session, nothing on stdin, stdout and stderr, the default signal
    handlers, cwd `/`, and of our descriptors only those in *keep*. It ends with *main*, whatever
    that raises (a traceback goes to crash.log in /run/quiesce), and never runs the caller's
    clean-up. Raises OSError where no process can be made; there is none then.
    """
    reader, writer = os.pipe()
    gc.freeze()
    middle = os.fork()
    if middle == 0:
        _fork_again(main, keep=keep, writer=writer)
    os.close(writer)
    os.waitpid(middle, 0)
    with open(reader, "rb") as pipe:
        told = pipe.read(32)
    if not told:
        raise OSError("no process could be made")
    return int(told)


def _fork_again(main: Callable[[], None], *, keep: Collection[int], writer: int) -> None:
    try:
        child = os.fork()
        if child:
            os.write(writer, b"%d" % child)
        else:
            _become(main, keep=keep)
    finally:
        os._exit(0)


def _become(main: Callable[[], None], *, keep: Collection[int]) -> None:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        close_all_but(keep)
        main()
    except Exception:
        import traceback  # noqa: PLC0415 - loaded only where there is something to trace

        with (
            contextlib.suppress(OSError),
            open(f"{RUN_DIR}/crash.log", "a", encoding="utf-8") as log,
        ):
            log.write(traceback.format_exc())
        raise


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor of this process except the standard three and those in *keep*."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone
                os.close(descriptor)
