"""Compare what a domain's log needs with what its store has, without reading a pack."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.collecting import survey
from quiesce.vault.format import names
from quiesce.vault.log import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from quiesce.ports import PrunableStore
    from quiesce.vault.collecting import StoredPack
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import LogState


@dataclass(frozen=True, slots=True)
class Tally:
    """Some packs and their bytes."""

    packs: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """What a domain has in its store.

    *sizes* are those of the packs that points need, as far as they are there; the others are
    *missing*. *dead* ones go with the next prune, *open* ones belong to sessions under way or
    interrupted, *unknown* ones to sessions that the log does not know. *alarms* say what is wrong
    with the log.
    """

    domain: Domain
    sizes: Mapping[PackName, int]
    missing: frozenset[PackName] = frozenset()
    dead: Tally = field(default_factory=Tally)
    open: Tally = field(default_factory=Tally)
    unknown: Tally = field(default_factory=Tally)
    alarms: tuple[str, ...] = ()

    @property
    def live(self) -> Tally:
        """The packs that points need and that are there."""
        return Tally(len(self.sizes), sum(self.sizes.values()))


def look(store: PrunableStore, domain: Domain) -> Look:
    """Return what *domain* has in *store*; a damaged log is told, not raised.

    Raises QuiesceError VaultUnavailable where the store fails.
    """
    found = survey(store, domain.name)
    alarms, state = folded(domain)
    by_pack = {each.pack: each for each in found.packs}
    live = state.live_packs
    absent = {pack for pack in live if pack not in by_pack}
    sizes = {pack: by_pack[pack].blob.size_bytes for pack in live if pack in by_pack}
    # They may be younger than the listing, and what was listed may be purged since.
    sizes |= _sizes_now(store, domain, absent)
    others = [each for each in found.packs if each.pack not in live]
    _, state = folded(domain)
    dead = [each for each in others if state.is_dead(each.pack)]
    unknown = [each for each in others if _is_unknown(state, each)]
    gone = {*dead, *unknown}
    return Look(
        domain,
        sizes,
        frozenset(pack for pack in absent if pack not in sizes and pack in state.lists),
        _tally(dead),
        _tally(each for each in others if each not in gone and each.pack not in state.lists),
        _tally(unknown),
        alarms,
    )


def folded(domain: Domain) -> tuple[tuple[str, ...], LogState]:
    """Return what is wrong with the log of *domain*, and what it says as far as it can be read."""
    try:
        state = domain.refresh()
    except QuiesceError as exc:
        if exc.name != "VaultDamaged":
            raise
        return (*domain.alarms, exc.message), domain.state
    return domain.alarms, state


def _sizes_now(
    store: PrunableStore, domain: Domain, packs: Iterable[PackName]
) -> dict[PackName, int]:
    sizes = {}
    for pack in packs:
        with suppress(KeyError):
            sizes[pack] = store.size(names.pack_name(domain.name, pack))
    return sizes


def _is_unknown(state: LogState, each: StoredPack) -> bool:
    return state.session(state.owner(each.pack.sid)) is SessionState.UNKNOWN


def _tally(packs: Iterable[StoredPack]) -> Tally:
    sizes = [each.blob.size_bytes for each in packs]
    return Tally(len(sizes), sum(sizes))
