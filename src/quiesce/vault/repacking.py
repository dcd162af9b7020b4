"""Repack: copy what is still used out of packs that are mostly dead, so that they can go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import zstandard

from quiesce.errors import QuiesceError
from quiesce.system import ulid
from quiesce.vault import adoption
from quiesce.vault.format import chunk, moves, names, pack
from quiesce.vault.format import entry as entries
from quiesce.vault.format.map import Place
from quiesce.vault.format.pack import FRAME_BYTES
from quiesce.vault.log import SessionState
from quiesce.vault.packer import PackWriter
from quiesce.vault.tables import PackTables
from quiesce.vault.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quiesce.ports import BlobStore
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.format.sealing import DomainKeys, PackSeal
    from quiesce.vault.log import KeptPoint, LogState

DEAD_PERCENT: Final = 30
COPY_BYTES: Final = 4 * 1024 * 1024 * 1024
COPY_FRAMES: Final = 500_000


@dataclass(frozen=True, slots=True)
class Repacked:
    """What a repack did: how many packs it emptied, and what it copied out of them, in bytes."""

    packs: int = 0
    copied_bytes: int = 0


def repack(store: BlobStore, domain: Domain, sizes: Mapping[PackName, int]) -> Repacked:
    """Empty the packs of *domain* that are worth it, at most 4 GiB of copies a run.

    *sizes* are those of the packs in the store. What was emptied is dead afterwards. Writers and
    readers may work meanwhile. Raises QuiesceError VaultDamaged where a map cannot be read, since
    then nobody knows what is in use, and what the store raises; no point is changed then.
    """
    known = Known(store, domain)
    chosen = _choose(domain.state, known, sizes)
    return Repacker(store, domain).run(known, chosen) if chosen else Repacked()


class Known:
    """What the points use of the packs that were live when this was made, kept up to date."""

    def __init__(self, store: BlobStore, domain: Domain) -> None:
        state = domain.refresh()
        self.usage = Usage(store, domain)
        # What others move meanwhile, and where to, is not for us: maps were read under both names.
        self.live = state.live_packs - state.proof_packs
        self._domain = domain
        self._read_upto = 0
        self.catch_up()
        for table in set(state.moved.values()):
            if table is not None:
                self.usage.add_live(table, self.live)

    def catch_up(self) -> None:
        """Read the maps of the points that are new; afterwards every point's are known."""
        while self._read_upto < self._domain.state.tail:
            tail = self._domain.state.tail
            for kept in list(self._domain.state.points.values()):
                if kept.number > self._read_upto:
                    self._read(kept)
            self._read_upto = tail

    def _read(self, kept: KeptPoint) -> None:
        try:
            self.usage.read(kept)
        except QuiesceError:
            if kept.snapshot.sid in self._domain.refresh().points:
                raise


def _choose(state: LogState, known: Known, sizes: Mapping[PackName, int]) -> list[Place]:
    """Return what is worth emptying: a third of it dead, the cheapest first, up to the cap."""
    choices = []
    for place in _places(known):
        if all(pack in known.live and pack in sizes for pack in place.packs):
            frames = known.usage.frames(place)
            used = sum(FRAME_BYTES + stored for _, stored in frames)
            dead = sizes[place.pack] - pack.size_of(len(frames), used)
            if dead * 100 > DEAD_PERCENT * sizes[place.pack]:
                choices.append((used / dead, used, len(frames), place))
    bases = _packs_of_bases(state)
    chosen, copies, many = [], 0, 0
    for _, used, frames_used, place in sorted(choices, key=lambda choice: choice[0]):
        copies, many = copies + used, many + frames_used
        if copies > COPY_BYTES or many > COPY_FRAMES:
            break
        if bases.isdisjoint(place.packs):
            chosen.append(place)
    return chosen


def _places(known: Known) -> Iterator[Place]:
    named: set[PackName] = set()
    for place in known.usage.places():
        named.update(place.packs)
        yield place
    for pack_name in known.live - named:
        yield Place(pack_name)


def _packs_of_bases(state: LogState) -> set[PackName]:
    # A session that goes on from a point would have to read again what it shares with it.
    bases = [state.packs_of(sid) for sid in state.bases() if sid in state.points]
    return set().union(*bases)


