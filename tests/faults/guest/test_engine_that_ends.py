"""The engine says that all is over and ends: it is not taken for one that died."""

from __future__ import annotations

import json
import os
import select
import signal
import socket

import pytest

from quiesce.guest.filesystems.freezing import Freezing
from quiesce.guest.window.watch import Guarded, WatchdogProcess

pytestmark = pytest.mark.faults

LIMIT_S = 20.0


def test_news_that_it_has_not_read_do_not_hide_what_it_said_before() -> None:
    told, teller = os.pipe()
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def recover() -> int:
        os.write(teller, b"recovered")
        return 0

    def forget() -> None:
        os.write(teller, b"forgotten")

    guarded = Guarded(
        "01JD5B5V7M6K2Q3R4S5T6V7W8X",
        Freezing((), news=os.pipe()[0]),
        None,
        os.open("/dev/null", os.O_RDONLY),
        recover,
        forget,
    )
    watchdog = os.fork()
    if watchdog == 0:
        ours.close()
        try:
            WatchdogProcess(guarded, its, os.getppid()).run()
        finally:
            os._exit(0)
    its.close()
    assert select.select([ours], [], [], LIMIT_S)[0], "it is not ready"
    os.kill(watchdog, signal.SIGSTOP)
    os.waitpid(watchdog, os.WUNTRACED)
    ours.send(json.dumps({"do": "end"}).encode())
    ours.close()  # with its first news unread
    os.kill(watchdog, signal.SIGCONT)

    assert select.select([told], [], [], LIMIT_S)[0], "nothing was done"
    assert os.read(told, 64) == b"forgotten"
    os.waitpid(watchdog, 0)
