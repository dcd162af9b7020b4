"""Whatever the caller has done with signals and descriptors: sessions go as they always do."""

from __future__ import annotations

import contextlib
import json
import os
import pty
from typing import TYPE_CHECKING

import pytest

from guest_box import PROGRAM, PYTHON, wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

SCRIPTS = ["pre  ", "post ok taken"]
CHILDREN_IGNORED = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
SIGNALS_BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])"
NOWHERE = {
    "stdin closed": "<&-",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "nobody reads": ">&9",
}
# A FIFO that is open for writing, and that nobody reads any more.
NOBODY_READS = "mkfifo /run/unread; exec 8<>/run/unread; exec 9>/run/unread 8<&-; "


@pytest.fixture
def machine(box: Box) -> Box:
    box.mount("/mnt/a")
    box.configure()
    return box


def called_after(preparation: str) -> str:
    """The words that call the program from a process that has done *preparation*."""
    program = f"import os, signal, sys; {preparation}; os.execv(sys.argv[1], sys.argv[1:])"
    return f"{PYTHON} -c '{program}' {PROGRAM}"


@pytest.mark.parametrize("preparation", [CHILDREN_IGNORED, SIGNALS_BLOCKED])
def test_the_end_of_the_command_is_noticed_whatever_signals_the_caller_keeps_back(
    machine: Box, preparation: str
) -> None:
    calling = called_after(preparation)

    done = machine.shell(f"{calling} exec --json --deadline 30 -- sleep 0.2")

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (0, "application")
    assert machine.scripts_ran() == SCRIPTS
    machine.assert_at_peace()


@pytest.mark.parametrize("preparation", [CHILDREN_IGNORED, SIGNALS_BLOCKED])
@pytest.mark.parametrize("verb", ["hold", "hook qga freeze"])
def test_what_is_said_to_be_held_is_held_whatever_signals_the_caller_keeps_back(
    machine: Box, preparation: str, verb: str
) -> None:
    done = machine.shell(f"{called_after(preparation)} {verb}")

    assert done.returncode == 0, done.stderr
    assert machine.record() is not None
    assert machine.scripts_ran() == ["pre  "]
    assert machine.run("thaw").returncode == 0
    machine.assert_at_peace()


@pytest.mark.parametrize("way", sorted(NOWHERE))
def test_what_was_done_counts_where_it_cannot_be_told(machine: Box, way: str) -> None:
    prepare = NOBODY_READS if way == "nobody reads" else ""

    done = machine.shell(
        f"{prepare}"
        f"{PROGRAM} exec -- true {NOWHERE[way]} || exit 11;"
        f"{PROGRAM} exec --json -- true {NOWHERE[way]} || exit 12;"
        f"{PROGRAM} hold {NOWHERE[way]} || exit 13;"
        f"{PROGRAM} release --snapshot taken {NOWHERE[way]} || exit 14;"
        f"{PROGRAM} hold --json {NOWHERE[way]} || exit 15;"
        f"{PROGRAM} release --json --snapshot taken {NOWHERE[way]} || exit 16;"
        f"{PROGRAM} thaw {NOWHERE[way]} || exit 17;"
        f"{PROGRAM} release {NOWHERE[way]}; [ $? = 10 ] || exit 18"
    )

    assert done.returncode == 0, done.stderr
    assert machine.scripts_ran() == 4 * SCRIPTS
    machine.assert_at_peace()


def test_the_command_has_the_standard_descriptors_that_the_caller_has_not(machine: Box) -> None:
    command = "sh -c 'cat <&0; echo said; echo told >&2'"

    done = machine.shell(f"{PROGRAM} exec -- {command} <&- >&- 2>&-")

    assert done.returncode == 0
    assert machine.scripts_ran() == SCRIPTS


def from_terminal(machine: Box, command: str, keys: bytes) -> tuple[int, bytes]:
    """Call `exec` with *command* from a terminal of its own, press *keys* when it asks; its end."""
    pid, terminal = pty.fork()
    if pid == 0:
        argv = machine.argv("exec", "--deadline", "30", "--", "sh", "-c", command)
        os.execvp(argv[0], argv)  # noqa: S606 - as a shell does, on the terminal that it has made
    said, pressed = b"", False
    with open(terminal, "rb", buffering=0) as lines, contextlib.suppress(OSError):
        while data := lines.read(4096):
            said += data
            if b"password?" in said and not pressed:
                wait_until(lambda: os.tcgetpgrp(terminal) != pid)
                os.write(terminal, keys)
                pressed = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_a_command_can_ask_at_the_terminal(machine: Box) -> None:
    ask = "echo password?; read word </dev/tty; echo got $word; stty -F /dev/tty -echo"

    status, said = from_terminal(machine, ask, b"secret\n")

    assert status == 0, said
    assert b"got secret" in said
    assert machine.scripts_ran() == SCRIPTS
    machine.assert_at_peace()


def test_the_key_that_interrupts_a_command_that_asks_interrupts_the_session(machine: Box) -> None:
    status, said = from_terminal(machine, "echo password?; read word </dev/tty", b"\x03")

    assert status == 130, said
    assert machine.scripts_ran() == ["pre  ", "post ok failed"]
    machine.assert_at_peace()
