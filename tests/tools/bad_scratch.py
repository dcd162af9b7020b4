"""Scratch that fails or hangs, for `Qemu`'s seam for making scratch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from quiesce.providers.nbd import connected_to_new
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from quiesce.providers.qmp import QmpConnection


class FailingScratch:
    """Every write to it is an I/O error."""

    def make(
        self, connection: QmpConnection, node: str, path: Path, size_bytes: int
    ) -> Mapping[str, Any]:
        path.touch()
        os.truncate(path, size_bytes)
        error = {"event": "none", "iotype": "write", "errno": 5}
        image = {"driver": "file", "filename": str(path)}
        return {"driver": "blkdebug", "node-name": node, "image": image, "inject-error": [error]}


class HangingScratch:
    """It lies behind NBD servers that can be stopped."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: list[subprocess.Popen[bytes]] = []

    def make(
        self, connection: QmpConnection, node: str, path: Path, size_bytes: int
    ) -> Mapping[str, Any]:
        image, address = self._directory / node, self._directory / f"{node}.sock"
        image.touch()
        os.truncate(image, size_bytes)
        serve = ["qemu-nbd", "--format=raw", "--persistent", f"--socket={address}", image]
        server = subprocess.Popen(serve)
        self._servers.append(server)
        connected_to_new(
            address, is_alive=lambda: server.poll() is None, deadline=Deadline.after(20)
        ).close()
        behind = {"type": "unix", "path": str(address)}
        return {"driver": "nbd", "node-name": node, "server": behind}

    def hang(self) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()


@contextlib.contextmanager
def hanging_scratch(directory: Path) -> Iterator[HangingScratch]:
    scratch = HangingScratch(directory)
    try:
        yield scratch
    finally:
        scratch.end()
