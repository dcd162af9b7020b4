"""Lend our terminal to a process group of ours, as shells do, so that it can ask a question."""

from __future__ import annotations

import os
import signal

from quiesce.values import dataclass


@dataclass(frozen=True)
class Terminal:
    """The terminal that we are called from, and whose keys are ours."""

    descriptor: int
    owner: int

    def lend(self, group: int) -> None:
        """Give its keys to *group*; raises OSError where it is gone."""
        os.tcsetpgrp(self.descriptor, group)

    def take_back(self, group: int) -> bool:
        """Take its keys back, and close it; whether *group* still had them."""
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            was_lent = os.tcgetpgrp(self.descriptor) == group
            if was_lent:
                os.tcsetpgrp(self.descriptor, self.owner)
        except OSError:  # it is gone
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            os.close(self.descriptor)
        return was_lent


def ours() -> Terminal | None:
    """Return the terminal; None where there is none, or where we run in its background."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if os.tcgetpgrp(descriptor) != os.getpgrp():
        os.close(descriptor)
        return None
    return Terminal(descriptor, os.getpgrp())
