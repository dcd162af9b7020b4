"""Flush, open, freeze and thaw the planned file systems, each through its own freezer process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from quiesce.catalogue import mark, phrase
from quiesce.errors import QuiesceError
from quiesce.guest.filesystems import freezer
from quiesce.guest.filesystems.freezer import VanishedError, thaw
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quiesce.guest.filesystems.freezer import Freezer
    from quiesce.guest.filesystems.mounts import Mount
    from quiesce.system.deadline import Deadline

CLAIMED = "claimed"
FROZEN = "frozen"
FREE = "free"


@dataclass(frozen=True)
class Thawed:
    """What thawing found: mounts that somebody had *already* thawed, and what *failed* with why.

    The numbers in *failed* are the places of the mounts.
    """

    already: tuple[str, ...]
    failed: tuple[tuple[int, OSError], ...]


class Freezing:
    """The file systems of one session in freezing order: a mount's place in it is its number.

    Nothing is at rest at first. *news* becomes readable when a freezer has thawed in a sweep.
    """

    def __init__(self, freezers: Sequence[Freezer], *, news: int) -> None:
        self.freezers = tuple(freezers)
        self.news = news
        self._opened: dict[int, int] = {}
        self._frozen: list[int] = []
        self._lost: set[int] = set()

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The mounts that are opened, in freezing order."""
        return tuple(self.freezers[place].mount for place in sorted(self._opened))

    @property
    def descriptors(self) -> Mapping[int, int]:
        """The opened mounts' descriptors, by place."""
        return self._opened

    def sync(self, deadline: Deadline) -> None:
        """Flush all, at the same time; raises QuiesceError FsFreezeFailed or FsFreezeTimeout."""
        for one in self.freezers:
            one.ask("sync")
        failures = []
        for place, one in enumerate(self.freezers):
            failure = one.failure(deadline)
            if failure is not None and not isinstance(failure, VanishedError):
                self._lost.add(place)
                failures.append(_failed("flush", one.mount, failure))
        if failures:
            raise failures[0]

    def open(self, deadline: Deadline) -> list[str]:
        """Open all, at the same time, and return the paths of those that have vanished.

        Raises QuiesceError UnableToOpenMount or FsFreezeTimeout for the first that cannot be
        opened.
        """
        for one in self.freezers:
            one.ask("open")
        vanished: list[str] = []
        failures: list[QuiesceError] = []
        for place, one in enumerate(self.freezers):
            try:
                self._opened[place] = one.opened(deadline)
            except VanishedError:  # noqa: PERF203 - each mount may fail in its own way
                vanished.append(one.mount.path)
            except OSError as exc:
                failures.append(_failed("open", one.mount, exc))
        if failures:
            raise failures[0]
        return vanished

    def freeze(
        self, deadline: Deadline, *, until_s: float, claim: Callable[[int, str], None]
    ) -> None:
        """Freeze what is opened, one after the other. If this raises, nothing stays frozen.

        *claim* hears of each place: CLAIMED right before its FIFREEZE, then FROZEN, or FREE where
        that came to nothing; neither where it has not come back. The freezers thaw by themselves
        when *until_s* is long over. Raises QuiesceError FsFreezeFailed or FsFreezeTimeout, and
        whatever *claim* raises.
        """
        try:
            self._freeze_each(deadline, until_s=until_s, claim=claim)
        except BaseException:
            self.thaw()
            raise

    def _freeze_each(
        self, deadline: Deadline, *, until_s: float, claim: Callable[[int, str], None]
    ) -> None:
        for place in sorted(self._opened):
            one = self.freezers[place]
            claim(place, CLAIMED)
            one.ask(f"freeze {until_s}")
            try:
                one.answer(deadline)
            except OSError as exc:
                if exc.errno == errno.ESRCH or _is_timeout(exc):
                    self._lost.add(place)
                else:
                    claim(place, FREE)
                if exc.errno == errno.ESRCH:  # its freezer died, and what it did is done
                    self._frozen.append(place)
                raise _failed("freeze", one.mount, exc) from exc
            self._frozen.append(place)
            claim(place, FROZEN)

    def adopt(self, *, until_s: float) -> None:
        """Let the freezers guard mounts that a door freezes, should nobody else be left."""
        for one in self.freezers:
            one.ask(f"adopt {until_s}")

    def thaw(self) -> Thawed:
        """Thaw what was frozen, in reverse; never raises. What failed can be tried again."""
        already: list[str] = []
        failed: list[tuple[int, OSError]] = []
        for place in reversed(self._frozen):
            if self.freezers[place].mount.only_synced:
                continue
            try:
                if not thaw(self._opened[place]):
                    already.append(self.freezers[place].mount.path)
            except OSError as exc:
                failed.append((place, exc))
        self._frozen = sorted(place for place, _error in failed)
        return Thawed(tuple(already), tuple(failed))

    def sweep(self) -> bool:
        """Let the freezers thaw whatever a door has frozen; whether earlier sweeps thawed any."""
        for one in self.freezers:
            one.ask("sweep")
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.news, freezer.MOST_NEWS))
        return False

    def in_flight(self) -> list[int]:
        """Return the places whose freeze may still come, or has come unseen."""
        return sorted(self._lost)

    def leave(self) -> None:
        """Let the freezer processes go, and the mounts with them; what is late is thawed late."""
        for place, one in enumerate(self.freezers):
            one.leave(thawed=place not in self._lost)
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()


def prepare(mounts: Sequence[Mount]) -> Freezing:
    """Start a freezer process for each of *mounts*; raises QuiesceError GuardUnavailable."""
    started: list[Freezer] = []
    try:
        news, teller = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for mount in mounts:
            started.append(freezer.start(mount, teller))  # noqa: PERF401 - a part of them may start
        os.close(teller)
    except OSError as exc:
        for one in started:
            one.leave(thawed=True)
        raise QuiesceError("GuardUnavailable", "no freezer process: {reason}", reason=exc) from exc
    return Freezing(started, news=news)


_FAILED = {
    "open": (mark("cannot open {path}: {reason}"), mark("cannot open {path} in time")),
    "flush": (mark("cannot flush {path}: {reason}"), mark("cannot flush {path} in time")),
    "freeze": (mark("cannot freeze {path}: {reason}"), mark("cannot freeze {path} in time")),
}


def _failed(what: str, mount: Mount, exc: OSError) -> QuiesceError:
    failed, late = _FAILED[what]
    if _is_timeout(exc):
        return QuiesceError("FsFreezeTimeout", late, path=mount.path)
    name = "UnableToOpenMount" if what == "open" else "FsFreezeFailed"
    frozen = exc.errno == errno.EBUSY
    reason = phrase("somebody else froze it") if frozen else exc.strerror
    return QuiesceError(name, failed, path=mount.path, reason=reason)


def _is_timeout(exc: OSError) -> bool:
    return isinstance(exc, (TimeoutError, socket.timeout))  # two classes before Python 3.10
