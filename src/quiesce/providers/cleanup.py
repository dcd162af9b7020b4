"""The one clean-up of a snapshot in QEMU: after a backup, after a failure, after a death.

What is there to be removed is not remembered, it is asked of QEMU: everything that is ours has a
name that begins with the note's prefix. So doing it twice, or half way after somebody else, is
harmless.
"""

from __future__ import annotations

import contextlib
import time
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.providers import readers
from quiesce.providers.qmp import Command, CommandRefusedError, QmpConnection
from quiesce.providers.scratch import remove_directory
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.undo import UndoNote

_CONNECT_S = 8.0
_GONE_S = 5.0
_POLL_S = 0.01
_ENDED = (FileNotFoundError, ConnectionRefusedError)


def prefix(session: str) -> str:
    """Return what the names of all nodes, exports and objects of *session* begin with.

    Short, as QEMU's node names have 31 characters at most, and of the random part of the ULID.
    """
    return f"bk-{session[-8:]}-"


def scratch_directory(root: Path, session: str) -> Path:
    """Return the directory of *session* alone in *root*."""
    return root / f"quiesce-{session}"


def window_mark(names_prefix: str) -> str:
    """Return the name of the object that QEMU has while it is stopped by us and ran before."""
    return f"{names_prefix}window"


@contextlib.contextmanager
def connected(note: UndoNote, descriptor: int | None) -> Iterator[QmpConnection | None]:
    """Connect to the note's QEMU, over *descriptor* (closed then) if it can be; None: it has ended.

    Raises QuiesceError UndoIncomplete where it runs and cannot be reached.
    """
    connection = _reached(note, descriptor)
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def go_on(connection: QmpConnection, note: UndoNote) -> None:
    """Let the machine go on where it was stopped for the snapshot; one that was paused is not."""
    mark = window_mark(note.prefix)
    if not _is_marked(connection, mark):
        return
    with _as_incomplete():
        if connection.execute("query-status")["status"] == "paused":
            connection.execute("cont")
        connection.execute("object-del", {"id": mark})


def sweep(connection: QmpConnection | None, note: UndoNote) -> None:
    """Remove everything of the backup; *connection* is None where the machine has ended.

    The guest never gets an error for it. When this returns QEMU's nodes, jobs and exports are as
    before, the machine runs if it ran, and scratch is gone. Raises QuiesceError UndoIncomplete.
    """
    readers.kill_readers(note)
    if connection is not None:
        with _as_incomplete():
            _yank(connection, note.prefix)
            _remove_exports(connection, note.prefix)
            if note.nbd_started:
                with contextlib.suppress(CommandRefusedError):
                    connection.execute("nbd-server-stop")
            _remove_nodes(connection, note)
            _remove_descriptors(connection, note.prefix)
            go_on(connection, note)
    remove_directory(Path(note.scratch_dir))


def removal_order(names: Sequence[str], graph: dict[str, Any]) -> list[str]:
    """Return *names* so that no node comes before one that uses it.

    *graph* is what `x-debug-query-block-graph` says.
    """
    by_id = {node["id"]: node["name"] for node in graph["nodes"]}
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(names, ()))
    for edge in graph["edges"]:
        parent, child = by_id[edge["parent"]], by_id[edge["child"]]
        if parent in names and child in names:
            sorter.add(child, parent)
    return list(sorter.static_order())


def below(filter_name: str, graph: dict[str, Any]) -> str:
    """Return the node that the filter lies on now; it need not be the one it was put on."""
    by_id = {node["id"]: node["name"] for node in graph["nodes"]}
    for edge in graph["edges"]:
        if by_id[edge["parent"]] == filter_name and edge["name"] == "file":
            return str(by_id[edge["child"]])
    raise QuiesceError("UndoIncomplete", f"the filter {filter_name} lies on nothing")


def _reached(note: UndoNote, descriptor: int | None) -> QmpConnection | None:
    if not note.qmp:
        return None  # a machine that is only disks
    deadline = Deadline.after(_CONNECT_S)
    if descriptor is not None:
        with contextlib.suppress(QuiesceError):
            return QmpConnection.resume(descriptor, deadline=deadline.sooner(_CONNECT_S / 2))
    try:
        return QmpConnection.connect(Path(note.qmp), deadline=deadline)
    except QuiesceError as exc:
        if isinstance(exc.__cause__, _ENDED):
            return None
        raise QuiesceError("UndoIncomplete", f"cannot reach QEMU: {exc}") from exc


