"""A writing session: from its open entry to its snapshot entry."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from quiesce import __version__
from quiesce.errors import QuiesceError
from quiesce.model.point import PointSummary
from quiesce.policy.changes import reason_against
from quiesce.vault import adoption, ledger, selecting
from quiesce.vault.copying import ChunkIndex, DiskCopy
from quiesce.vault.format import chunk, manifest, names
from quiesce.vault.format import entry as entries
from quiesce.vault.format.sealing import NONCE_BYTES
from quiesce.vault.log import SessionState
from quiesce.vault.tables import PackTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.model.changes import ChangeList
    from quiesce.model.disk import Disk
    from quiesce.model.point import Evidence
    from quiesce.ports import BlobStore, BlockReader, Progress
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.entry import Open
    from quiesce.vault.format.map import Ref
    from quiesce.vault.format.names import PackName
    from quiesce.vault.log import LogState
    from quiesce.vault.packer import PackWriter
    from quiesce.vault.reading import DiskMap, PointReader


@dataclass(frozen=True, slots=True)
class DiskCopied:
    """What copying one disk did, in bytes, and whether it was compared with the point before.

    *read_bytes* were read, *new_bytes* of them were not in the vault, and take *stored_bytes*
    there. *mode* is full, incremental or compare, for the reason *why*.
    """

    name: str
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    mode: str
    why: str


class WritingSession:
    """One recovery point in the making; made by `Vault.session`.

    Used by one thread. *base* is the point before, None where there is none that can be read.
    """

    def __init__(
        self,
        store: BlobStore,
        domain: Domain,
        opened: Open,
        *,
        packs: PackWriter,
        base: PointReader | None,
    ) -> None:
        self.sid = opened.sid
        self.uuid = opened.uuid
        self._store = store
        self._domain = domain
        self._opened = opened
        self._packs = packs
        self._base = base
        self._copies: list[DiskCopy] = []
        self._damaged = ledger.damaged(store, domain.name)
        self._index = ChunkIndex()
        self._tables = PackTables(store, domain, packs.keys, usable=self._is_usable)
        found = adoption.packs_in_store(store, domain.name, self._owned_sids())
        adoption.adopt(found, packs=packs, tables=self._tables, index=self._index)
        self._has_learned = base is None

    def copy_disk(
        self,
        disk: Disk,
        reader: BlockReader,
        *,
        progress: Progress,
        changed: ChangeList | None = None,
    ) -> DiskCopied:
        """Copy *disk* from *reader*, which is no longer used when this returns or raises.

        Begins the stage `copy NAME` with the disk's size, and advances over zeros too. Memory does
        not grow with the disk. What *changed* leaves out is taken from the point before, where it
        counts from that. Raises QuiesceError SnapshotBroken where reading fails, VaultFull
        or VaultUnavailable where the store does, IncorrectChangeList where *changed* is found to
        leave a change out.
        """
        if reader.size_bytes != disk.size_bytes:
            raise QuiesceError(
                "SnapshotBroken",
                f"disk {disk.name} has {reader.size_bytes} bytes instead of {disk.size_bytes}",
            )
        names_so_far = {copy.disk.name for copy in self._copies}
        if not manifest.is_disk_name(disk.name) or disk.name in names_so_far:
            raise QuiesceError(
                "SnapshotUnsupported", f"{disk.name!r} cannot be a disk's name, or is one already"
            )
        base = None if self._base is None else self._base.disk_map(disk)
        against = self._reason_against(changed)
        is_incremental = base is not None and against is None
        copy = DiskCopy(disk, packs=self._packs, tables=self._tables, index=self._index, base=base)
        if not is_incremental:
            copy.learn = self._learn_base
        progress.stage(f"copy {disk.name}", disk.size_bytes)
        extents = None if changed is None or not is_incremental else changed.extents
        copy.run(reader, progress, changed=extents, seed=self.sid)
        self._copies.append(copy)
        copied = copy.copied
        mode = "incremental" if is_incremental else "compare"
        return DiskCopied(
            name=disk.name,
            read_bytes=copied.read_bytes,
            new_bytes=copied.new_bytes,
            stored_bytes=copied.stored_bytes,
            mode="full" if base is None else mode,
            why=self._why(base, against or "a change list", copied.damaged_parts),
        )

    def commit(self, evidence: Evidence, *, created_at: str) -> PointSummary:
        """Make the recovery point of all disks copied; before this succeeds there is none.

        *created_at* is ISO 8601 in UTC. Raises QuiesceError SessionLost where another run took the
        session over or committed another point in it, VaultFull or VaultUnavailable where the store
        fails; only after the last may the point have come to be nevertheless.
        """
        disks = tuple(manifest.StoredDisk(copy.disk, root) for copy, root in self._finished_maps())
        manifest_ref = self._store_manifest(evidence, created_at, disks)
        used = self._used_packs(manifest_ref)
        point = PointSummary(
            id=self.sid,
            machine=self._opened.machine,
            created_at=created_at,
            consistency=evidence.consistency,
            outcome=evidence.outcome,
            logical_bytes=sum(stored.disk.size_bytes for stored in disks),
            new_bytes=self._packs.written_bytes,
            disks=tuple(stored.disk for stored in disks),
        )
        summary = self._packs.keys.seal_summary(
            self.sid, entries.summary_of(point), secrets.token_bytes(NONCE_BYTES)
        )
        self._domain.append(lambda state: self._snapshot_on(state, used, manifest_ref, summary))
        return point

    def leaves_nothing(self) -> bool:
        """Return whether the session has no packs that a next one could use."""
        if self._packs.has_begun:
            return False
        sids = self._owned_sids()
        return not any(adoption.packs_in_store(self._store, self._domain.name, sids))

    def _owned_sids(self) -> tuple[str, ...]:
        return self._domain.state.owned_sids(self.sid)

    def _is_usable(self, pack: PackName) -> bool:
        # What left the lists meanwhile may be deleted at any time; it is stored again, and so is
        # what a scrub found damaged.
        state = self._domain.state
        is_ours = pack in state.lists or state.owner(pack.sid) == self.sid
        return is_ours and pack not in self._damaged

    def _learn_base(self) -> None:
        """Put what the point before has into the index, once."""
        if self._has_learned or self._base is None:
            return
        self._has_learned = True
        for disk_map in self._base.disk_maps():
            with suppress(QuiesceError):  # A damaged map gives fewer hints; the copy says so.
                for _, ref in disk_map.refs():
                    if self._index.full:
                        return
                    if self._tables.has(ref.place):
                        self._index.put(self._packs.spot_of(ref))

    def _reason_against(self, changed: ChangeList | None) -> str | None:
        """Return why *changed* cannot be used, None where it can."""
        if changed is None or self._base is None:
            return "no change record"
        base = selecting.summary_of(self._domain.state.points[self._base.id], self._packs.keys)
        created_at = "" if base is None else base.created_at
        return reason_against(changed, base=self._base.id, created_at=created_at)

    def _why(self, base: DiskMap | None, why: str, damaged_parts: int) -> str:
        if self._base is None:
            return (
                "there is no earlier point"
                if self._opened.base is None
                else (f"the point {self._opened.base} cannot be read")
            )
        if base is None:
            return f"the point {self._opened.base} has no such disk"
        if damaged_parts:
            why += f"; {damaged_parts} parts of the earlier map are damaged"
        if self._tables.absent:
            why += f"; {len(self._tables.absent)} earlier packs are gone or damaged"
        return why

    def _finished_maps(self) -> list[tuple[DiskCopy, Ref | None]]:
        self._packs.seal(names.DATA)
        for copy in self._copies:
            copy.map.finish()
        while not all(copy.map.finished for copy in self._copies):
            self._packs.seal(names.META)
            for copy in self._copies:
                copy.map.finish()
        self._packs.seal(names.META)
        return [(copy, copy.map.root()) for copy in self._copies]

    def _store_manifest(
        self, evidence: Evidence, created_at: str, disks: tuple[manifest.StoredDisk, ...]
    ) -> Ref:
        try:
            plain = manifest.encode(
                manifest.Manifest(
                    sid=self.sid,
                    machine=self._opened.machine,
                    uuid=self.uuid,
                    created_at=created_at,
                    base=None if self._base is None else self._opened.base,
                    tool=f"quiesce {__version__}",
                    disks=disks,
                    evidence=evidence,
                )
            )
        except ValueError as exc:
            raise QuiesceError("VaultUnsupported", f"the manifest cannot be stored: {exc}") from exc
        stored, flags = chunk.packed(plain, zstandard.ZstdCompressor(level=chunk.LEVEL).compress)
        chunk_id = self._packs.keys.chunk_id(plain)
        spot = self._packs.add(names.META, chunk_id, stored, len(plain), flags=flags)
        self._packs.flush()
        ref = self._packs.ref_of(spot)
        if ref is None:
            raise AssertionError("a flushed pack has no name")
        return ref

    def _used_packs(self, manifest_ref: Ref) -> frozenset[PackName]:
        """Return every pack that the point needs.

        Raises QuiesceError VaultDamaged where one has gone, SessionLost where the session has.
        """
        used = set(manifest_ref.place.packs)
        for copy in self._copies:
            used |= copy.map.used
        sids = {pack.sid for pack in used}
        gone = used.difference(adoption.packs_in_store(self._store, self._domain.name, sids))
        if gone:
            state = self._domain.refresh().session(self.sid)
            if state is not SessionState.OPEN:
                raise QuiesceError("SessionLost", f"session {self.sid} is {state.value}")
            name = min(names.pack_name(self._domain.name, pack) for pack in gone)
            raise QuiesceError("VaultDamaged", f"{name} has gone", action="run it again")
        return frozenset(used)

    def _snapshot_on(
        self,
        state: LogState,
        used: frozenset[PackName],
        manifest_ref: Ref,
        summary: Mapping[str, object],
    ) -> entries.Snapshot | None:
        if state.session(self.sid) is SessionState.COMMITTED:
            self._check_ours(state, manifest_ref)
            return None
        base = self._opened.base if self._opened.base in state.points else None
        before = frozenset() if base is None else state.packs_of(base)
        change = entries.PackChange(base, used - before, before - used)
        if len(change.add) + len(change.drop) >= len(used):
            change = entries.PackChange(None, used)
        return entries.Snapshot(self.sid, change, manifest_ref, summary)

    def _check_ours(self, state: LogState, manifest_ref: Ref) -> None:
        """Raise QuiesceError SessionLost unless it is this point that the session made."""
        kept = state.points.get(self.sid)
        if (
            kept is None
            or kept.snapshot.manifest != manifest_ref
            or kept.number in self._domain.forged
        ):
            raise QuiesceError(
                "SessionLost", f"somebody else has committed another point in session {self.sid}"
            )
