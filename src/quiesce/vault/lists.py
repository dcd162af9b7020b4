"""The lists of packs of a domain's points: sets of bits over one numbering of the packs.

A list of 16,000 packs takes 2 KiB, and a union of a thousand of them a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from quiesce.vault.format.names import PackName


@dataclass(slots=True)
class PackLists:
    """For each point that is not purged the packs that it needs, and when each was listed."""

    _numbers: dict[PackName, int] = field(default_factory=dict)
    _lists: dict[str, int] = field(default_factory=dict)
    _listed_at: dict[str, int] = field(default_factory=dict)
    _joined: list[tuple[int, int]] = field(default_factory=list)
    _live: int | None = 0

    def __contains__(self, pack: PackName) -> bool:
        """Return whether *pack* is live: on a list, that is in L."""
        at = self._numbers.get(pack)
        return at is not None and bool(self._union() >> at & 1)

    def live(self) -> frozenset[PackName]:
        """Return L, the union of all lists."""
        return frozenset(self._named(self._union()))

    def of(self, sid: str) -> frozenset[PackName]:
        """Return the list of the point *sid*. Raises KeyError where it has none."""
        return frozenset(self._named(self._lists[sid]))

    def put(
        self,
        sid: str,
        *,
        base: str | None,
        add: Iterable[PackName],
        drop: Iterable[PackName],
        here: int,
    ) -> None:
        """Give the point *sid* the list of *base* without *drop* with *add*, at entry *here*."""
        before = 0 if base is None else self._lists[base]
        dropped = self._bits(self._numbers[pack] for pack in drop if pack in self._numbers)
        self._lists[sid] = before & ~dropped | self._numbered(add)
        self._listed_at[sid] = here
        self._live = None if self._live is None else self._live | self._lists[sid]

    def join(self, sid: str, packs: Iterable[PackName], here: int) -> None:
        """Put *packs* on the list of *sid* too, at entry *here*."""
        joining = self._numbered(packs)
        self._lists[sid] |= joining
        self._joined.append((here, joining))
        self._live = None

    def remove(self, sid: str) -> None:
        """Take the list of *sid* away."""
        del self._lists[sid]
        del self._listed_at[sid]
        self._live = None

    def settled(self, packs: Iterable[PackName], upto: int) -> frozenset[PackName]:
        """Return those of *packs* that are live and were put on no list after entry *upto*."""
        settled = self._union()
        for sid, at in self._listed_at.items():
            if at > upto:
                settled &= ~self._lists[sid]
        for at, joined in self._joined:
            if at > upto:
                settled &= ~joined
        known = self._bits(self._numbers[pack] for pack in packs if pack in self._numbers)
        return frozenset(self._named(known & settled))

    def replace(self, moves: Mapping[PackName, Iterable[PackName]], here: int) -> None:
        """Replace each pack of *moves* on every list by those that it moved to, at entry *here*."""
        targets = {
            self._numbers[pack]: self._numbered(packs)
            for pack, packs in moves.items()
            if pack in self._numbers
        }
        gone, come = self._bits(targets), 0
        replaced: dict[int, int] = {}
        for sid, listed in self._lists.items():
            hit = listed & gone
            if hit not in replaced:
                bits = 0
                for at in _positions(hit):
                    bits |= targets[at]
                replaced[hit] = bits
                come |= bits
            self._lists[sid] = listed & ~hit | replaced[hit]
        self._joined.append((here, come))
        self._live = None

    def _union(self) -> int:
        if self._live is None:
            self._live = 0
            for listed in self._lists.values():
                self._live |= listed
        return self._live

    def _numbered(self, packs: Iterable[PackName]) -> int:
        # In the order of their names, so that everybody has the same numbers.
        ordered = sorted(packs, key=lambda pack: (pack.sid, pack.kind, pack.digest))
        return self._bits(self._numbers.setdefault(pack, len(self._numbers)) for pack in ordered)

    def _named(self, bits: int) -> Iterator[PackName]:
        names = list(self._numbers)
        return (names[at] for at in _positions(bits))

    @staticmethod
    def _bits(positions: Iterable[int]) -> int:
        found = bytearray()
        for at in positions:
            if at >> 3 >= len(found):
                found.extend(bytes((at >> 3) + 1 - len(found)))
            found[at >> 3] |= 1 << (at & 7)
        return int.from_bytes(found, "little")


def _positions(bits: int) -> Iterator[int]:
    for at, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        if byte:
            for bit in range(8):
                if byte >> bit & 1:
                    yield at * 8 + bit
