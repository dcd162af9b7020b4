"""What a directory may hold after a power cut: the legal states, from a record of what was done.

Data that was not forced may be lost; a name that was made or taken away may be there or not until
its directory was forced; each independently of all others.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

# More than these are not looked at one by one.
_MAX_STATES = 24


@dataclass(frozen=True)
class Event:
    """One change: a link with the data it has, whether that was forced, or another verb."""

    verb: str
    path: str
    data: bytes = b""
    is_forced: bool = True


@dataclass
class Recorder:
    """Writes down what a process does to the files under *root*."""

    root: Path
    events: list[Event] = field(default_factory=list)
    _written: dict[int, bool] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def install(self, monkeypatch: pytest.MonkeyPatch, *, forget: Sequence[str] = ()) -> None:
        """Record from now on; calls in *forget* are not made at all, as by a bad store."""
        for name in ("write", "fdatasync", "link", "fsync", "unlink", "mkdir", "rmdir"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name), forget))

    def _recording(self, name: str, real: Any, forget: Sequence[str]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                if name in forget:
                    return None
                event = self._event(name, args, kwargs)
                result = real(*args, **kwargs)
                if event is not None and event.path.startswith(str(self.root)):
                    self.events.append(event)
                return result

        return call

    def _event(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Event | None:
        if name in {"write", "fdatasync"}:
            self._written[args[0]] = name == "fdatasync"
            return None
        if name == "fsync":
            return Event("fsync", os.readlink(f"/proc/self/fd/{args[0]}"))
        if name == "link":
            descriptor = int(Path(args[0]).name)
            path = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dst_dir_fd']}"), args[1])
            if os.path.exists(path):
                return None
            return Event(
                "link", path, Path(args[0]).read_bytes(), self._written.get(descriptor, False)
            )
        folder = kwargs.get("dir_fd")
        path = os.fspath(args[0])
        if folder is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        if (name == "mkdir") == os.path.exists(path):
            return None
        return Event(name, path)


def states_after(
    before: dict[str, bytes], events: Sequence[Event], seed: int
) -> Iterator[dict[str, bytes]]:
    """Yield what may be left of *before* when the power goes after *events*: path to content."""
    files: dict[str, list[bytes | None]] = {path: [data] for path, data in before.items()}
    folders: dict[str, list[bool]] = {}
    for event in events:
        if event.verb == "link":
            # Nothing of the data, half of it, or all.
            half = [b"", event.data[: len(event.data) // 2]] if not event.is_forced else []
            files.setdefault(event.path, [None]).extend([*half, event.data])
        elif event.verb == "unlink":
            files.setdefault(event.path, [None]).append(None)
        elif event.verb == "mkdir":
            folders.setdefault(event.path, [False]).append(True)
        elif event.verb == "rmdir":
            folders.setdefault(event.path, [True]).append(False)
        else:
            _force(event.path, files, folders)
    yield from _chosen(files, folders, seed)


def _force(folder: str, files: dict[str, list[Any]], folders: dict[str, list[bool]]) -> None:
    for table in (files, folders):
        for path, may_be in table.items():
            if os.path.dirname(path) == folder:
                last = may_be[-1]
                unforced = [
                    each for each in may_be[-3:-1] if table is files and _is_part(each, last)
                ]
                may_be[:] = [*unforced, last]


def _is_part(part: bytes | None, whole: bytes | None) -> bool:
    return part is not None and whole is not None and len(part) < len(whole)


def _chosen(
    files: dict[str, list[bytes | None]], folders: dict[str, list[bool]], seed: int
) -> Iterator[dict[str, bytes]]:
    open_files = [path for path, may_be in files.items() if len(may_be) > 1]
    open_folders = [path for path, may_be in folders.items() if len(may_be) > 1]
    ways = [files[path] for path in open_files] + [folders[path] for path in open_folders]
    every = itertools.product(*ways)
    choices = list(itertools.islice(every, _MAX_STATES + 1))
    if len(choices) > _MAX_STATES:
        chooser = random.Random(seed)  # noqa: S311 - states, not secrets
        picked = [tuple(chooser.choice(way) for way in ways) for _ in range(_MAX_STATES - 2)]
        choices = [tuple(way[0] for way in ways), tuple(way[-1] for way in ways), *picked]
    for choice in choices:
        made = dict(zip([*open_files, *open_folders], choice, strict=True))
        gone = [path for path, may_be in folders.items() if not made.get(path, may_be[-1])]
        found = {path: made.get(path, may_be[-1]) for path, may_be in files.items()}
        yield {
            path: data
            for path, data in found.items()
            if data is not None and not any(path.startswith(f"{folder}/") for folder in gone)
        }
