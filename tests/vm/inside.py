"""The inside of a running VM, past the guest agent: a root shell of the test's own."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.channel.agent import Agent
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quiesce.demo.vm import Vm
    from vm.conftest import Machines

LIMIT_S = 60.0
FILE_SYSTEMS = ("/", "/var/lib/postgresql")
_PROGRAM = "/run/guest_side.py"


def device(path: Path) -> list[str]:
    """The QEMU arguments of a VM whose inside is reached over a socket at *path*."""
    return [
        *("-chardev", f"socket,id=inside,path={path},server=on,wait=off"),
        *("-device", "virtserialport,chardev=inside,name=test.inside"),
    ]


@contextlib.contextmanager
def booted(machines: Machines) -> Iterator[tuple[Vm, Inside]]:
    """A VM that is up, with its inside."""
    path = machines.directory() / "inside"
    vm = machines.boot(extra=device(path))
    with contextlib.closing(Inside(vm, path)) as inside:
        yield vm, inside


@contextlib.contextmanager
def booted_idle(machines: Machines, *, extra: Sequence[str] = ()) -> Iterator[tuple[Vm, Inside]]:
    """A VM without PostgreSQL that is up, with its inside."""
    path = machines.directory() / "inside"
    vm = machines.boot_idle(extra=[*device(path), *extra])
    with contextlib.closing(Inside(vm, path, ("/",))) as inside:
        yield vm, inside


class Inside:
    """Runs what it is told as root in the guest; works while file systems are frozen."""

    def __init__(self, vm: Vm, path: Path, file_systems: Sequence[str] = FILE_SYSTEMS) -> None:
        """Start the guest's side through the agent, whose socket is free again afterwards.

        *file_systems* are mounts whose pulse is felt.
        """
        deadline = Deadline.after(LIMIT_S)
        agent = Agent.connect(vm.qga, deadline=deadline)
        try:
            agent.synchronize(deadline=deadline)
            source = Path(__file__).with_name("guest_side.py").read_bytes()
            agent.write_file(_PROGRAM, source, deadline=deadline)
            unit = ["/usr/bin/systemd-run", "-q", "--unit=inside", "-p", "OOMScoreAdjust=-1000"]
            program = ["/usr/bin/python3", _PROGRAM, *file_systems]
            started = agent.run([*unit, *program], deadline=deadline)
            assert started.exit_status == 0, started.stdout
        finally:
            agent.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(path))
        self._received = b""
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._socket.close()

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a program to its end and return what it says; a failure fails the test."""
        status, said = self.status(*argv, stdin=stdin)
        assert status == 0 or not check, f"{argv} in the guest: {status}: {said}"
        return said

    def status(self, *argv: str, stdin: str = "") -> tuple[int, str]:
        """Run a program to its end; return its exit status and what it says."""
        encoded = base64.b64encode(stdin.encode()).decode()
        done = self._ask("run", argv=argv, stdin=encoded)
        return done["status"], base64.b64decode(done["output"]).decode(errors="replace")

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script."""
        return self.run("/bin/sh", "-c", script, check=check)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file of root's, with *mode*."""
        self._ask("write", path=path, text=text, mode=mode)

    def read(self, path: str) -> str | None:
        """Return a file, None where there is none."""
        text: str | None = self._ask("read", path=path)["text"]
        return text

    def remove(self, path: str) -> None:
        """Remove a file, where there is one."""
        self._ask("remove", path=path)

    def kill(self, pid: int) -> None:
        """Kill a process at once."""
        self._ask("kill", pid=pid)

    def is_alive(self, pid: int) -> bool:
        """Whether a process is there."""
        return bool(self._ask("is_alive", pid=pid)["alive"])

    def pulse(self) -> dict[str, dict[str, float]]:
        """How each file system takes writes: beats so far, the present and the longest wait."""
        told: dict[str, dict[str, float]] = self._ask("pulse")["pulse"]
        return told

    def forget_pulse(self) -> None:
        """Forget the longest waits so far."""
        self._ask("forget")

    def expect_beats(self) -> None:
        """Wait until every file system takes writes."""
        before = self.pulse()

        def all_beat() -> bool:
            now = self.pulse()
            return all(now[mount]["beats"] > before[mount]["beats"] + 1 for mount in now)

        wait_until(all_beat, "every file system to take writes")

    def _ask(self, what: str, **order: Any) -> dict[str, Any]:
        number = next(self._numbers)
        line = json.dumps({"id": number, "do": what, **order}).encode() + b"\n"
        self._socket.sendall(line)
        while True:
            answer: dict[str, Any] = json.loads(self._line())
            if answer["id"] == number:
                return answer

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            self._received += self._socket.recv(65536)
        line, _, self._received = self._received.partition(b"\n")
        return line


def wait_until(state: Callable[[], object], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Wait until *state* holds; fail with *what* after the limit."""
    end = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(TimeoutError):
            if state():
                return
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.1)
