"""The two FIFOs on which a session is told to end its window, and answers.

Each door has its own, so that nobody ends a session that another door began. A shell can use them
with its built-ins alone: no process has to be started while an application is held. Session and
watchdog hold the writing end of the answers, so the death of both is an end of file to whoever
waits. Their directory comes and goes by its name, with both in it: a shell that opens one as it
goes finds no place to make a file instead.
"""

from __future__ import annotations

import contextlib
import os

from quiesce.guest.processes.locking import RUN_DIR
from quiesce.values import dataclass

DOORS = ("hold", "qga")
REQUESTS = "req"
ANSWERS = "ans"
_ASIDE = ".line"
_BYTES = 4096


@dataclass(frozen=True)
class Line:
    """The session's end; *requests* and *answers* are descriptors, inherited by fork."""

    requests: int
    answers: int

    def read(self) -> list[str]:
        """Return the requests that have come, oldest first; none where there are none."""
        try:
            return os.read(self.requests, _BYTES).decode(errors="replace").splitlines()
        except BlockingIOError:
            return []

    def answer(self, word: str, status: int) -> None:
        """Answer one request with *word* and the exit status that goes with it."""
        with contextlib.suppress(BlockingIOError):  # nobody has read the last thousand answers
            os.write(self.answers, f"{word} {status}\n".encode())

    def close(self) -> None:
        """Take the FIFOs away: from now on nothing is held."""
        remove()
        os.close(self.requests)
        os.close(self.answers)


@dataclass(frozen=True)
class Answer:
    """What a session answered; *word* is empty where session and watchdog are dead."""

    word: str
    status: int


def create(door: str, directory: str = RUN_DIR) -> Line:
    """Make the FIFOs of *door* anew and return the session's end of them; raises OSError."""
    remove(directory)
    aside = f"{directory}/{_ASIDE}"
    os.mkdir(aside, 0o700)
    for name in (REQUESTS, ANSWERS):
        os.mkfifo(f"{aside}/{name}", 0o600)
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    line = Line(os.open(f"{aside}/{REQUESTS}", flags), os.open(f"{aside}/{ANSWERS}", flags))
    os.rename(aside, f"{directory}/{door}")
    return line


def remove(directory: str = RUN_DIR) -> None:
    """Take away FIFOs that a session left, whichever its door, where that can be done."""
    aside = f"{directory}/{_ASIDE}"
    for place in (aside, *(f"{directory}/{door}" for door in DOORS)):
        with contextlib.suppress(OSError):
            os.rename(place, aside)
            for name in (REQUESTS, ANSWERS):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{aside}/{name}")
            os.rmdir(aside)


def ask(request: str, door: str, directory: str = RUN_DIR) -> Answer | None:
    """Send *request* and wait for the answer; None where *door* holds nothing."""
    try:
        requests = os.open(f"{directory}/{door}/{REQUESTS}", os.O_RDWR | os.O_CLOEXEC)
        writing = os.open(f"{directory}/{door}/{ANSWERS}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    answers = os.open(f"{directory}/{door}/{ANSWERS}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(writing)
    os.write(requests, f"{request}\n".encode())
    with os.fdopen(answers, encoding="ascii") as lines:
        word, _, status = lines.readline().strip().partition(" ")
    os.close(requests)
    return Answer(word, int(status or 0))
