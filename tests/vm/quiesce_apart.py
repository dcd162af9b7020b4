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


def stop_with_the_machine() -> None:
    """Stop between QEMU's `stop` and the commands that are sent with it."""
    original = QmpConnection.execute_all

    def stopping(self: QmpConnection, commands: Any, **kwargs: Any) -> Any:
        if commands[0].name != "stop":
            return original(self, commands, **kwargs)
        first = original(self, commands[:1], **kwargs)
        stop()
        return first + original(self, commands[1:], **kwargs)

    QmpConnection.execute_all = stopping  # type: ignore[method-assign]


if __name__ == "__main__":
    state_dir, step = Path(sys.argv.pop(1)), sys.argv.pop(1)
    config.state_directory = lambda: state_dir
    if step == "frozen":
        stop_after(Qga, "freeze")
    if step == "stopped":
        stop_with_the_machine()
    if step == "copying":
        stop_after(NbdReader, "read")
    run()
