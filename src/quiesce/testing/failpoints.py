"""Break a backup at any step: the ports wrapped, so that every call through them can be a fault.

Product code has no fault points of its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quiesce.ports import SnapshotDisk

if TYPE_CHECKING:
    from collections.abc import Callable

# What a port returns that is a port itself has one of these.
_PORTS = ("__enter__", "take", "extents", "copy_disk", "check")


class Failpoints:
    """Counts the steps of a run: each call through a wrapped port, before it and after it.

    A step is counted the first time that it is passed. At step number *at* (from 1) *action* is
    called with the step's name; None: never. `passed` are the names so far.
    """

    def __init__(self, at: int | None, action: Callable[[str], None]) -> None:
        self._at = at
        self._action = action
        self._lock = threading.Lock()
        self._times: Counter[str] = Counter()
        self.passed: list[str] = []

    def wrap(self, port: Any, name: str) -> Any:
        """Return *port* with a step before and after every call of it; *name* names them."""
        return _Wrapped(port, name, self)

    def step(self, name: str) -> None:
        """Pass the step *name*."""
        with self._lock:
            self._times[name] += 1
            if self._times[name] > 1:
                return
            self.passed.append(name)
            is_here = len(self.passed) == self._at
        if is_here:
            self._action(name)

    def follow(self, result: Any, name: str) -> Any:
        """Return *result* wrapped where it is a port, or holds some."""
        if isinstance(result, SnapshotDisk):
            return replace(result, reader=self.wrap(result.reader, f"{name} reader"))
        if isinstance(result, (list, tuple)):
            return [self.follow(one, name) for one in result]
        if any(hasattr(result, attribute) for attribute in _PORTS):
            return self.wrap(result, name)
        return result


class _Wrapped:
    def __init__(self, port: Any, name: str, points: Failpoints) -> None:
        self._port = port
        self._name = name
        self._points = points

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        name = f"{self._name}.{attribute}"
        if attribute == "disks":
            return self._points.follow(value, self._name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._points.step(f"before {name}")
            result = value(*args, **kwargs)
            self._points.step(f"after {name}")
            return self._points.follow(result, name)

        return call

    def __enter__(self) -> Any:
        self._points.step(f"before {self._name} enter")
        result = self._port.__enter__()
        try:
            self._points.step(f"after {self._name} enter")
        except BaseException as exc:
            self._port.__exit__(type(exc), exc, exc.__traceback__)
            raise
        return self._points.follow(result, self._name)

    def __exit__(self, *details: object) -> Any:
        try:
            self._points.step(f"before {self._name} exit")
        except BaseException as exc:
            # A context's exit is always run; that it fails is a fault inside it.
            self._port.__exit__(type(exc), exc, exc.__traceback__)
            raise
        handled = self._port.__exit__(*details)
        self._points.step(f"after {self._name} exit")
        return handled