def _is_marked(connection: QmpConnection, mark: str) -> bool:
    objects = connection.execute("qom-list", {"path": "/objects"})
    return any(one["name"] == mark for one in objects)


def _yank(connection: QmpConnection, names_prefix: str) -> None:
    """Cut our nodes off from their servers: one that hangs would make the guest wait."""
    instances = [
        one
        for one in connection.execute("query-yank", out_of_band=True)
        if one["type"] == "block-node" and one["node-name"].startswith(names_prefix)
    ]
    if instances:
        connection.execute("yank", {"instances": instances}, out_of_band=True)


def _remove_exports(connection: QmpConnection, names_prefix: str) -> None:
    deadline = Deadline.after(_GONE_S)
    asked: set[str] = set()
    while ours := _exports(connection, names_prefix):
        for name in ours - asked:
            with contextlib.suppress(CommandRefusedError):
                connection.execute("block-export-del", {"id": name, "mode": "hard"})
        asked |= ours
        if deadline.passed():
            raise QuiesceError("UndoIncomplete", f"exports stay: {', '.join(sorted(ours))}")
        time.sleep(_POLL_S)


def _exports(connection: QmpConnection, names_prefix: str) -> set[str]:
    names = (one["id"] for one in connection.execute("query-block-exports"))
    return {name for name in names if name.startswith(names_prefix)}


def _remove_nodes(connection: QmpConnection, note: UndoNote) -> None:
    """Take the filters out while the machine is stopped, and remove all nodes.

    All commands are sent at once: whoever dies here leaves nothing half done.
    """
    nodes = _nodes(connection, note.prefix)
    if not nodes:
        return
    running = connection.execute("query-status")["running"]
    graph = connection.execute("x-debug-query-block-graph")
    order = removal_order(list(nodes), graph)
    accesses = [name for name in order if nodes[name] == "snapshot-access"]
    filters = [name for name in order if nodes[name] == "copy-before-write"]
    mark = window_mark(note.prefix)
    if running:
        set_window_mark(connection, mark)
    answers = connection.execute_all(
        [
            *([Command("stop")] if running else []),
            *(_deletion(name) for name in accesses),
            *_put_back(connection, filters, graph),
            *(_deletion(name) for name in order if name not in accesses),
            *([Command("cont")] if running else []),
        ]
    )
    left = _nodes(connection, note.prefix)
    if left:
        said = next((str(one) for one in answers if isinstance(one, QuiesceError)), "")
        raise QuiesceError("UndoIncomplete", f"nodes stay: {', '.join(left)}: {said}")


def set_window_mark(connection: QmpConnection, mark: str) -> None:
    """Tell whoever comes after us that the machine ran; the mark goes when it runs again."""
    if not _is_marked(connection, mark):
        connection.execute("object-add", {"qom-type": "secret", "id": mark, "data": "running"})


def _put_back(
    connection: QmpConnection, filters: Sequence[str], graph: dict[str, Any]
) -> Iterator[Command]:
    """Yield the commands that give each device its own node again."""
    for entry in connection.execute("query-block"):
        name = (entry.get("inserted") or {}).get("node-name", "")
        if name in filters:
            qdev = entry["qdev"]
            path = qdev if qdev.startswith("/") else f"/machine/peripheral/{qdev}"
            value = below(name, graph)
            yield Command("qom-set", {"path": path, "property": "drive", "value": value})


def _nodes(connection: QmpConnection, names_prefix: str) -> dict[str, str]:
    """Return our nodes and their drivers."""
    nodes = connection.execute("query-named-block-nodes", {"flat": True})
    return {
        node["node-name"]: node["drv"]
        for node in nodes
        if node["node-name"].startswith(names_prefix)
    }


def _deletion(name: str) -> Command:
    return Command("blockdev-del", {"node-name": name})


def _remove_descriptors(connection: QmpConnection, names_prefix: str) -> None:
    for one in connection.execute("query-fdsets"):
        opaque = {descriptor.get("opaque", "") for descriptor in one["fds"]}
        if any(text.startswith(names_prefix) for text in opaque):
            with contextlib.suppress(CommandRefusedError):
                connection.execute("remove-fd", {"fdset-id": one["fdset-id"]})


@contextlib.contextmanager
def _as_incomplete() -> Iterator[None]:
    try:
        yield
    except QuiesceError as exc:
        if exc.name == "UndoIncomplete":
            raise
        raise QuiesceError("UndoIncomplete", f"not everything is put back: {exc}") from exc
