"""A running demo VM: a QEMU process with two disks, its sockets, and the way to its end."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from quiesce.channel.agent import Agent, AgentError, NoAnswerError
from quiesce.errors import QuiesceError
from quiesce.providers.qmp import QmpConnection
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from quiesce.channel.agent import Executed

_POLL_S = 0.2
_TRY_S = 3.0
_START_S = 20.0
_KILLED_S = 20.0
_CPU = {"kvm": "host", "tcg": "Nehalem"}  # the smallest CPU that newer distributions still accept
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)")


@dataclass(frozen=True)
class VmDisk:
    """One disk of the VM: its name is its qdev id and its serial number."""

    name: str
    path: Path
    image_format: str = "qcow2"


@dataclass(frozen=True)
class Vm:
    """A QEMU that runs; its files lie in *directory*, which may not be much longer than a name.

    *qmp* and *qga* are for the product and are left alone; *monitor* is ours. PostgreSQL in the
    guest is reached at *postgresql_port* of 127.0.0.1.
    """

    directory: Path
    pid: int
    pidfd: int
    postgresql_port: int

    @property
    def qmp(self) -> Path:
        """The QMP socket that a backup uses."""
        return self.directory / "qmp"

    @property
    def qga(self) -> Path:
        """The guest agent's socket."""
        return self.directory / "qga"

    @property
    def serial_log(self) -> Path:
        """What the guest wrote to its serial console."""
        return _serial_log(self.directory)

    @property
    def postgresql(self) -> str:
        """The connection string of the guest's PostgreSQL."""
        return f"host=127.0.0.1 port={self.postgresql_port} user=postgres dbname=postgres"

    def is_alive(self) -> bool:
        """Return whether the QEMU process still runs."""
        return not _ended(self.pidfd, 0)

    def wait_for_agent(self, *, deadline: Deadline) -> None:
        """Return when the guest agent answers; raises QuiesceError DemoFailed."""
        while True:
            with contextlib.suppress(NoAnswerError):
                self.run(["/bin/true"], deadline=deadline.sooner(_TRY_S))
                return
            self._pause("the guest agent does not answer", deadline)

    def wait_for_postgresql(self, *, deadline: Deadline) -> None:
        """Return when PostgreSQL in the guest answers; raises QuiesceError DemoFailed."""
        while True:
            with (
                contextlib.suppress(psycopg.Error),
                psycopg.connect(self.postgresql, connect_timeout=2) as connection,
            ):
                connection.execute("SELECT 1")
                return
            self._pause("PostgreSQL in the guest does not answer", deadline)

    def run(self, argv: Sequence[str], *, deadline: Deadline) -> Executed:
        """Run *argv* in the guest through its agent, whose socket is held only meanwhile.

        Raises NoAnswerError where no agent answers in time, QuiesceError SocketBusy where another
        client holds the socket.
        """
        agent = Agent.connect(self.qga, deadline=deadline)
        try:
            agent.synchronize(deadline=deadline)
            return agent.run(argv, deadline=deadline)
        finally:
            agent.close()

    def output_of(self, argv: Sequence[str], *, deadline: Deadline) -> str:
        """Return what *argv* prints in the guest; raises QuiesceError DemoFailed where it fails."""
        try:
            executed = self.run(argv, deadline=deadline)
        except (AgentError, NoAnswerError) as exc:
            raise QuiesceError("DemoFailed", f"{argv[0]} in the guest: {exc}") from exc
        text = executed.stdout.decode(errors="replace")
        if executed.exit_status != 0:
            raise QuiesceError(
                "DemoFailed",
                f"{argv[0]} in the guest ended with status {executed.exit_status}: {text[-2000:]}",
            )
        return text

    def power_off(self, *, deadline: Deadline) -> None:
        """Press the power button and wait until the guest has shut down; raises DemoFailed."""
        monitor = QmpConnection.connect(self.directory / "monitor", deadline=deadline)
        try:
            monitor.execute("system_powerdown")
        finally:
            monitor.close()
        if not _ended(self.pidfd, deadline.left_s()):
            raise self._failed("the guest does not power off")

    def kill(self) -> None:
        """End QEMU at once, as a power cut would; nothing where it has ended."""
        _kill(self.pidfd)

    def _pause(self, what: str, deadline: Deadline) -> None:
        if not self.is_alive() or deadline.passed():
            raise self._failed(what)
        time.sleep(_POLL_S)

    def _failed(self, what: str) -> QuiesceError:
        if not self.is_alive():
            what = "QEMU ended"
        return QuiesceError("DemoFailed", what, action=f"see the console: {self.serial_log}")


