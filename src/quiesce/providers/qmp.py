"""A small synchronous face on qemu.qmp: one negotiated connection to one QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path

    from quiesce.system.deadline import Deadline

_T = TypeVar("_T")

GREETING_S = 5.0
COMMAND_S = 10.0

# Ends half a command, wherever its writer died: a newline alone leaves open braces open.
_RESET = b"\xff\n"
_STALE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Command:
    """One QMP command with its arguments."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


class CommandRefusedError(QuiesceError):
    """QEMU understood a command and refused it; *error_class* and *description* are its own."""

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__("CommandRefused", f"{command}: {error_class}: {description}")
        self.command = command
        self.error_class = error_class
        self.description = description


class QmpConnection:
    """A connection to a QEMU that has greeted and negotiated; one thread uses it at a time.

    Every method that speaks to QEMU raises CommandRefusedError where QEMU refuses, and QuiesceError
    MachineUnreachable where it does not answer in time or the connection is lost.
    """

    def __init__(self, connected: socket.socket, *, resumed: bool, limit_s: float) -> None:
        """Take over *connected*; `connect` and `resume` are the ways to make one."""
        self._socket = connected
        self._client = QMPClient("quiesce")
        self._client.logger = logging.Logger("quiesce.qmp")  # noqa: LOG001 - detached: the errors raised say it
        self._client.logger.addHandler(logging.NullHandler())
        self._client.await_greeting = self._client.negotiate = not resumed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        try:
            self._call(self._client.connect(connected), limit_s)
        except BaseException:
            self._end_loop()
            connected.close()
            raise

    @classmethod
    def connect(cls, path: Path, *, deadline: Deadline) -> QmpConnection:
        """Connect to the QMP socket at *path* and negotiate, with out-of-band commands.

        Raises QuiesceError MachineUnreachable where nothing listens or it is no QMP, SocketBusy
        where no greeting comes within 5 s: another client is being served.
        """
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        limit_s = deadline.sooner(GREETING_S).left_s()
        connected.settimeout(limit_s)
        try:
            connected.connect(str(path))
            return cls(connected, resumed=False, limit_s=limit_s)
        except (TimeoutError, BlockingIOError) as exc:
            connected.close()
            raise QuiesceError("SocketBusy", f"no greeting from the QMP socket {path}") from exc
        except (OSError, ConnectError) as exc:
            connected.close()
            raise QuiesceError(
                "MachineUnreachable", f"cannot use the QMP socket {path}: {exc}"
            ) from exc

    @classmethod
    def resume(cls, descriptor: int, *, deadline: Deadline) -> QmpConnection:
        """Go on with a connection whose user died; *descriptor* is ours from now on.

        What he left half said is ended, what he was still to be answered is dropped.
        """
        connected = socket.socket(fileno=descriptor)
        try:
            _resynchronize(connected, deadline)
            return cls(connected, resumed=True, limit_s=deadline.left_s())
        except (OSError, ValueError, ConnectError) as exc:
            connected.close()
            raise QuiesceError(
                "MachineUnreachable", f"the connection to QEMU is lost: {exc}"
            ) from exc

    def close(self) -> None:
        """Disconnect; harmless where the other side has gone, and twice."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            self._call(self._client.disconnect(), COMMAND_S)
        self._end_loop()

    def hang_up(self) -> None:
        """Disconnect although somebody else has a duplicate: QEMU can then serve a new client."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def fileno(self) -> int:
        """Return the connected socket's descriptor."""
        return self._socket.fileno()

    def peer(self) -> tuple[int, int]:
        """Return the process id and the user id of the other side when it began to listen."""
        size = struct.calcsize("3i")
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, uid, _ = struct.unpack("3i", credentials)
        return pid, uid

    def execute(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        *,
        limit_s: float = COMMAND_S,
        out_of_band: bool = False,
    ) -> Any:
        """Return what QEMU answers to the command *name*."""
        running = self._client.execute(name, arguments or {}, oob=out_of_band)
        try:
            return self._call(running, limit_s)
        except (QMPError, OSError, EOFError) as exc:
            raise _translated(name, exc) from exc

    def execute_all(
        self, commands: Sequence[Command], *, limit_s: float = COMMAND_S
    ) -> list[Any | QuiesceError]:
        """Send all *commands* at once; return their answers, an error in its place.

        QEMU works on them in order and does not stop at one that fails.
        """
        answers = self._call(self._gather(commands, limit_s), limit_s + 1)
        return [
            _translated(command.name, answer) if isinstance(answer, Exception) else answer
            for command, answer in zip(commands, answers, strict=True)
        ]

    def send_descriptor(self, descriptor: int) -> None:
        """Send a duplicate of *descriptor*; the next `getfd` or `add-fd` takes it."""
        try:
            self._call(self._send_descriptor(descriptor), COMMAND_S)
        except (QMPError, OSError) as exc:
            raise _translated("SCM_RIGHTS", exc) from exc

    async def _send_descriptor(self, descriptor: int) -> None:
        self._client.send_fd_scm(descriptor)

    async def _gather(self, commands: Sequence[Command], limit_s: float) -> list[Any]:
        waiting = [
            asyncio.wait_for(self._client.execute(one.name, one.arguments), limit_s)
            for one in commands
        ]
        return await asyncio.gather(*waiting, return_exceptions=True)

    def _call(self, coroutine: Coroutine[Any, Any, _T], limit_s: float) -> _T:
        limited = asyncio.wait_for(coroutine, limit_s)
        return asyncio.run_coroutine_threadsafe(limited, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _resynchronize(connected: socket.socket, deadline: Deadline) -> None:
    """Read *connected* up to the answer of a command of our own."""
    mark = f"resume-{secrets.token_hex(8)}"
    connected.settimeout(max(deadline.left_s(), 0.001))
    connected.sendall(_RESET + b'{"execute": "query-version", "id": "%s"}' % mark.encode())
    received = b""
    while mark.encode() not in received or not received.endswith(b"\n"):
        if deadline.passed():
            raise TimeoutError("QEMU does not answer")
        if len(received) > _STALE_BYTES:
            raise ValueError("QEMU has too much to say")
        more = connected.recv(64 * 1024)
        if not more:
            raise ConnectionResetError("QEMU has ended")
        received += more


def _translated(name: str, error: Exception) -> QuiesceError:
    if isinstance(error, ExecuteError):
        return CommandRefusedError(name, error.error_class, str(error))
    said = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return QuiesceError("MachineUnreachable", f"{name}: {said or type(error).__name__}")
