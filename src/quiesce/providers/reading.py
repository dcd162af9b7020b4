"""Ways to read a node of QEMU: its own NBD server, or a FUSE export with a server outside."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.providers.nbd import NbdReader, connected_to_new
from quiesce.providers.qmp import CommandRefusedError
from quiesce.providers.readers import start_time
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.providers.qmp import QmpConnection

_SERVE = ("qemu-nbd", "--read-only", "--format=raw", "--persistent", "--shared=0")
_START_S = 20.0
_POLL_S = 0.01


class Reading:
    """Makes nodes readable, each under its own *names_prefix*-name; ends everything on `close`.

    *directory* is the backup's own; its sockets are bound through a short path, as the address of
    a socket has 107 characters at most.
    """

    def __init__(self, connection: QmpConnection, names_prefix: str, directory: Path) -> None:
        """Open *directory*."""
        self._connection = connection
        self._prefix = names_prefix
        self._directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._short = Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")
        self._resources = contextlib.ExitStack()
        self._resources.callback(os.close, self._descriptor)

    def close(self) -> None:
        """Hang up and end the servers outside; what QEMU exports is the clean-up's."""
        self._resources.close()

    def is_nbd_free(self, node: str) -> bool:
        """Return whether QEMU's NBD server is not running; *node* serves to find out."""
        name = f"{self._prefix}probe"
        try:
            self._export(name, node, {"type": "nbd"})
        except CommandRefusedError:
            return True
        self._remove(name)
        return False

    def try_fuse(self, node: str) -> None:
        """Export *node* by FUSE and take it back.

        Raises QuiesceError SnapshotUnsupported where that is impossible, with the reason.
        """
        if self._connection.peer()[1] != os.geteuid():
            raise QuiesceError(
                "SnapshotUnsupported", "FUSE is needed, and QEMU runs as another user"
            )
        name = f"{self._prefix}probe"
        try:
            mounted = self._mount(name, node)
        except CommandRefusedError as exc:
            raise QuiesceError("SnapshotUnsupported", f"FUSE is needed: {exc}") from exc
        visible = mounted.stat().st_dev != self._directory.stat().st_dev
        self._remove(name)
        if not visible:
            raise QuiesceError(
                "SnapshotUnsupported", "FUSE is needed, and QEMU's mounts are hidden"
            )

    def start_nbd(self) -> None:
        """Start QEMU's NBD server on a socket that only we can reach."""
        name = f"{self._prefix}nbd"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._short / "nbd.sock"))
            self._connection.send_descriptor(listener.fileno())
            self._connection.execute("getfd", {"fdname": name})
        address = {"type": "fd", "data": {"str": name}}
        self._connection.execute("nbd-server-start", {"addr": address})

    def by_nbd(self, node: str) -> NbdReader:
        """Return a reader of *node* through QEMU's NBD server; that runs."""
        self._export(node, node, {"type": "nbd", "name": node})
        return self._reader(self._short / "nbd.sock", node)

    def by_fuse(self, node: str, remember: Callable[[int, int], None]) -> NbdReader:
        """Return a reader of *node* through FUSE; *remember* gets its server's pid and start."""
        mounted = self._mount(node, node)
        address = self._directory / f"{node}.sock"
        started = process.start(
            [
                *_SERVE,
                f"--export-name={node}",
                f"--socket={self._short / address.name}",
                str(mounted),
            ]
        )
        self._resources.callback(process.kill_group, started)
        remember(started.pid, start_time(started.pid) or 0)
        try:
            connected_to_new(
                self._short / address.name,
                is_alive=lambda: started.poll() is None,
                deadline=Deadline.after(_START_S),
            ).close()
        except OSError as exc:
            raise QuiesceError("SnapshotUnsupported", f"qemu-nbd: {exc}") from exc
        return self._reader(self._short / address.name, node)

    def _reader(self, address: Path, export: str) -> NbdReader:
        reader = NbdReader(address, export)
        self._resources.callback(reader.close)
        return reader

    def _mount(self, name: str, node: str) -> Path:
        path = self._directory / f"{name}.img"
        path.touch(mode=0o600)
        self._export(name, node, {"type": "fuse", "mountpoint": str(path)})
        return path

    def _export(self, name: str, node: str, how: Mapping[str, str]) -> None:
        self._connection.execute("block-export-add", {"id": name, "node-name": node, **how})

    def _remove(self, name: str) -> None:
        self._connection.execute("block-export-del", {"id": name, "mode": "hard"})
        deadline = Deadline.after(_START_S)
        while any(one["id"] == name for one in self._connection.execute("query-block-exports")):
            if deadline.passed():
                raise QuiesceError("SnapshotUnsupported", f"the export {name} stays")
            time.sleep(_POLL_S)
