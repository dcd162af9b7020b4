"""The fold of a domain's log: which sessions are open, which points exist, which packs live."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from quiesce.vault.format import entry as entries
from quiesce.vault.format.names import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quiesce.vault.format.entry import Body, Open, PackChange, Snapshot
    from quiesce.vault.format.names import PackName

_MAX_ALARMS: Final = 1000


class SessionState(Enum):
    """What became of a session; the last two are final."""

    UNKNOWN = "unknown"
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class PointState(Enum):
    """Whether a point is there."""

    LIVE = "live"


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A recovery point in the log: *number* is the entry that made it."""

    number: int
    snapshot: Snapshot
    state: PointState


@dataclass(slots=True)
class LogState:
    """What entries 1…*tail* say: the same for everybody who has read them.

    It is built by `fold`, or entry by entry by `apply`, the only method that changes it. *prev* is
    the hash of entry *tail*. *live_packs* is the union of the lists of all points. *alarms* say
    which entries are void because they are damaged or forged.
    """

    prev: bytes
    tail: int = 0
    sessions: dict[str, SessionState] = field(default_factory=dict)
    opened: dict[str, Open] = field(default_factory=dict)
    points: dict[str, KeptPoint] = field(default_factory=dict)
    live_packs: set[PackName] = field(default_factory=set)
    alarms: list[str] = field(default_factory=list)
    _adopters: dict[str, str] = field(default_factory=dict)

    def session(self, sid: str) -> SessionState:
        """Return the state of session *sid*."""
        return self.sessions.get(sid, SessionState.UNKNOWN)

    def owner(self, sid: str) -> str:
        """Return whose the packs of *sid* are now: its last adopter, or itself."""
        while sid in self._adopters:
            sid = self._adopters[sid]
        return sid

    def owned_sids(self, sid: str) -> tuple[str, ...]:
        """Return the sessions whose packs *sid* owns, itself included."""
        return tuple(each for each in self.sessions if self.owner(each) == sid)

    def packs_of(self, sid: str) -> frozenset[PackName]:
        """Return the resolved list of the point *sid*. Raises KeyError where there is none."""
        changes: list[PackChange] = []
        base: str | None = sid
        while base is not None:
            changes.append(self.points[base].snapshot.packs)
            base = changes[-1].base
        packs: set[PackName] = set()
        for change in reversed(changes):
            packs -= change.drop
            packs |= change.add
        return frozenset(packs)

    def objection(self, body: Body) -> str | None:
        """Return why *body* would be void as the next entry, None where it is valid."""
        if isinstance(body, entries.Open):
            return self._objection_to_open(body)
        if self.session(body.sid) is not SessionState.OPEN:
            return f"session {body.sid} is {self.session(body.sid).value}"
        if isinstance(body, entries.Snapshot):
            return self._objection_to_packs(body)
        return None

    def apply(self, raw: bytes) -> None:
        """Take *raw* as the next entry; a void one changes nothing but tail and hash.

        Raises QuiesceError VaultUnsupported where this version does not know such entries; the
        state is as before then.
        """
        number = self.tail + 1
        body = self._readable(raw, number)
        self.tail, self.prev = number, digest(raw)
        if body is not None and self.objection(body) is None:
            self._take(body, number)

    def _readable(self, raw: bytes, number: int) -> Body | None:
        try:
            entry = entries.parse(raw)
        except ValueError as exc:
            self._alarm(f"entry {number} is damaged: {exc}")
            return None
        if entry.number != number or entry.prev != self.prev:
            self._alarm(f"entry {number} does not follow the one before it")
            return None
        return entry.body

    def _alarm(self, message: str) -> None:
        if len(self.alarms) < _MAX_ALARMS:
            self.alarms.append(message)

    def _objection_to_open(self, body: Open) -> str | None:
        if self.session(body.sid) is not SessionState.UNKNOWN:
            return f"session {body.sid} exists"
        if body.adopts is not None and self.session(body.adopts) is not SessionState.OPEN:
            return f"session {body.adopts} is not open"
        return None

    def _objection_to_packs(self, body: Snapshot) -> str | None:
        if body.packs.base is not None and body.packs.base not in self.points:
            return f"there is no point {body.packs.base}"
        for pack in body.packs.add:
            if pack not in self.live_packs and self.owner(pack.sid) != body.sid:
                return f"pack {pack.text} is neither live nor the session's own"
        return None

    def _take(self, body: Body, number: int) -> None:
        if isinstance(body, entries.Open):
            self.sessions[body.sid] = SessionState.OPEN
            self.opened[body.sid] = body
            if body.adopts is not None:
                self.sessions[body.adopts] = SessionState.ABORTED
                self._adopters[body.adopts] = body.sid
        elif isinstance(body, entries.Abort):
            self.sessions[body.sid] = SessionState.ABORTED
        else:
            self.sessions[body.sid] = SessionState.COMMITTED
            self.points[body.sid] = KeptPoint(number, body, PointState.LIVE)
            self.live_packs |= body.packs.add


def fold(start: bytes, raw_entries: Iterable[bytes]) -> LogState:
    """Return what the log *raw_entries* says; *start* is the domain's `genesis`."""
    state = LogState(start)
    for raw in raw_entries:
        state.apply(raw)
    return state
