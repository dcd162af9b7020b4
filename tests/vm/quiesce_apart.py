"""The program `quiesce` with a state directory of its own; where it is told to, it stops itself.

quiesce_apart.py STATE_DIR STEP VERB …: STEP is `none`, `frozen` (the guest has answered the
freeze), `stopped` (QEMU has done no more of the snapshot than to stop the machine) or `copying`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from quiesce import config
from quiesce.channel.qga import Qga
from quiesce.cli.main import run
from quiesce.providers.nbd import NbdReader
from quiesce.providers.qmp import QmpConnection

_stopped = threading.Event()


def stop() -> None:
    """Stop this process, the first time."""
    if not _stopped.is_set():
        _stopped.set()
        os.kill(os.getpid(), signal.SIGSTOP)


def stop_after(owner: type, name: str) -> None:
    """Stop when the method *name* of *owner* has been called."""
    original = getattr(owner, name)

    def stopping(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        stop()
        return result

    setattr(owner, name, stopping)


def stop_before_the_rest(owner: type, name: str) -> None:
    """Stop between the first of many commands and the rest."""
    original = getattr(owner, name)

    def stopping(self: Any, commands: Any, **kwargs: Any) -> Any:
        first = original(self, commands[:1], **kwargs)
        stop()
        return first + original(self, commands[1:], **kwargs)

    setattr(owner, name, stopping)


if __name__ == "__main__":
    state_dir, step = Path(sys.argv.pop(1)), sys.argv.pop(1)
    config.state_directory = lambda: state_dir
    if step == "frozen":
        stop_after(Qga, "freeze")
    if step == "stopped":
        stop_before_the_rest(QmpConnection, "execute_all")
    if step == "copying":
        stop_after(NbdReader, "read")
    run()
