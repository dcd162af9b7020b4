"""Flush, open, freeze and thaw the planned file systems, each through its own freezer process."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest import freezer
from quiesce.guest.freezer import VanishedError, thaw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quiesce.guest.freezer import Freezer
    from quiesce.guest.mounts import Mount
    from quiesce.system.deadline import Deadline


@dataclass(frozen=True)
class Thawed:
    """What thawing found: mounts that somebody had *already* thawed, and what *failed* with why.

    The numbers in *failed* are the positions of the mounts.
    """

    already: tuple[str, ...]
    failed: tuple[tuple[int, OSError], ...]


class Freezing:
    """The file systems of one session, in freezing order; nothing is at rest at first."""

    def __init__(self, freezers: Sequence[Freezer]) -> None:
        self.freezers = list(freezers)
        self._descriptors: dict[int, int] = {}
        self._frozen: list[int] = []
        self._lost: set[int] = set()

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The mounts, in freezing order."""
        return tuple(one.mount for one in self.freezers)

    def descriptors(self) -> list[int]:
        """Return the opened mounts' descriptors, in order."""
        return [self._descriptors[index] for index in sorted(self._descriptors)]

    def sync(self, deadline: Deadline) -> None:
        """Flush all, at the same time; raises QuiesceError FsFreezeFailed or FsFreezeTimeout."""
        for one in self.freezers:
            one.ask("sync")
        failures = []
        for index, one in enumerate(self.freezers):
            failure = one.failure(deadline)
            if failure is not None and not isinstance(failure, VanishedError):
                self._lost.add(index)
                failures.append(_failed("flush", one.mount, failure))
        if failures:
            raise failures[0]

    def open(self, deadline: Deadline) -> list[str]:
        """Open all, at the same time, and return the paths of those that have vanished.

        Those are no longer among the mounts. Raises QuiesceError UnableToOpenMount or
        FsFreezeTimeout for the first that cannot be opened.
        """
        for one in self.freezers:
            one.ask("open")
        opened: list[tuple[Freezer, int]] = []
        vanished: list[str] = []
        failures: list[QuiesceError] = []
        for one in self.freezers:
            try:
                opened.append((one, one.opened(deadline)))
            except VanishedError:  # noqa: PERF203 - each mount may fail in its own way
                vanished.append(one.mount.path)
                one.leave(thawed=True)
            except OSError as exc:
                failures.append(_failed("open", one.mount, exc))
                one.leave(thawed=False)
        self.freezers = [one for one, _descriptor in opened]
        self._descriptors = {index: descriptor for index, (_, descriptor) in enumerate(opened)}
        if failures:
            raise failures[0]
        return vanished

    def freeze(
        self, deadline: Deadline, *, until_s: float, claim: Callable[[int, bool], None]
    ) -> None:
        """Freeze one after the other. If this raises, nothing stays frozen.

        *claim* is called with a position and True right before its FIFREEZE, and with False where
        that came to nothing. The freezers thaw by themselves when *until_s* is long over. Raises
        QuiesceError FsFreezeFailed or FsFreezeTimeout.
        """
        for index, one in enumerate(self.freezers):
            claim(index, True)
            one.ask(f"freeze {until_s}")
            try:
                one.answer(deadline)
            except OSError as exc:
                if exc.errno == errno.ESRCH:  # its freezer died: it may be frozen
                    self._frozen.append(index)
                    self._lost.add(index)
                elif _is_timeout(exc):
                    self._lost.add(index)
                else:
                    claim(index, False)
                self.thaw()
                raise _failed("freeze", one.mount, exc) from exc
            self._frozen.append(index)

    def adopt(self, *, until_s: float) -> None:
        """Let the freezers guard mounts that a door freezes, as long as somebody may be dead."""
        for one in self.freezers:
            one.ask(f"adopt {until_s}")

    def thaw(self) -> Thawed:
        """Thaw what was frozen, in reverse; never raises. What failed can be tried again."""
        already: list[str] = []
        failed: list[tuple[int, OSError]] = []
        for index in reversed(self._frozen):
            if self.freezers[index].mount.only_synced:
                continue
            try:
                if not thaw(self._descriptors[index]):
                    already.append(self.freezers[index].mount.path)
            except OSError as exc:
                failed.append((index, exc))
        self._frozen = sorted(index for index, _error in failed)
        return Thawed(tuple(already), tuple(failed))

    def sweep(self) -> bool:
        """Thaw whatever a door has frozen of the mounts; whether there was something to thaw."""
        self._frozen = list(range(len(self._descriptors)))
        thawed = self.thaw()
        return len(thawed.already) + len(thawed.failed) < len(self.mounts)

    def in_flight(self) -> list[int]:
        """Return the positions of mounts whose freeze may still come, or has come unseen."""
        return sorted(self._lost)

    def leave(self) -> None:
        """Let the freezer processes go, and the mounts with them; what is late is thawed late."""
        for index, one in enumerate(self.freezers):
            one.leave(thawed=index not in self._lost)
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def prepare(mounts: Sequence[Mount]) -> Freezing:
    """Start a freezer process for each of *mounts*; raises QuiesceError GuardUnavailable."""
    started: list[Freezer] = []
    try:
        for mount in mounts:
            started.append(freezer.start(mount))  # noqa: PERF401 - those before the failure matter
    except OSError as exc:
        for one in started:
            one.leave(thawed=True)
        raise QuiesceError("GuardUnavailable", f"no freezer process: {exc}") from exc
    return Freezing(started)


def _failed(what: str, mount: Mount, exc: OSError) -> QuiesceError:
    if _is_timeout(exc):
        return QuiesceError("FsFreezeTimeout", f"cannot {what} {mount.path} in time")
    name = "UnableToOpenMount" if what == "open" else "FsFreezeFailed"
    because = "somebody else froze it" if exc.errno == errno.EBUSY else exc.strerror
    return QuiesceError(name, f"cannot {what} {mount.path}: {because}")


def _is_timeout(exc: OSError) -> bool:
    return isinstance(exc, (TimeoutError, socket.timeout))  # two classes before 3.10