@contextlib.contextmanager
def running(
    directory: Path, disks: Sequence[VmDisk], *, accelerator: str, extra: Sequence[str] = ()
) -> Iterator[Vm]:
    """Run a VM with *disks* while the context lasts; QEMU has ended when it is left.

    *directory* must exist and is the VM's own. *extra* are further QEMU arguments. Raises
    QuiesceError ProgramMissing or ProgramFailed where QEMU does not start.
    """
    vm = start(directory, disks, accelerator=accelerator, extra=extra)
    try:
        yield vm
    finally:
        vm.kill()
        os.close(vm.pidfd)


def start(
    directory: Path, disks: Sequence[VmDisk], *, accelerator: str, extra: Sequence[str] = ()
) -> Vm:
    """Start a VM that outlives this process; else as `running`."""
    deadline = Deadline.after(_START_S)
    pid_file = directory / "pid"
    command = _command(directory, disks, accelerator)
    process.run([*command, *extra, "-daemonize", "-pidfile", str(pid_file)], deadline=deadline)
    pid = int(pid_file.read_text(encoding="ascii"))
    pidfd = os.pidfd_open(pid)
    try:
        return Vm(directory, pid, pidfd, _forwarded_port(directory / "monitor", deadline))
    except BaseException:
        _kill(pidfd)
        os.close(pidfd)
        raise


def create_overlay(backing: Path, overlay: Path, *, deadline: Deadline) -> None:
    """Make *overlay*, a qcow2 that takes the writes and leaves the raw image *backing* as it is."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(backing.resolve())]
    process.run([*command, str(overlay)], deadline=deadline)


def create_copy(image: Path, copy: Path, *, deadline: Deadline) -> None:
    """Make *copy*, a sparse qcow2 with what the raw *image* holds, on its own: its holes show."""
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-W"]
    process.run([*command, str(image), str(copy)], deadline=deadline)


def _command(directory: Path, disks: Sequence[VmDisk], accelerator: str) -> list[str]:
    argv = ["qemu-system-x86_64", "-name", directory.name, "-nodefaults", "-no-user-config"]
    argv += ["-machine", f"pc,accel={accelerator}", "-cpu", _CPU[accelerator]]
    argv += ["-smp", "2", "-m", "768", "-display", "none"]
    argv += ["-serial", f"file:{_serial_log(directory)}"]
    argv += ["-device", "virtio-rng-pci"]
    argv += ["-netdev", "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:5432"]
    argv += ["-device", "virtio-net-pci,netdev=net0,romfile="]
    argv += ["-device", "virtio-serial-pci", "-chardev", _listening("qga", directory / "qga")]
    argv += ["-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"]
    for name in ("qmp", "monitor"):
        argv += ["-chardev", _listening(name, directory / name)]
        argv += ["-mon", f"chardev={name},mode=control"]
    for place, disk in enumerate(disks):
        path = str(disk.path).replace(",", ",,")
        argv += ["-drive", f"if=none,id={disk.name}0,file={path},format={disk.image_format}"]
        device = f"virtio-blk-pci,drive={disk.name}0,id={disk.name},serial={disk.name}"
        argv += ["-device", f"{device},bootindex={place}"]
    return argv


def _listening(name: str, path: Path) -> str:
    return f"socket,id={name},path={path},server=on,wait=off"


def _serial_log(directory: Path) -> Path:
    return directory / "console.log"


def _forwarded_port(monitor: Path, deadline: Deadline) -> int:
    connection = QmpConnection.connect(monitor, deadline=deadline)
    try:
        said = connection.execute("human-monitor-command", {"command-line": "info usernet"})
    finally:
        connection.close()
    found = _FORWARD.search(said)
    if found is None:
        raise QuiesceError("DemoFailed", f"QEMU forwards no port: {said}")
    return int(found.group(1))


def _ended(pidfd: int, limit_s: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _ended(pidfd, _KILLED_S)
