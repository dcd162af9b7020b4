"""Runs in the guest: a root shell over a virtio port, and the pulse of the file systems.

The port is the test's own, so that the agent's socket is the product's alone. Everything that is
needed while a file system is frozen is in memory.
"""

import base64
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time

PORT = "/dev/virtio-ports/test.inside"
PULSE_S = 0.2
MCL_CURRENT, MCL_FUTURE = 1, 2
# Each is locked, whole.
STACK_BYTES = 256 << 10


class Pulse(threading.Thread):
    """Writes to one file system all the time, and knows for how long it could not."""

    def __init__(self, mount: str) -> None:
        super().__init__(daemon=True)
        self._file = os.open(os.path.join(mount, ".pulse"), os.O_WRONLY | os.O_CREAT)
        self._longest_s = 0.0
        self._since: float | None = None
        self._beats = 0

    def run(self) -> None:
        while True:
            self._since = began = time.monotonic()
            os.pwrite(self._file, b"x", 0)
            self._since = None
            self._longest_s = max(self._longest_s, time.monotonic() - began)
            self._beats += 1
            time.sleep(PULSE_S)

    def told(self) -> dict[str, object]:
        since = self._since
        waits_s = 0.0 if since is None else time.monotonic() - since
        longest_s = max(self._longest_s, waits_s)
        return {"beats": self._beats, "waits_s": waits_s, "longest_s": longest_s}

    def forget(self) -> None:
        self._longest_s = 0.0


class Server:
    """Answers each line of JSON with one, in whatever order they are done."""

    def __init__(self, mounts: list[str]) -> None:
        self._port = os.open(PORT, os.O_RDWR)
        self._writing = threading.Lock()
        self._pulses = {mount: Pulse(mount) for mount in mounts}

    def serve(self) -> None:
        for pulse in self._pulses.values():
            pulse.start()
        received = b""
        while True:
            received += os.read(self._port, 65536)
            *lines, received = received.split(b"\n")
            for line in lines:
                threading.Thread(target=self._answer, args=(json.loads(line),)).start()

    def _answer(self, order: dict[str, object]) -> None:
        done = getattr(self, f"_{order['do']}")(order)
        answer = json.dumps({"id": order["id"], **done}).encode() + b"\n"
        with self._writing:
            while answer:
                answer = answer[os.write(self._port, answer) :]

    def _run(self, order: dict[str, object]) -> dict[str, object]:
        try:
            done = subprocess.run(
                order["argv"],
                input=base64.b64decode(order["stdin"]),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                check=False,
            )
        except OSError as exc:
            return {"status": 127, "output": base64.b64encode(str(exc).encode()).decode()}
        return {"status": done.returncode, "output": base64.b64encode(done.stdout).decode()}

    def _read(self, order: dict[str, object]) -> dict[str, object]:
        try:
            with open(order["path"], encoding="utf-8") as file:
                return {"text": file.read()}
        except FileNotFoundError:
            return {"text": None}

    def _write(self, order: dict[str, object]) -> dict[str, object]:
        os.makedirs(os.path.dirname(order["path"]), exist_ok=True)
        with open(order["path"], "w", encoding="utf-8") as file:
            file.write(order["text"])
        os.chmod(order["path"], order["mode"])
        return {}

    def _remove(self, order: dict[str, object]) -> dict[str, object]:
        if os.path.lexists(order["path"]):
            os.unlink(order["path"])
        return {}

    def _kill(self, order: dict[str, object]) -> dict[str, object]:
        os.kill(order["pid"], signal.SIGKILL)
        return {}

    def _is_alive(self, order: dict[str, object]) -> dict[str, object]:
        return {"alive": os.path.exists(f"/proc/{order['pid']}")}

    def _pulse(self, _order: dict[str, object]) -> dict[str, object]:
        return {"pulse": {mount: pulse.told() for mount, pulse in self._pulses.items()}}

    def _forget(self, _order: dict[str, object]) -> dict[str, object]:
        for pulse in self._pulses.values():
            pulse.forget()
        return {}


def stay_in_memory() -> None:
    """Wait for no memory: a pulse that cannot be felt would look like one that is not there."""
    threading.stack_size(STACK_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), "mlockall")


if __name__ == "__main__":
    stay_in_memory()
    Server(sys.argv[1:]).serve()
