"""The fold of a domain's log: which sessions are open, which points exist, which packs live."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from quiesce.vault.format import entry as entries
from quiesce.vault.format.names import digest
from quiesce.vault.lists import PackLists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quiesce.vault.format.entry import (
        Abort,
        Body,
        Entry,
        Forget,
        Hold,
        Open,
        Proof,
        Purge,
        Recall,
        Repack,
        Snapshot,
        Unhold,
    )
    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.names import PackName

_MAX_ALARMS: Final = 1000


class SessionState(Enum):
    """What became of a session; the last two are final."""

    UNKNOWN = "unknown"
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class PointState(Enum):
    """Whether a point is to stay; one that is purged is no more."""

    LIVE = "live"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A recovery point in the log: *number* is the entry that made it.

    *changed* is the entry that made it live or forgotten. *proofs* were added since.
    """

    number: int
    snapshot: Snapshot
    state: PointState
    changed: int
    proofs: tuple[Proof, ...] = ()


@dataclass(slots=True)
class LogState:
    """What entries 1…*tail* say: the same for everybody who has read them.

    It is built by `fold`, or entry by entry by `apply`, the only method that changes it. *prev* is
    the hash of entry *tail*. *points* are those that are not purged, in the order of the log; a
    committed session without one was purged, or made none. *opened_at* are the entries that opened
    sessions. *moved* says for each repacked pack where the table lies that tells where its chunks
    are, None where nothing of it was in use. *proof_packs* hold what no map names. *alarms* say
    which entries are void because they are damaged or forged. *is_signed* tells whether the keeper
    has signed an entry, and is None in a vault without encryption.
    """

    prev: bytes
    is_signed: Callable[[entries.Seal], bool] | None = field(default=None, compare=False)
    tail: int = 0
    sessions: dict[str, SessionState] = field(default_factory=dict)
    opened: dict[str, Open] = field(default_factory=dict)
    opened_at: dict[str, int] = field(default_factory=dict)
    points: dict[str, KeptPoint] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    moved: dict[PackName, Ref | None] = field(default_factory=dict)
    proof_packs: set[PackName] = field(default_factory=set)
    alarms: list[str] = field(default_factory=list)
    lists: PackLists = field(default_factory=PackLists)
    _adopters: dict[str, str] = field(default_factory=dict)

    @property
    def live_packs(self) -> frozenset[PackName]:
        """L, the union of the lists of all points."""
        return self.lists.live()

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
        owned, at = [sid], 0
        while at < len(owned):
            owned += (each for each, by in self._adopters.items() if by == owned[at])
            at += 1
        return tuple(owned)

    def packs_of(self, sid: str) -> frozenset[PackName]:
        """Return the resolved list of the point *sid*. Raises KeyError where there is none."""
        return self.lists.of(sid)

    def is_dead(self, pack: PackName) -> bool:
        """Return whether *pack* can never be used again: for ever, on every later state too."""
        owner = self.session(self.owner(pack.sid))
        return owner in {SessionState.COMMITTED, SessionState.ABORTED} and pack not in self.lists

    def is_held(self, sid: str) -> bool:
        """Return whether the point *sid* is held."""
        return any(hold.sid == sid for hold in self.holds.values())

    def bases(self) -> frozenset[str]:
        """Return the points from which open sessions go on."""
        return frozenset(each.base for each in self.open_sessions() if each.base is not None)

    def open_sessions(self) -> tuple[Open, ...]:
        """Return the sessions that are open, oldest first."""
        return tuple(
            opened for sid, opened in self.opened.items() if self.sessions[sid] is SessionState.OPEN
        )

    def objection(self, body: Body) -> str | None:
        """Return why *body* would be void as the next entry, None where it is valid."""
        rules: dict[type, Callable[[Any], str | None]] = {
            entries.Open: self._objection_to_open,
            entries.Snapshot: self._objection_to_snapshot,
            entries.Abort: self._objection_to_session,
            entries.Forget: self._objection_to_forget,
            entries.Recall: self._objection_to_recall,
            entries.Purge: self._objection_to_purge,
            entries.Hold: self._objection_to_hold,
            entries.Unhold: self._objection_to_unhold,
            entries.Repack: self._objection_to_repack,
            entries.Proof: self._objection_to_proof,
        }
        return rules[type(body)](body)

    def takes_away(self, body: Body) -> bool:
        """Return whether *body*, as the next entry, needs the keeper's signature."""
        if isinstance(body, entries.Unhold):
            return body.hold in self.holds and self.holds[body.hold].legal
        return isinstance(body, (entries.Forget, entries.Purge, entries.Repack))

    def apply(self, raw: bytes) -> Entry | None:
        """Take *raw* as the next entry and return it; a void one is None, and changes nothing.

        Tail and hash move on. Raises QuiesceError VaultUnsupported where this version does not know
        such entries; the state is as before then.
        """
        number = self.tail + 1
        entry = self._readable(raw, number)
        is_valid = entry is not None and self.objection(entry.body) is None
        self.tail, self.prev = number, digest(raw)
        if entry is None or not is_valid:
            return None
        self._take(entry.body, number)
        return entry

    def _readable(self, raw: bytes, number: int) -> Entry | None:
        try:
            entry = entries.parse(raw)
        except ValueError as exc:
            self._alarm(f"entry {number} is damaged: {exc}")
            return None
        if entry.number != number or entry.prev != self.prev:
            self._alarm(f"entry {number} does not follow the one before it")
            return None
        if not self._is_vouched_for(entry):
            self._alarm(f"entry {number} is not signed as it would have to be")
            return None
        return entry

    def _is_vouched_for(self, entry: Entry) -> bool:
        if self.is_signed is None:
            return entry.seal is None
        if entry.seal is not None and entry.seal.signature is not None:
            return self.is_signed(entry.seal)
        return not self.takes_away(entry.body)

    def _alarm(self, message: str) -> None:
        if len(self.alarms) < _MAX_ALARMS:
            self.alarms.append(message)

    # --- when an entry is valid ----------------------------------------------------------------

    def _objection_to_open(self, body: Open) -> str | None:
        if self.session(body.sid) is not SessionState.UNKNOWN:
            return f"session {body.sid} exists"
        if body.adopts is not None and self.session(body.adopts) is not SessionState.OPEN:
            return f"session {body.adopts} is not open"
        return None

    def _objection_to_session(self, body: Abort | Snapshot | Repack | Proof) -> str | None:
        state = self.session(body.sid)
        return None if state is SessionState.OPEN else f"session {body.sid} is {state.value}"

    def _objection_to_snapshot(self, body: Snapshot) -> str | None:
        if body.packs.base is not None and body.packs.base not in self.points:
            return f"there is no point {body.packs.base}"
        return self._objection_to_session(body) or next(
            (
                f"pack {pack.text} is neither live nor the session's own"
                for pack in body.packs.add
                if self.owner(pack.sid) != body.sid and pack not in self.lists
            ),
            None,
        )

    def _objection_to_forget(self, body: Forget) -> str | None:
        return self._objection_to_state(body.sid, PointState.LIVE) or self._objection_of_holds(
            body.sid
        )

    def _objection_to_recall(self, body: Recall) -> str | None:
        return self._objection_to_state(body.sid, PointState.FORGOTTEN)

    def _objection_to_purge(self, body: Purge) -> str | None:
        return self._objection_to_state(body.sid, PointState.FORGOTTEN) or self._objection_of_holds(
            body.sid
        )

    def _objection_to_hold(self, body: Hold) -> str | None:
        if body.hold in self.holds:
            return f"the hold {body.hold} exists"
        return None if body.sid in self.points else f"there is no point {body.sid}"

    def _objection_to_unhold(self, body: Unhold) -> str | None:
        return None if body.hold in self.holds else f"there is no hold {body.hold}"

    def _objection_to_repack(self, body: Repack) -> str | None:
        if body.upto > self.tail:
            return f"entry {body.upto} is yet to come"
        return self._objection_to_session(body) or self._objection_to_packs(body.targets, body.sid)

    def _objection_to_proof(self, body: Proof) -> str | None:
        if body.point not in self.points:
            return f"there is no point {body.point}"
        return self._objection_to_session(body) or self._objection_to_packs(
            body.all_packs, body.sid
        )

    def _objection_to_state(self, sid: str, wanted: PointState) -> str | None:
        kept = self.points.get(sid)
        if kept is None:
            return f"there is no point {sid}"
        return None if kept.state is wanted else f"the point {sid} is {kept.state.value}"

    def _objection_of_holds(self, sid: str) -> str | None:
        return f"the point {sid} is held" if self.is_held(sid) else None

    def _objection_to_packs(self, packs: Iterable[PackName], sid: str) -> str | None:
        return next(
            (
                f"pack {pack.text} is not the session's own"
                for pack in packs
                if self.owner(pack.sid) != sid
            ),
            None,
        )

    # --- what a valid entry does ---------------------------------------------------------------

    def _take(self, body: Body, number: int) -> None:
        effects: dict[type, Callable[[Any, int], None]] = {
            entries.Open: self._open,
            entries.Snapshot: self._snapshot,
            entries.Abort: self._abort,
            entries.Forget: self._forget,
            entries.Recall: self._recall,
            entries.Purge: self._purge,
            entries.Hold: self._hold,
            entries.Unhold: self._unhold,
            entries.Repack: self._repack,
            entries.Proof: self._proof,
        }
        effects[type(body)](body, number)

    def _open(self, body: Open, number: int) -> None:
        self.sessions[body.sid] = SessionState.OPEN
        self.opened[body.sid] = body
        self.opened_at[body.sid] = number
        if body.adopts is not None:
            self.sessions[body.adopts] = SessionState.ABORTED
            self._adopters[body.adopts] = body.sid

    def _snapshot(self, body: Snapshot, number: int) -> None:
        self.sessions[body.sid] = SessionState.COMMITTED
        change = body.packs
        self.lists.put(body.sid, base=change.base, add=change.add, drop=change.drop, here=number)
        self.points[body.sid] = KeptPoint(number, body, PointState.LIVE, number)

    def _abort(self, body: Abort, _: int) -> None:
        self.sessions[body.sid] = SessionState.ABORTED

    def _forget(self, body: Forget, number: int) -> None:
        self._change(body.sid, number, PointState.FORGOTTEN)

    def _recall(self, body: Recall, number: int) -> None:
        self._change(body.sid, number, PointState.LIVE)

    def _change(self, sid: str, number: int, state: PointState) -> None:
        self.points[sid] = replace(self.points[sid], state=state, changed=number)

    def _purge(self, body: Purge, _: int) -> None:
        del self.points[body.sid]
        self.lists.remove(body.sid)

    def _hold(self, body: Hold, _: int) -> None:
        self.holds[body.hold] = body

    def _unhold(self, body: Unhold, _: int) -> None:
        del self.holds[body.hold]

    def _repack(self, body: Repack, number: int) -> None:
        self.sessions[body.sid] = SessionState.COMMITTED
        accepted = self.lists.settled(body.moves, body.upto)
        table = frozenset(body.table.place.packs)
        moves = {pack: body.moves[pack] and body.moves[pack] | table for pack in accepted}
        self.lists.replace(moves, number)
        for pack, targets in moves.items():
            self.moved[pack] = body.table if targets else None

    def _proof(self, body: Proof, number: int) -> None:
        self.sessions[body.sid] = SessionState.COMMITTED
        kept = self.points[body.point]
        self.points[body.point] = replace(kept, proofs=(*kept.proofs, body))
        self.proof_packs |= body.all_packs
        self.lists.join(body.point, body.all_packs, number)


def fold(
    start: bytes,
    raw_entries: Iterable[bytes],
    is_signed: Callable[[entries.Seal], bool] | None = None,
) -> LogState:
    """Return what the log *raw_entries* says; *start* is the domain's `genesis`."""
    state = LogState(start, is_signed)
    for raw in raw_entries:
        state.apply(raw)
    return state
