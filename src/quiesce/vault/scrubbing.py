"""Scrub: read stored packs back, those first that nobody has read for longest."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.vault import ledger
from quiesce.vault.damage import DamageFinder
from quiesce.vault.examining import Examiner
from quiesce.vault.format.ledger import Checked, Findings, short
from quiesce.vault.looking import Look, Tally, folded, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quiesce.ports import Progress, PrunableStore
    from quiesce.vault.damage import PointDamage
    from quiesce.vault.format.names import PackName
    from quiesce.vault.ledger import Ledger
    from quiesce.vault.repository import Vault

# Each thread has a pack of up to 64 MiB in memory.
_THREADS: Final = 2
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a scrub may read: bytes, seconds, or everything. One pack is read in any case."""

    read_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """What tells the time: *date* in ISO 8601, UTC, *seconds* how long something takes."""

    date: Callable[[], str]
    seconds: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a scrub found in a domain.

    *opened*: chunks were opened too; *locked*: no key here opens them. *read* packs were read now,
    *left* ones not, for the budget's sake. *oldest* is when that pack was last read for which that
    is longest ago, None where one never was. *damaged* says of each pack what is wrong with it,
    found now or earlier; *points* are those that it is part of.
    """

    look: Look
    opened: bool
    locked: bool
    read: Tally
    left: Tally
    oldest: str | None
    damaged: Mapping[PackName, str]
    points: tuple[PointDamage, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damaged and not self.look.alarms


@dataclass(slots=True)
class _Part:
    """What is under way in one domain."""

    look: Look
    known: Ledger
    examine: Examiner
    opens: bool
    damaged: dict[PackName, str]
    read: dict[PackName, int] = field(default_factory=dict)
    moments: dict[str, str] = field(default_factory=dict)
    whole: set[PackName] = field(default_factory=set)
    fresh: dict[PackName, str] = field(default_factory=dict)

    def order(self, pack: PackName) -> tuple[bool, str]:
        """Return what *pack* is sorted by: known damage first, then what was read longest ago."""
        checked = self.known.checked
        moments = checked.opened if self.opens else checked.hashed
        return pack not in self.known.damaged, moments.get(short(pack), "")


class Scrub:
    """One scrub of *vault*; with *opens* of chunks too, in domains whose keys open here.

    It writes nothing but the ledger.
    """

    def __init__(self, store: PrunableStore, vault: Vault, clock: Clock, *, opens: bool) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._opens = opens

    def run(self, budget: Budget, progress: Progress) -> tuple[Scrubbed, ...]:
        """Read as much as *budget* allows, and return what was found, domain by domain.

        What was read is recorded, also where this is interrupted, so that the next scrub goes on
        with the rest; from damage that is recorded backups know what they must store again. Raises
        QuiesceError VaultUnavailable where the store fails.
        """
        progress.stage("list the vault")
        parts = [self._begun(look(self._store, domain)) for domain in self._vault.domains()]
        queue = [(part, pack, size) for part in parts for pack, size in part.look.sizes.items()]
        queue.sort(key=lambda item: (*item[0].order(item[1]), item[1].text))
        total = sum(size for _, _, size in queue)
        progress.stage("read packs", min(total, budget.read_bytes or total))
        try:
            self._read_all(queue, budget, progress)
        finally:
            for part in parts:
                self._record(part)
        for part in parts:
            ledger.tidy(self._store, part.look.domain.name, folded(part.look.domain)[1].live_packs)
        if any(part.damaged for part in parts):
            progress.stage("find what is lost")
        return tuple(self._ended(part) for part in parts)

    def _begun(self, found: Look) -> _Part:
        known = ledger.read(self._store, found.domain.name)
        opens = self._opens and found.domain.keys_or_none() is not None
        examine = Examiner(self._store, found.domain, opens=opens)
        part = _Part(
            found,
            known,
            examine,
            opens=opens,
            damaged={pack: why for pack, why in known.damaged.items() if pack in found.sizes},
        )
        for pack in found.missing:
            self._take(part, pack, "it is missing")
        return part

    def _read_all(
        self, queue: Sequence[tuple[_Part, PackName, int]], budget: Budget, progress: Progress
    ) -> None:
        began, planned = self._clock.seconds(), 0
        pending: deque[tuple[_Part, PackName, int, Future[tuple[int, str | None]]]] = deque()
        with ThreadPoolExecutor(_threads(), thread_name_prefix="scrub") as pool:
            try:
                for part, pack, size in queue:
                    spent = self._clock.seconds() - began
                    if planned and _is_spent(budget, planned, spent):
                        break
                    planned += size
                    pending.append((part, pack, size, pool.submit(part.examine, pack)))
                    if len(pending) > _threads():
                        self._put_away(*pending.popleft(), progress)
                while pending:
                    self._put_away(*pending.popleft(), progress)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _put_away(
        self,
        part: _Part,
        pack: PackName,
        size: int,
        examined: Future[tuple[int, str | None]],
        progress: Progress,
    ) -> None:
        read_bytes, why = examined.result()
        part.read[pack] = read_bytes
        progress.advance(size)
        if why is not None:
            self._take(part, pack, why)
        elif part.damaged.pop(pack, None) is not None:
            part.whole.add(pack)
        part.moments[short(pack)] = self._clock.date()
        if len(part.moments) >= _BATCH:
            self._record(part)

    def _take(self, part: _Part, pack: PackName, why: str) -> None:
        # What was purged meanwhile may be gone.
        if pack in folded(part.look.domain)[1].lists:
            part.damaged[pack] = why
            if part.known.damaged.get(pack) != why:
                part.fresh[pack] = why

    def _record(self, part: _Part) -> None:
        name = part.look.domain.name
        if part.fresh or part.whole:
            findings = Findings(dict(part.fresh), frozenset(part.whole))
            ledger.add_findings(self._store, name, findings)
            part.fresh.clear()
            part.whole.clear()
        if part.moments:
            checked = Checked(dict(part.moments), dict(part.moments) if part.opens else {})
            ledger.add_checked(self._store, name, checked)
            part.known.checked = part.known.checked.with_later(checked)
            part.moments.clear()

    def _ended(self, part: _Part) -> Scrubbed:
        state = folded(part.look.domain)[1]
        damaged = {pack: why for pack, why in part.damaged.items() if pack in state.lists}
        finder = DamageFinder(self._store, part.look.domain, damaged)
        found = [finder.of(kept) for kept in state.points.values()] if damaged else []
        left = {pack: size for pack, size in part.look.sizes.items() if pack not in part.read}
        return Scrubbed(
            look=part.look,
            opened=part.opens,
            locked=part.look.domain.keys_or_none() is None,
            read=Tally(len(part.read), sum(part.read.values())),
            left=Tally(len(left), sum(left.values())),
            oldest=_oldest(part, part.look.sizes),
            damaged=damaged,
            points=tuple(point for point in found if point is not None),
        )


def _oldest(part: _Part, packs: Iterable[PackName]) -> str | None:
    checked = part.known.checked
    moments = checked.opened if part.opens else checked.hashed
    found = [moments.get(short(pack)) for pack in packs]
    known = [moment for moment in found if moment is not None]
    return min(known) if known and len(known) == len(found) else None


def _is_spent(budget: Budget, planned_bytes: int, spent_s: float) -> bool:
    if budget.read_bytes is not None and planned_bytes >= budget.read_bytes:
        return True
    return budget.seconds is not None and spent_s >= budget.seconds


def _threads() -> int:
    return min(_THREADS, os.cpu_count() or 1)