class Repacker:
    """One repack, from its open entry to its last."""

    def __init__(self, store: BlobStore, domain: Domain) -> None:
        self._store = store
        self._domain = domain
        self._sid = ulid.new()
        self._keys = domain.keys_to_write()
        self._tables = PackTables(store, domain, self._keys)
        self._gave_up = False

    def run(self, known: Known, chosen: Sequence[Place]) -> Repacked:
        """Move what is in use of *chosen*; raises as `repack`."""
        self._open()
        try:
            with PackWriter(self._store, self._domain, self._keys, self._sid) as packs:
                copied = self._copy(known, chosen, packs)
                table = self._store_table(copied, packs)
            self._check_present(copied, table)
            self._domain.append(partial(self._repack_on, known, copied, table))
        except BaseException:
            with suppress(QuiesceError):
                self._domain.append(self._abort_on)
            raise
        state = self._domain.state
        moved = [place for place in copied if place.pack not in state.lists]
        return Repacked(
            sum(len(place.packs) for place in moved),
            sum(known.usage.used_bytes(place) for place in moved),
        )

    def _open(self) -> None:
        # One repack at a time is enough: whoever began before is given up.
        for opened in self._domain.refresh().open_sessions():
            if opened.machine == "":
                self._domain.append(partial(_abort_on, opened.sid))
        self._domain.append(self._open_on)

    def _open_on(self, state: LogState) -> entries.Open | None:
        is_open = state.session(self._sid) is SessionState.OPEN
        return None if is_open else entries.Open(self._sid, "", "")

    def _abort_on(self, state: LogState) -> entries.Abort | None:
        return _abort_on(self._sid, state)

    def _copy(
        self, known: Known, chosen: Sequence[Place], packs: PackWriter
    ) -> dict[Place, dict[int, Ref]]:
        """Copy what is in use of *chosen*; return where it went, by place and offset.

        What cannot be read is left where it is.
        """
        spots = {}
        for place in chosen:
            frames = self._frames(place, known.usage.frames(place))
            if frames is not None:
                spots[place] = {
                    row.offset: packs.add(
                        place.pack.kind, row.chunk_id, stored, row.plain_bytes, flags=row.flags
                    )
                    for row, stored in frames
                }
        packs.flush()
        return {
            place: {
                offset: ref
                for offset, spot in by_offset.items()
                if (ref := packs.ref_of(spot)) is not None
            }
            for place, by_offset in spots.items()
        }

    def _frames(
        self, place: Place, wanted: Sequence[tuple[int, int]]
    ) -> list[tuple[pack.Stored, bytes]] | None:
        """Return the chunks *wanted* of *place*, as they were before they were sealed.

        Each is proven; None where one cannot be had.
        """
        if not wanted:
            return []
        for name in place.packs:
            rows = {row.offset: row for row in self._tables.rows(name)}
            with suppress(KeyError, ValueError):
                raw = self._store.get(names.pack_name(self._domain.name, name))
                head = pack.parse_header(raw, self._domain.head.vault_id, name.kind)
                pack_seal = self._keys.pack(name.kind, *head)
                return [
                    (rows[offset], _proven(raw, rows[offset], pack_seal, self._keys))
                    for offset, _ in wanted
                ]
        return None

    def _store_table(self, copied: Mapping[Place, Mapping[int, Ref]], packs: PackWriter) -> Ref:
        plain = moves.encode(
            [
                moves.Move(place, offset, ref.place, ref.offset)
                for place, refs in copied.items()
                for offset, ref in refs.items()
            ]
        )
        stored, flags = chunk.packed(plain, zstandard.ZstdCompressor(level=chunk.LEVEL).compress)
        chunk_id = self._keys.chunk_id(plain)
        spot = packs.add(names.META, chunk_id, stored, len(plain), flags=flags)
        packs.flush()
        ref = packs.ref_of(spot)
        if ref is None:
            raise AssertionError("a flushed pack has no name")
        return ref

    def _check_present(self, copied: Mapping[Place, Mapping[int, Ref]], table: Ref) -> None:
        targets = set(table.place.packs)
        for refs in copied.values():
            targets |= _targets(refs)
        present = adoption.packs_in_store(self._store, self._domain.name, [self._sid])
        for gone in targets.difference(present):
            raise QuiesceError("VaultDamaged", f"{gone.text} has gone", action="run it again")

    def _repack_on(
        self, known: Known, copied: Mapping[Place, Mapping[int, Ref]], table: Ref, state: LogState
    ) -> entries.Repack | entries.Abort | None:
        session = state.session(self._sid)
        if session is SessionState.COMMITTED or self._gave_up:
            return None
        if session is not SessionState.OPEN:
            raise QuiesceError("SessionLost", f"session {self._sid} is {session.value}")
        known.catch_up()
        bases = _packs_of_bases(state)
        moved = {
            name: _targets(refs)
            for place, refs in copied.items()
            if all(name in state.lists and name not in bases for name in place.packs)
            and refs.keys() >= {offset for offset, _ in known.usage.frames(place)}
            for name in place.packs
        }
        if moved:
            return entries.Repack(self._sid, state.tail, moved, table)
        self._gave_up = True
        return entries.Abort(self._sid)


def _targets(refs: Mapping[int, Ref]) -> frozenset[PackName]:
    return frozenset(name for ref in refs.values() for name in ref.place.packs)


def _proven(raw: bytes, row: pack.Stored, pack_seal: PackSeal, keys: DomainKeys) -> bytes:
    framed = raw[row.offset : row.offset + FRAME_BYTES + row.stored_bytes]
    chunk.unpacked(framed, row.chunk_id, pack_seal, keys)
    return chunk.opened(framed, pack_seal)


def _abort_on(sid: str, state: LogState) -> entries.Abort | None:
    return entries.Abort(sid) if state.session(sid) is SessionState.OPEN else None
