"""QEMU with the writer guest: two disks, one QMP socket for the product, one for the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import writer_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMIT_S = 60.0

_CONTROLLERS: dict[str, list[str]] = {
    "virtio-blk": [],
    "virtio-scsi": ["-device", "virtio-scsi-pci,id=scsi0{iothread}"],
    "ide": [],
}
_DEVICES = {
    "virtio-blk": "virtio-blk-pci,id={id},drive={node},serial=serial-{id},bootindex={index}"
    "{iothread}",
    "virtio-scsi": "scsi-hd,id={id},drive={node},bus=scsi0.0,serial=serial-{id},bootindex={index}",
    "ide": "ide-hd,id={id},drive={node},bus=ide.{index},serial=serial-{id},bootindex={index}",
}


class Monitor:
    """A plain QMP client of the test's own."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_LIMIT_S)
        try:
            self._socket.connect(os.fspath(path))
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")
        self.events: list[dict[str, Any]] = []
        json.loads(self._file.readline())
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        message = {"execute": command, "arguments": named}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            reply = json.loads(self._file.readline())
            if "event" in reply:
                self.events.append(reply)
                continue
            assert "error" not in reply, f"{command}: {reply['error']}"
            return reply["return"]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@dataclass
class BareQemu:
    """A running QEMU. *qmp* is for the product, *monitor* for the test; *images* are its disks."""

    directory: Path
    process: subprocess.Popen[bytes]
    qmp: Path
    monitor: Monitor
    images: list[Path]
    argv: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def _printed(self) -> bytes:
        return (self.directory / "debugcon").read_bytes()

    def rounds(self) -> int:
        """How many rounds the guest has written, in steps of 16."""
        return self._printed().count(b".") * 16

    def guest_errors(self) -> int:
        """How many writes failed in the guest."""
        return self._printed().count(b"E")

    def wait_for_rounds(self, more: int = 32) -> None:
        """Wait until the guest has written *more* rounds from now on."""
        goal = self.rounds() + more
        wait_until(lambda: self.rounds() >= goal, f"the guest to reach round {goal}")

    def state(self) -> dict[str, Any]:
        """What must be as before when a backup is over: nodes, jobs, exports, run state.

        The descriptors too, but a QEMU that does not run closes none before it does.
        """
        status = self.monitor("query-status")["status"]
        return {
            "nodes": sorted(node["node-name"] for node in self.monitor("query-named-block-nodes")),
            "disks": {
                entry.get("qdev", ""): entry.get("inserted", {}).get("node-name")
                for entry in self.monitor("query-block")
            },
            "jobs": self.monitor("query-jobs"),
            "exports": self.monitor("query-block-exports"),
            "fdsets": self.monitor("query-fdsets") if status == "running" else [],
            "status": status,
        }


def wait_until(state: Callable[[], bool], what: str, *, limit_s: float = _LIMIT_S) -> None:
    """Wait until *state* holds; fail with *what* after the limit."""
    end = time.monotonic() + limit_s
    while not state():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def bare_qemu(
    *,
    bus: str = "ide",
    image_format: str = "raw",
    iothread: bool = False,
    paused: bool = False,
    extra: tuple[str, ...] = (),
    cache: str = "",
) -> Iterator[BareQemu]:
    """Start QEMU with the writer guest and wait until it writes (unless *paused*).

    On a busy machine the guest is by far the fastest with IDE disks.
    """
    directory = Path(tempfile.mkdtemp(prefix="bare-qemu-"))
    images = _images(directory, image_format)
    argv = [
        *_machine(directory),
        *_disks(images, image_format, bus, iothread=iothread, cache=cache),
    ]
    argv += [*(["-S"] if paused else []), *extra]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=stderr)
    machine = None
    try:
        monitor = _first_monitor(directory, process)
        machine = BareQemu(directory, process, directory / "qmp", monitor, images, argv)
        if not paused:
            machine.wait_for_rounds(32)
        yield machine
    finally:
        if machine is not None:
            machine.monitor.close()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
        shutil.rmtree(directory)


def _first_monitor(directory: Path, process: subprocess.Popen[bytes]) -> Monitor:
    found: list[Monitor] = []

    def is_reached() -> bool:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            found.append(Monitor(directory / "monitor"))
        return bool(found) or process.poll() is not None

    wait_until(is_reached, "the monitor")
    assert found, (directory / "stderr").read_text()
    return found[0]


def _machine(directory: Path) -> list[str]:
    argv = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "pc", "-accel", "tcg", "-m", "32", "-name", "writer",
        "-uuid", "5f0c7e2a-7d0c-4c56-8f58-1a4f8c1d2e3f",
        "-debugcon", f"file:{directory}/debugcon",
    ]  # fmt: skip
    for name in ("qmp", "monitor"):
        argv += ["-chardev", f"socket,id={name},path={directory}/{name},server=on,wait=off"]
        argv += ["-mon", f"chardev={name},mode=control"]
    return argv


def _disks(
    images: list[Path], image_format: str, bus: str, *, iothread: bool, cache: str
) -> list[str]:
    with_iothread = ",iothread=iothread0" if iothread else ""
    argv = ["-object", "iothread,id=iothread0"] if iothread else []
    argv += [part.format(iothread=with_iothread) for part in _CONTROLLERS[bus]]
    for index, image in enumerate(images):
        node, name = f"image{index}", f"vd{'ab'[index]}"
        argv += ["-blockdev", f"driver=file,node-name=file{index},filename={image}{cache}"]
        argv += ["-blockdev", f"driver={image_format},node-name={node},file=file{index}"]
        device = _DEVICES[bus].format(id=name, node=node, index=index, iothread=with_iothread)
        argv += ["-device", device]
    return argv


def _images(directory: Path, image_format: str) -> list[Path]:
    raw = [directory / "a.raw", directory / "b.raw"]
    writer_guest.make_disks(*raw)
    if image_format == "raw":
        return raw
    images = [path.with_suffix(f".{image_format}") for path in raw]
    for source, target in zip(raw, images, strict=True):
        convert = ["qemu-img", "convert", "-f", "raw", "-O", image_format, source, target]
        subprocess.run(convert, check=True)
        source.unlink()
    return images
