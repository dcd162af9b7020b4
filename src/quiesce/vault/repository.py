"""The vault: open it, list its recovery points, write one, read one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault import decisions, selecting
from quiesce.vault.domain import Domain
from quiesce.vault.format import header, names
from quiesce.vault.opening import Intent, writing_session
from quiesce.vault.reading import PointReader
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from quiesce.model.point import PointSummary
    from quiesce.ports import BlobReader, BlobStore
    from quiesce.vault.format.entry import Hold
    from quiesce.vault.keys.holders import Keys
    from quiesce.vault.log import KeptPoint
    from quiesce.vault.session import WritingSession


class Vault:
    """A store with quiesce's format in it; made by `create` or `open`. Used by one thread.

    *head* is what it says of itself.
    """

    def __init__(
        self, store: BlobStore, head: header.VaultHeader, keys: Keys | None = None
    ) -> None:
        """Take the vault in *store* of which *head* was read, and its *keys*.

        Raises QuiesceError VaultReplaced where there are keys and *head* says that there are none.
        """
        if keys is not None and keys.are_any and head.public_keys is None:
            raise QuiesceError("VaultReplaced", "a vault without encryption has no keys")
        self._store = store
        self._keys = keys
        self.head = head
        self._domains: dict[str, Domain] = {}

    @classmethod
    def create(cls, store: BlobStore, head: header.VaultHeader, keys: Keys | None = None) -> Vault:
        """Make the vault that *head* describes in *store*, once and durably.

        Raises QuiesceError VaultExists where there is one, VaultFull or VaultUnavailable where the
        store fails.
        """
        try:
            upload(store, names.VAULT_NAME, head.encode())
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            raise QuiesceError("VaultExists", "there is a vault already") from exc
        return cls(store, head, keys)

    @classmethod
    def open(cls, store: BlobStore, keys: Keys | None = None) -> Vault:
        """Open the vault in *store* with *keys*; what those do not open cannot be read.

        Raises QuiesceError VaultNotFound, VaultDamaged where vault.json cannot be read,
        VaultUnsupported where it asks for what this version does not know, by name. Where keys
        were chosen by vault.json, do not read it again: make a `Vault` of that header.
        """
        return cls(store, cls.header_of(store), keys)

    @staticmethod
    def header_of(store: BlobReader) -> header.VaultHeader:
        """Return what the vault in *store* says of itself; raises as `open`."""
        try:
            raw = store.get(names.VAULT_NAME, 0, header.MAX_HEADER_BYTES)
        except KeyError:
            raise QuiesceError("VaultNotFound", "there is no vault") from None
        try:
            return header.parse(raw)
        except ValueError as exc:
            raise QuiesceError("VaultDamaged", f"{names.VAULT_NAME} is damaged: {exc}") from exc

    def domains(self) -> list[Domain]:
        """Return the domains, each with its log."""
        return self._domains_of(None)

    def points(self, machine: str | None = None) -> tuple[PointSummary, ...]:
        """Return the recovery points, of *machine* or of all, oldest first within each machine.

        A point whose log entry has no readable summary is left out; `alarms` names it.
        """
        return tuple(
            point
            for domain in self._domains_of(machine)
            for kept in _readable_points(domain)
            if (point := selecting.summary_of(kept, domain.keys)) is not None
            and machine in {None, point.machine}
        )

    def alarms(self, machine: str | None = None) -> tuple[str, ...]:
        """Return what is damaged or forged in the logs, of *machine*'s domain or of all."""
        found = []
        for domain in self._domains_of(machine):
            domain.refresh()
            alarms = (*domain.alarms, *_unreadable(domain))
            found += [f"{domain.name}: {alarm}" for alarm in alarms]
        return tuple(found)

    def find(self, selector: str) -> PointSummary:
        """Return the point that *selector* names.

        It is an id, the beginning of one (8 characters or more), MACHINE@latest or MACHINE@TIME:
        the newest not after TIME, which is ISO 8601, in the local zone unless it names one. Raises
        QuiesceError PointNotFound or PointAmbiguous.
        """
        machine, at, _ = selector.rpartition("@")
        return selecting.select(self.points(machine if at else None), selector)

    def session(
        self, *, machine: str, uuid: str | None, sid: str, same_machine: bool = False
    ) -> AbstractContextManager[WritingSession]:
        """Open the session *sid*, which is also the id of the point that it will make.

        *uuid* is the machine's; None: the one that the vault knows, else a new one. An interrupted
        session of the machine is adopted: what it uploaded is not uploaded again. Leaving without
        a commit leaves a session with uploads to be adopted, and aborts one without. Raises
        QuiesceError MachineIdentityChanged where the vault knows *machine* by another UUID, unless
        it is meant to be the *same_machine*, VaultUnsupported, VaultFull, VaultUnavailable.
        """
        self.head.require_writable()
        if not names.is_sid(sid):
            raise ValueError(f"not a session's id: {sid!r}")
        domain = self._domain(names.domain_of(machine))
        intent = Intent(sid, machine, uuid, same_machine)
        return writing_session(self._store, domain, intent)

    def forget(self, point: PointSummary) -> None:
        """Let *point* go; `recall` undoes it until a prune makes it final.

        Raises QuiesceError PointHeld, PointNotFound.
        """
        decisions.forget(self._deciding(point), point.id)

    def recall(self, point: PointSummary) -> None:
        """Undo `forget`. Raises QuiesceError PointNotFound where *point* is purged already."""
        decisions.recall(self._deciding(point), point.id)

    def hold(self, point: PointSummary, *, hold_id: str, legal: bool = False) -> None:
        """Let nobody forget *point* while the hold *hold_id*, a new id, is there."""
        decisions.hold(self._deciding(point), point.id, hold_id=hold_id, legal=legal)

    def unhold(self, point: PointSummary, *, legal: bool = False) -> tuple[str, ...]:
        """End the holds of *point*, the *legal* ones only where that is meant; return their ids.

        Raises QuiesceError PointHeld where none but legal ones are there and those are not meant.
        """
        return decisions.unhold(self._deciding(point), point.id, legal=legal)

    def holds(self, point: PointSummary) -> tuple[Hold, ...]:
        """Return what holds *point*."""
        holds = self._domain(names.domain_of(point.machine)).refresh().holds.values()
        return tuple(hold for hold in holds if hold.sid == point.id)

    def read(self, point: PointSummary) -> PointReader:
        """Open *point* for reading. Raises QuiesceError PointNotFound or VaultDamaged."""
        domain = self._domain(names.domain_of(point.machine))
        kept = domain.refresh().points.get(point.id)
        if kept is None or kept.number in domain.forged:
            raise QuiesceError("PointNotFound", f"there is no point {point.id}")
        return PointReader(self._store, domain, kept.snapshot)

    def _deciding(self, point: PointSummary) -> Domain:
        self.head.require_writable()
        return self._domain(names.domain_of(point.machine))

    def _domains_of(self, machine: str | None) -> list[Domain]:
        if machine is not None:
            return [self._domain(names.domain_of(machine))]
        found = self._store.folders(names.DOMAINS_PREFIX)
        return [self._domain(name) for name in found if names.is_domain(name)]

    def _domain(self, name: str) -> Domain:
        if name not in self._domains:
            self._domains[name] = Domain(self._store, self.head, name, self._keys)
        return self._domains[name]


def _readable_points(domain: Domain) -> tuple[KeptPoint, ...]:
    domain.refresh()
    return domain.points() if _is_open(domain) else ()


def _unreadable(domain: Domain) -> Iterator[str]:
    if not _is_open(domain):
        yield f"no key of this host opens it; {len(domain.state.points)} points"
        return
    for kept in domain.points():
        if selecting.summary_of(kept, domain.keys) is None:
            yield f"the summary of point {kept.snapshot.sid} cannot be read"


def _is_open(domain: Domain) -> bool:
    try:
        return domain.keys is not None
    except QuiesceError as exc:
        if exc.name != "VaultLocked":
            raise
        return False
