"""A second copy of a vault in another store: what is already there is not copied again."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import names
from quiesce.vault.repository import Vault
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from quiesce.ports import BlobReader, BlobStore, Progress, PrunableStore
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.names import PackName

_THREADS: Final = 3
_DAMAGED: Final = "VaultDamaged"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was copied of the domain *name*, which has *points* points now.

    *lost* are packs that points need and that the vault itself has no more, or only damaged.
    """

    name: str
    points: int
    packs: int
    copied_bytes: int
    entries: int
    lost: tuple[PackName, ...]


@dataclass(slots=True)
class _Tally:
    """What was copied of a domain so far; *have* are the packs that the mirror has."""

    have: set[str]
    packs: int = 0
    copied_bytes: int = 0
    lost: set[PackName] = field(default_factory=set)


class Mirror:
    """Copies the vault in *source* into *target*; used by one thread.

    `vault.json` comes first, and the keys of the vault; in each domain first the packs that points
    need, then its keys, then the entries of the log, one after the other. So at each moment,
    also where this is killed, every point that the mirror shows can be read from it alone, but for
    those whose packs the vault itself has given up meanwhile: they are shown only until the
    entry that purged or repacked them is copied too. Doing it again goes on. Nothing in the mirror
    is ever deleted or overwritten.
    """

    def __init__(self, source: PrunableStore, target: BlobStore) -> None:
        """Open the vault. Raises QuiesceError as `Vault.open`."""
        self._source = source
        self._target = target
        self._vault = Vault.open(source)

    def is_begun(self) -> bool:
        """Return whether the other place has a vault already."""
        try:
            return self._target.size(names.VAULT_NAME) > 0
        except KeyError:
            return False

    def run(self, progress: Progress) -> tuple[Mirrored, ...]:
        """Copy what the mirror lacks, and return what that was, domain by domain.

        Raises QuiesceError MirrorDiverged, before anything of that domain is copied, where the
        mirror has what is not the vault's, VaultFull or VaultUnavailable where a store fails.
        """
        self._copy(
            names.VAULT_NAME,
            self._source.get(names.VAULT_NAME),
            "it is the mirror of another vault",
        )
        self._copy_keys("keys/")
        return tuple(self._domain(domain, progress) for domain in self._vault.domains())

    def _copy_keys(self, prefix: str) -> None:
        for name in self._source.list(prefix):
            self._copy(name, self._source.get(name), f"it has another {name}")

    def _copy(self, name: str, data: bytes, otherwise: str) -> None:
        try:
            upload(self._target, name, data)
        except QuiesceError as exc:
            if exc.name != _DAMAGED:
                raise
            raise _diverged(otherwise) from exc

    def _domain(self, domain: Domain, progress: Progress) -> Mirrored:
        begun = self._common(domain)
        packs = f"{_folder(domain)}packs/"
        sizes = {blob.name: blob.size_bytes for blob in self._source.blobs(packs)}
        tally = _Tally(set(self._target.list(packs)))
        tail = self._copy_needed(domain, sizes, tally, progress)
        # After the packs: whatever key they need is there by now.
        self._copy_keys(f"{_folder(domain)}keys/")
        for number in range(begun + 1, tail + 1):
            name = names.log_name(domain.name, number)
            raw = self._source.get(name)
            self._copy(name, raw, f"it has an entry {name} of its own")
        return Mirrored(
            domain.name,
            len(domain.state.points),
            tally.packs,
            tally.copied_bytes,
            max(0, tail - begun),
            tuple(sorted(tally.lost, key=lambda pack: pack.text)),
        )

    def _common(self, domain: Domain) -> int:
        """Return the last entry that the mirror has, which is the vault's too."""
        prefix = names.log_prefix(domain.name)
        has = set(self._target.list(prefix))
        number = 0
        while names.log_name(domain.name, number + 1) in has:
            number += 1
        tail = domain.refresh().tail
        last = names.log_name(domain.name, number)
        # Each entry has the hash of the one before: where one is the same, all before it are.
        if number > tail or (number and self._target.get(last) != self._source.get(last)):
            raise _diverged(f"the log of {domain.name} has entries there that are not the vault's")
        return number

    def _copy_needed(
        self, domain: Domain, sizes: dict[str, int], tally: _Tally, progress: Progress
    ) -> int:
        """Copy every pack that points need by the log up to some entry; return that entry."""
        while True:
            state = domain.refresh()
            tail = state.tail
            live = {names.pack_name(domain.name, pack): pack for pack in state.live_packs}
            wanted = {
                name: pack
                for name, pack in sorted(live.items())
                if name not in tally.have and pack not in tally.lost
            }
            total = sum(sizes.get(name, 0) for name in wanted)
            progress.stage(f"mirror {domain.name}", total)
            absent = self._copy_packs(wanted, tally, progress)
            # What a prune has taken away meanwhile is needed by nobody, as the log says by now.
            still = domain.refresh().live_packs
            tally.lost |= {pack for pack in absent if pack in still}
            if not absent - still:
                return tail

    def _copy_packs(
        self, wanted: dict[str, PackName], tally: _Tally, progress: Progress
    ) -> set[PackName]:
        """Copy the packs *wanted*; return those that are not in the vault, or damaged there."""
        pending: deque[tuple[str, PackName, Future[int | None]]] = deque()
        absent: set[PackName] = set()

        def put_away() -> None:
            name, pack, copied = pending.popleft()
            copied_bytes = copied.result()
            if copied_bytes is None:
                absent.add(pack)
                return
            tally.have.add(name)
            tally.packs += 1
            tally.copied_bytes += copied_bytes
            progress.advance(copied_bytes)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="mirror") as pool:
            try:
                for name, pack in wanted.items():
                    job = pool.submit(_copy_pack, self._source, self._target, name, pack.digest)
                    pending.append((name, pack, job))
                    if len(pending) == _THREADS:
                        put_away()
                while pending:
                    put_away()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return absent


def _copy_pack(source: BlobReader, target: BlobStore, name: str, digest: bytes) -> int | None:
    try:
        data = source.get(name)
    except KeyError:
        return None
    if names.digest(data) != digest:
        return None
    upload(target, name, data)
    return len(data)


def _folder(domain: Domain) -> str:
    return f"{names.DOMAINS_PREFIX}{domain.name}/"


def _diverged(why: str) -> QuiesceError:
    return QuiesceError("MirrorDiverged", f"the mirror cannot be brought up to date: {why}")
