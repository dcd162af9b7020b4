"""Do work that may get stuck (a frozen or dead disk) in a process that can be left behind."""

from __future__ import annotations

import errno
import json
import os
import select
from typing import TYPE_CHECKING

from quiesce.guest.processes.spawn import fork_detached

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_BYTES = 64 * 1024


def ask(
    work: Callable[[], list[str]], *, limit_s: float, take_back: Callable[[], object] | None = None
) -> list[str]:
    """Return what *work* returns, which it may take *limit_s* for.

    Where no process can be made it is done here. Raises OSError where it was not done in time, or
    its process died; it may still be done later then, and *take_back* is called after it.
    """
    reader, writer = os.pipe()
    try:
        fork_detached(lambda: _answer(work, writer, take_back), keep={writer})
    except OSError:
        os.close(reader)
        return work()
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0) as answer:
        poll = select.poll()
        poll.register(answer, select.POLLIN)
        if not poll.poll(limit_s * 1000):
            raise TimeoutError(errno.ETIMEDOUT, f"not within {limit_s:g} s")
        data = answer.read(_MOST_BYTES)
    if not data:
        raise ChildProcessError(errno.ECHILD, "the process died")
    told: list[str] = json.loads(data)
    return told


def _answer(
    work: Callable[[], list[str]], writer: int, take_back: Callable[[], object] | None
) -> None:
    told = json.dumps(work()).encode()
    try:
        os.write(writer, told)
    except BrokenPipeError:  # nobody waits any more
        if take_back is not None:
            take_back()
