"""A stand-in for a QEMU guest agent with quiesce's hook, on a unix socket of its own.

As QEMU's socket it serves one client at a time; as qemu-ga it does one command after the other,
and answers only a few of them while frozen. `behaviour` may be changed between commands.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.testing.fakes import guest_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WHILE_FROZEN = {
    "guest-ping",
    "guest-info",
    "guest-sync",
    "guest-sync-delimited",
    "guest-fsfreeze-status",
    "guest-fsfreeze-thaw",
}
_COMMANDS = _WHILE_FROZEN | {
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-close",
    "guest-file-read",
    "guest-file-write",
}
PROGRAM = "/usr/bin/quiesce-guest"


class Refused(Exception):  # noqa: N818 - the agent's answer, not a fault of ours
    """The agent answers with this text as its error."""


@dataclass
class Behaviour:
    """How the guest behaves. *silent*: commands that are never answered; *late_s*: seconds until
    a command is answered; *lost*: commands that a restart of the agent swallows, once;
    *report_late*: how often the report is not there yet."""

    frozen: int = 2
    thawed: int | None = None
    freeze_status: int | None = None
    thaw_status: int | None = None
    freeze_error: str | None = None
    thaw_error: str | None = None
    program: str | None = PROGRAM
    forbidden: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    late_s: dict[str, float] = field(default_factory=dict)
    check: dict[str, Any] = field(
        default_factory=lambda: {
            "settings": {"continueBackupOnFailure": True, "fsFreezeEnabled": True}
        }
    )
    check_status: int = 0
    report_changes: dict[str, Any] = field(default_factory=dict)
    report_output: bytes | None = None
    report_late: int = 0


class StandinAgent:
    """The agent at *path*; *commands* are the names of what it was asked, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behaviour = Behaviour()
        self.commands: list[str] = []
        self.held = False
        self.frozen = False
        self.announced: str | None = None
        self.files: dict[str, bytes] = {}
        self._reports: dict[str, bytes] = {}
        self._handles: dict[int, tuple[str, bytearray | None, int]] = {}
        self._executed: dict[int, tuple[int, bytes]] = {}
        self._closing = False
        self._received = b""
        self._client: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def at_rest(self) -> bool:
        return self.held or self.frozen

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self._client = client
                with contextlib.suppress(OSError):
                    self._serve_client(client)
            self._client = None

    def _serve_client(self, client: socket.socket) -> None:
        while data := client.recv(65536):
            self._received += data
            # The sentinel ends what was half said, by a client before this one too.
            *flushed, self._received = self._received.split(b"\xff")
            for part in flushed:
                if part.strip():
                    self._send(client, {"error": {"desc": "Invalid JSON syntax"}})
            *lines, self._received = self._received.split(b"\n")
            for line in lines:
                self._answer_line(client, line)

    def _answer_line(self, client: socket.socket, line: bytes) -> None:
        try:
            request = json.loads(line or b"null")
        except ValueError:
            self._send(client, {"error": {"desc": "JSON parse error, expecting value"}})
            return
        if request is not None:
            self._answer(client, request)

    def _answer(self, client: socket.socket, request: dict[str, Any]) -> None:
        name = request["execute"]
        self.commands.append(name)
        behaviour = self.behaviour
        if name in behaviour.lost:
            behaviour.lost.discard(name)
            return
        time.sleep(behaviour.late_s.get(name, 0.0))
        try:
            answer = {"return": self._do(name, request.get("arguments", {}))}
        except Refused as exc:
            answer = {"error": {"class": "GenericError", "desc": str(exc)}}
        if name not in behaviour.silent:
            self._send(client, answer, delimited=name == "guest-sync-delimited")

    def _send(
        self, client: socket.socket, answer: dict[str, Any], *, delimited: bool = False
    ) -> None:
        client.sendall((b"\xff" if delimited else b"") + json.dumps(answer).encode() + b"\n")

    def _do(self, name: str, arguments: dict[str, Any]) -> Any:
        if name not in _COMMANDS:
            raise Refused(f"The command {name} has not been found")
        if name in self.behaviour.forbidden or (self.frozen and name not in _WHILE_FROZEN):
            raise Refused(f"Command {name} has been disabled")
        method: Callable[..., Any] = getattr(self, "_" + name.replace("-", "_"))
        return method(**{key.replace("-", "_"): value for key, value in arguments.items()})

    def _guest_ping(self) -> dict[str, Any]:
        return {}

    def _guest_sync(self, id: int) -> int:  # noqa: A002 - the protocol's name
        return id

    def _guest_sync_delimited(self, id: int) -> int:  # noqa: A002 - the protocol's name
        return id

    def _guest_info(self) -> dict[str, Any]:
        supported = [
            {
                "name": name,
                "enabled": name not in self.behaviour.forbidden,
                "success-response": True,
            }
            for name in sorted(_COMMANDS)
        ]
        return {"version": "7.2.22", "supported_commands": supported}

    def _guest_fsfreeze_status(self) -> str:
        return "frozen" if self.frozen else "thawed"

    def _guest_fsfreeze_freeze(self) -> int:
        return self._freeze(self.behaviour.frozen)

    def _guest_fsfreeze_freeze_list(self, mountpoints: list[str]) -> int:
        assert mountpoints == []
        return self._freeze(0)

    def _freeze(self, count: int) -> int:
        behaviour = self.behaviour
        if behaviour.freeze_status is not None:
            self._write_report()
            raise Refused(f"fsfreeze hook has failed with status {behaviour.freeze_status}")
        self.held = True
        if behaviour.freeze_error is not None:
            raise Refused(behaviour.freeze_error)
        self.frozen = count > 0
        return count

    def _guest_fsfreeze_thaw(self) -> int:
        behaviour = self.behaviour
        count = behaviour.frozen if self.frozen else 0
        self.frozen = self.held = False
        self._write_report()
        if behaviour.thaw_status is not None:
            raise Refused(f"fsfreeze hook has failed with status {behaviour.thaw_status}")
        if behaviour.thaw_error is not None:
            raise Refused(behaviour.thaw_error)
        return count if behaviour.thawed is None else behaviour.thawed

    def _write_report(self) -> None:
        session = self.announced
        written = self.files.get("/run/quiesce/announced.json")
        if session is None and written is not None:
            session = json.loads(written)["session"]
        if session is None or self.behaviour.program is None:
            return
        report = guest_report(**{"session": session, **self.behaviour.report_changes})
        output = json.dumps(report.to_json()).encode()
        if self.behaviour.report_output is not None:
            output = self.behaviour.report_output
        self._reports[session] = output
        self.files[f"/var/log/quiesce/reports/{session}.json"] = output
        self.announced = None

    def _guest_exec(self, path: str, arg: list[str], capture_output: bool) -> dict[str, int]:
        if path != self.behaviour.program:
            text = f"Failed to execute child process “{path}” (No such file or directory)"
            raise Refused(f"Guest agent command failed, error was '{text}'")
        assert capture_output
        assert "--json" in arg
        session = arg[arg.index("--session") + 1]
        if arg[:3] == ["hook", "qga", "announce"]:
            self.announced = session
            done = (self.behaviour.check_status, json.dumps(self.behaviour.check).encode())
        else:
            assert arg[0] == "report"
            found = self._reports.get(session)
            if self.behaviour.report_late > 0:
                self.behaviour.report_late -= 1
                found = None
            done = (10, b"") if found is None else (0, found)
        pid = len(self._executed) + 1
        self._executed[pid] = done
        return {"pid": pid}

    def _guest_exec_status(self, pid: int) -> dict[str, Any]:
        status, output = self._executed[pid]
        encoded = base64.b64encode(output).decode()
        return {"exited": True, "exitcode": status, **({"out-data": encoded} if output else {})}

    def _guest_file_open(self, path: str, mode: str) -> int:
        if mode == "r" and path not in self.files:
            raise Refused(f"failed to open file '{path}' (mode: 'r'): No such file or directory")
        handle = len(self._handles) + 1000
        self._handles[handle] = (path, bytearray() if mode == "w" else None, 0)
        return handle

    def _guest_file_close(self, handle: int) -> dict[str, Any]:
        path, written, _ = self._handles.pop(handle)
        if written is not None:
            self.files[path] = bytes(written)
        return {}

    def _guest_file_read(self, handle: int, count: int) -> dict[str, Any]:
        path, written, offset = self._handles[handle]
        data = self.files[path][offset : offset + count]
        self._handles[handle] = (path, written, offset + len(data))
        encoded = base64.b64encode(data).decode()
        return {"count": len(data), "buf-b64": encoded, "eof": len(data) < count}

    def _guest_file_write(self, handle: int, buf_b64: str) -> dict[str, Any]:
        _, written, _ = self._handles[handle]
        assert written is not None
        data = base64.b64decode(buf_b64)
        written.extend(data)
        return {"count": len(data), "eof": False}


@contextlib.contextmanager
def standin_agent() -> Iterator[StandinAgent]:
    """Run a stand-in agent in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="standin-agent-") as directory:
        agent = StandinAgent(Path(directory) / "qga")
        try:
            yield agent
        finally:
            agent.close()
