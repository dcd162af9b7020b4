"""The fold again, written from the table in docs/design/vault-format.md, slow and plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.vault.format import entry as entries
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import LogState


class Reference:
    """The state as sets and dictionaries; `take` returns whether the body was valid."""

    def __init__(self) -> None:
        self.number = 0
        self.sessions: dict[str, str] = {}
        self.adopters: dict[str, str] = {}
        self.lists: dict[str, set[PackName]] = {}
        self.made: dict[str, int] = {}
        self.states: dict[str, str] = {}
        self.holds: dict[str, str] = {}
        self.joined: dict[PackName, int] = {}
        self.moved: dict[PackName, object] = {}

    @property
    def live(self) -> set[PackName]:
        return set().union(*self.lists.values())

    def owner(self, sid: str) -> str:
        return self.owner(self.adopters[sid]) if sid in self.adopters else sid

    def ref(self, pack: PackName) -> int:
        made = [self.made[sid] for sid, packs in self.lists.items() if pack in packs]
        return max([*made, self.joined.get(pack, 0)])

    def take(self, body: entries.Body) -> bool:
        self.number += 1
        act = getattr(self, type(body).__name__.lower())
        return act(body)

    def is_open(self, sid: str) -> bool:
        return self.sessions.get(sid) == "open"

    def is_held(self, sid: str) -> bool:
        return sid in self.holds.values()

    def open(self, body: entries.Open) -> bool:
        if body.sid in self.sessions or (body.adopts and not self.is_open(body.adopts)):
            return False
        self.sessions[body.sid] = "open"
        if body.adopts:
            self.sessions[body.adopts] = "aborted"
            self.adopters[body.adopts] = body.sid
        return True

    def snapshot(self, body: entries.Snapshot) -> bool:
        base = body.packs.base
        if not self.is_open(body.sid) or (base is not None and base not in self.lists):
            return False
        listed = (set(self.lists[base]) if base else set()) - body.packs.drop | body.packs.add
        if any(pack not in self.live and self.owner(pack.sid) != body.sid for pack in listed):
            return False
        self.sessions[body.sid] = "committed"
        self.lists[body.sid] = listed
        self.made[body.sid] = self.number
        self.states[body.sid] = "live"
        return True

    def abort(self, body: entries.Abort) -> bool:
        if not self.is_open(body.sid):
            return False
        self.sessions[body.sid] = "aborted"
        return True

    def forget(self, body: entries.Forget) -> bool:
        if self.states.get(body.sid) != "live" or self.is_held(body.sid):
            return False
        self.states[body.sid] = "forgotten"
        return True

    def recall(self, body: entries.Recall) -> bool:
        if self.states.get(body.sid) != "forgotten":
            return False
        self.states[body.sid] = "live"
        return True

    def purge(self, body: entries.Purge) -> bool:
        if self.states.get(body.sid) != "forgotten" or self.is_held(body.sid):
            return False
        for table in (self.states, self.lists, self.made):
            del table[body.sid]
        return True

    def hold(self, body: entries.Hold) -> bool:
        if body.sid not in self.states or body.hold in self.holds:
            return False
        self.holds[body.hold] = body.sid
        return True

    def unhold(self, body: entries.Unhold) -> bool:
        return self.holds.pop(body.hold, None) is not None

    def repack(self, body: entries.Repack) -> bool:
        if not self.is_open(body.sid) or body.upto >= self.number:
            return False
        table = set(body.table.place.packs)
        targets = set().union(table, *body.moves.values())
        if any(self.owner(pack.sid) != body.sid for pack in targets):
            return False
        self.sessions[body.sid] = "committed"
        live = self.live
        accepted = [p for p in body.moves if p in live and self.ref(p) <= body.upto]
        for pack in accepted:
            to = set(body.moves[pack]) | table if body.moves[pack] else set()
            self.moved[pack] = body.table if to else None
            self.joined |= dict.fromkeys(to, self.number)
            for listed in self.lists.values():
                if pack in listed:
                    listed.remove(pack)
                    listed.update(to)
        return True

    def proof(self, body: entries.Proof) -> bool:
        packs = set(body.packs) | set(body.proof.place.packs)
        if not self.is_open(body.sid) or body.point not in self.lists:
            return False
        if any(self.owner(pack.sid) != body.sid for pack in packs):
            return False
        self.sessions[body.sid] = "committed"
        self.lists[body.point] |= packs
        self.joined |= dict.fromkeys(packs, self.number)
        return True

    def says(self) -> tuple[object, ...]:
        return (self.sessions, self.states, self.lists, self.holds, self.moved)


def says(state: LogState) -> tuple[object, ...]:
    """Return what *state* says, in the words of `Reference.says`."""
    return (
        {sid: session.value for sid, session in state.sessions.items()},
        {sid: kept.state.value for sid, kept in state.points.items()},
        {sid: set(state.packs_of(sid)) for sid in state.points},
        {hold: body.sid for hold, body in state.holds.items()},
        state.moved,
    )
