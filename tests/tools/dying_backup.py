"""A snapshot in a process of its own that stops where it is told, to be killed there.

Arguments: QMP socket, scratch root, session, stage (prepared, taken, opened), and a descriptor of
a socket over which it sends its QMP descriptor, its notes as JSON lines, and "here".
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

from quiesce.providers.qemu import Qemu
from quiesce.system.deadline import Deadline


class Teller:
    """A guard that tells everything to the test."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def note(self, **facts: object) -> None:
        self._control.send(json.dumps(facts).encode())

    def hand_over(self, descriptor: int) -> None:
        socket.send_fds(self._control, [b"descriptor"], [descriptor])


def main(qmp: str, root: str, session: str, stage: str, control: str) -> None:
    teller = socket.socket(fileno=int(control))
    provider = Qemu(Path(qmp), scratch_root=Path(root), definition_file=None)
    with provider.prepared(
        session=session, guard=Teller(teller), deadline=Deadline.after(60)
    ) as one:
        if stage != "prepared":
            one.take()
        if stage == "opened":
            snapshot = one.open()
            snapshot.check()
        teller.send(b"here")
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
