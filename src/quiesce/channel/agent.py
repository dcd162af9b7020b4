"""The wire protocol of the QEMU guest agent: one command, one answer, each within a deadline.

Everything that comes from the guest is bounded in size and checked before it is used.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.system.deadline import Deadline

# 8 MiB of captured output in base64, and what is around it.
_ANSWER_BYTES = 12 * 1024 * 1024
_OUTPUT_BYTES = 8 * 1024 * 1024
_MESSAGE_CHARACTERS = 1024
_FILE_READ_BYTES = 1024 * 1024
_RECEIVE_BYTES = 64 * 1024
_BUSY_S = 2.0
_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5
_SENTINEL = b"\xff"
_ESTABLISHED = "03"
_PROBE_S = 5.0
_SMALLEST_PROBE = 1 << 50


class AgentError(Exception):
    """The agent answered with an error; its text is cut to 1 KiB."""


class NoAnswerError(Exception):
    """No answer in time, a lost connection, or something that is no answer."""


class _NotJsonError(NoAnswerError):
    pass


@dataclass(frozen=True)
class Executed:
    """What a program in the guest left; *exit_status* is None where a signal ended it."""

    exit_status: int | None
    stdout: bytes


class Agent:
    """A connection to a guest agent's socket, of use only as long as it is in step."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()
        self._probes: set[int] = set()
        self._is_waiting = False

    @property
    def is_in_step(self) -> bool:
        """Whether every command was answered, so that the next answer is the next command's."""
        return not self._is_waiting

    @classmethod
    def connect(cls, path: Path, *, deadline: Deadline) -> Agent:
        """Connect to the agent's socket at *path*; whether an agent answers is not known then.

        Raises QuiesceError MachineUnreachable where the socket is missing or refuses, SocketBusy
        where another client holds it (for longer than a dying one needs to let go).
        """
        wait = deadline.sooner(_BUSY_S)
        while is_held(path):
            if wait.passed():
                raise QuiesceError("SocketBusy", f"another client holds the agent's socket {path}")
            time.sleep(_POLL_S)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(max(wait.left_s(), _POLL_S))
            connected.connect(str(path))
        except (TimeoutError, BlockingIOError) as exc:
            connected.close()
            raise QuiesceError("SocketBusy", f"others wait for the agent's socket {path}") from exc
        except OSError as exc:
            connected.close()
            message = f"cannot use the agent's socket {path}: {exc.strerror or exc}"
            raise QuiesceError("MachineUnreachable", message) from exc
        return cls(connected)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def synchronize(self, *, deadline: Deadline) -> None:
        """Return when the agent answers us, and nothing older; raises NoAnswerError."""
        # The sentinel makes the agent drop what a dead client has left half said.
        self._send(_SENTINEL, deadline)
        number = self._probe(deadline)
        try:
            while True:
                # What lies before the agent's sentinel was for somebody else.
                self._receive_until(_SENTINEL, deadline)
                with contextlib.suppress(_NotJsonError):
                    if _parsed(self._receive_until(b"\n", deadline)).get("return") == number:
                        self._probes.clear()
                        return
        except TimeoutError as exc:
            raise NoAnswerError("no answer in time") from exc

    def execute(
        self, name: str, arguments: Mapping[str, object] | None = None, *, deadline: Deadline
    ) -> Any:
        """Return the answer to the command *name*.

        Raises AgentError, NoAnswerError; the latter also where the agent was restarted.
        """
        request = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self._is_waiting = True
        self._send(json.dumps(request).encode() + b"\n", deadline)
        answer = self._answer(deadline)
        self._is_waiting = False
        if "return" in answer:
            return answer["return"]
        error = answer.get("error")
        said = error.get("desc") if isinstance(error, dict) else None
        if not isinstance(said, str):
            raise NoAnswerError(f"{name}: neither an answer nor an error")
        if "JSON" in said:
            # A new agent got only the end of it.
            raise NoAnswerError("the agent was restarted")
        raise AgentError(said[:_MESSAGE_CHARACTERS])

    def run(self, argv: Sequence[str], *, deadline: Deadline) -> Executed:
        """Run *argv* in the guest to its end; raises AgentError, NoAnswerError."""
        started = self.execute(
            "guest-exec",
            {"path": argv[0], "arg": list(argv[1:]), "capture-output": True},
            deadline=deadline,
        )
        pid = _field(started, "pid", int)
        pause_s = _POLL_S
        while True:
            status = self.execute("guest-exec-status", {"pid": pid}, deadline=deadline)
            if _field(status, "exited", bool):
                break
            time.sleep(min(pause_s, deadline.left_s()))
            pause_s = min(pause_s * 2, _SLOWEST_POLL_S)
        exit_status = status.get("exitcode")
        return Executed(
            exit_status if isinstance(exit_status, int) else None,
            _decoded(status.get("out-data", "")),
        )

    def read_file(self, path: str, *, deadline: Deadline) -> bytes:
        """Return the content of *path* in the guest; raises AgentError, NoAnswerError."""
        handle = self.execute("guest-file-open", {"path": path, "mode": "r"}, deadline=deadline)
        content = bytearray()
        try:
            while True:
                part = self.execute(
                    "guest-file-read",
                    {"handle": handle, "count": _FILE_READ_BYTES},
                    deadline=deadline,
                )
                content += _decoded(_field(part, "buf-b64", str))
                if len(content) > _OUTPUT_BYTES:
                    raise NoAnswerError(f"{path} is too large")
                if _field(part, "eof", bool):
                    return bytes(content)
        finally:
            self._close_file(handle, deadline)

    def write_file(self, path: str, data: bytes, *, deadline: Deadline) -> None:
        """Write *data* to *path* in the guest; raises AgentError, NoAnswerError."""
        handle = self.execute("guest-file-open", {"path": path, "mode": "w"}, deadline=deadline)
        try:
            encoded = base64.b64encode(data).decode()
            self.execute(
                "guest-file-write", {"handle": handle, "buf-b64": encoded}, deadline=deadline
            )
        finally:
            self._close_file(handle, deadline)

    def _close_file(self, handle: object, deadline: Deadline) -> None:
        with contextlib.suppress(AgentError):
            self.execute("guest-file-close", {"handle": handle}, deadline=deadline)

    def _send(self, data: bytes, deadline: Deadline) -> None:
        try:
            self._socket.settimeout(max(deadline.left_s(), _POLL_S))
            self._socket.sendall(data)
        except OSError as exc:
            raise NoAnswerError(str(exc)) from exc

    def _answer(self, deadline: Deadline) -> dict[str, Any]:
        """Return the answer to the one command that is under way.

        The agent does one thing after the other: where it answers a probe that was sent later,
        the command was lost.
        """
        asked: set[int] = set()
        while True:
            try:
                answer = _parsed(self._receive_until(b"\n", deadline.sooner(_PROBE_S)))
            except TimeoutError:
                if deadline.passed():
                    raise NoAnswerError("no answer in time") from None
                asked.add(self._probe(deadline))
                continue
            number = answer.get("return")
            if not isinstance(number, int) or number not in self._probes:
                return answer
            self._probes.discard(number)
            if number in asked:
                raise NoAnswerError("the agent was restarted")

    def _probe(self, deadline: Deadline) -> int:
        number = _SMALLEST_PROBE + secrets.randbelow(_SMALLEST_PROBE)
        self._probes.add(number)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        self._send(json.dumps(request).encode() + b"\n", deadline)
        return number

    def _receive_until(self, end: bytes, deadline: Deadline) -> bytes:
        searched = 0
        while (position := self._received.find(end, searched)) < 0:
            searched = len(self._received)
            if searched > _ANSWER_BYTES:
                raise NoAnswerError("the answer is too large")
            self._received += self._receive(deadline)
        taken = bytes(self._received[:position])
        del self._received[: position + len(end)]
        return taken

    def _receive(self, deadline: Deadline) -> bytes:
        if deadline.passed():
            raise TimeoutError("no answer in time")
        try:
            self._socket.settimeout(deadline.left_s() or _POLL_S)
            received = self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise
        except OSError as exc:
            raise NoAnswerError(str(exc)) from exc
        if not received:
            raise NoAnswerError("the connection was closed")
        return received


def is_held(path: Path) -> bool:
    """Return whether a client is connected to the listening socket at *path*.

    Where that cannot be known the answer is no.
    """
    names = (str(path), str(path.resolve()))
    try:
        with Path("/proc/net/unix").open(encoding="utf-8", errors="replace") as table:
            return any(_is_connection(line, names) for line in table)
    except OSError:
        return False


def _is_connection(line: str, paths: tuple[str, str]) -> bool:
    fields = line.rstrip("\n").split(maxsplit=7)
    if len(fields) < 8 or fields[7] not in paths:
        return False
    return fields[5] == _ESTABLISHED and fields[6] != "0"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line.strip(_SENTINEL + b" \r\n\t"))
    except (ValueError, RecursionError) as exc:
        raise _NotJsonError("what came is no JSON") from exc
    if not isinstance(answer, dict):
        raise _NotJsonError("what came is no JSON object")
    return answer


def _field(answer: object, name: str, kind: type[Any]) -> Any:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise NoAnswerError(f"an answer without {name}")
    return value


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NoAnswerError("what came is no base64") from exc
