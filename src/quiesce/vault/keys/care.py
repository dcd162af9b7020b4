"""Care of a vault's keys: what there is, one more, one less, a new generation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import names
from quiesce.vault.keys import creation, records, slots
from quiesce.vault.keys.access import all_slots
from quiesce.vault.keys.holders import KEEPER, ROOT
from quiesce.vault.keys.ring import KeyRing, create, new_secret, sealed_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.ports import PrunableStore
    from quiesce.vault.format.header import VaultHeader
    from quiesce.vault.format.sealing import DomainSecret
    from quiesce.vault.keys.holders import HostKey, KeeperKey, Keys, RootKey
    from quiesce.vault.keys.records import DomainRecord, HostRecord
    from quiesce.vault.keys.slots import Kind, Slot


@dataclass(frozen=True, slots=True)
class DomainKeyState:
    """The keys of one domain: its newest generation, and who can open that."""

    name: str
    generation: int
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyState:
    """Everything that opens something in a vault; *problems* say what is damaged or forged."""

    slots: tuple[Slot, ...]
    hosts: tuple[HostRecord, ...]
    domains: tuple[DomainKeyState, ...]
    problems: tuple[str, ...]


class KeyCare:
    """The keys of the encrypted vault in *store*; used by one thread.

    *head* is its vault.json.
    """

    def __init__(self, store: PrunableStore, head: VaultHeader, keys: Keys) -> None:
        """Take what opens the vault.

        Raises QuiesceError VaultNotEncrypted, VaultUnsupported where its care needs more than this
        version knows.
        """
        if head.public_keys is None:
            raise QuiesceError("VaultNotEncrypted", "the vault has no keys")
        head.require_maintainable()
        self._store = store
        self.head = head
        self._public = head.public_keys
        self._keys = keys
        self._ring = KeyRing(store, head, keys)

    def state(self) -> KeyState:
        """Return what there is; needs no key."""
        found, problems = all_slots(self._store)
        hosts, wrong = self._ring.hosts()
        problems += wrong
        domains = []
        for name in self._domains():
            generations = self._ring.generations(name)
            problems += (problem for _, problem in generations.problems)
            newest = max(generations.recipients, default=0)
            recipients = generations.recipients.get(newest, set())
            domains.append(DomainKeyState(name, newest, tuple(sorted(recipients))))
        return KeyState(
            tuple(slot for slot in found if slot.vault_hash == self.head.hash),
            tuple(hosts.values()),
            tuple(domains),
            tuple(problems),
        )

    def add_slot(self, root: RootKey, secret: bytes, *, kind: Kind, label: str) -> Slot:
        """Let *secret* open the vault too; durable when this returns."""
        return creation.add_slot(
            self._store, root, secret, kind=kind, label=label, vault_hash=self.head.hash
        )

    def admit(self, root: RootKey, host: HostKey, *, label: str) -> HostRecord:
        """Admit *host* to the vault; it opens nothing yet but what it makes itself."""
        return creation.admit(self._store, self.head.vault_id, root, host, label=label)

    def share(self, domain: str, host: HostRecord) -> bool:
        """Let *host* open every generation of *domain*; return False where it could already.

        Junk at the names of its records goes. Raises QuiesceError KeyNotFound where there is no
        such domain, VaultLocked where not all of it opens here, VaultDamaged where a name is taken
        by another key, KeeperKeyMissing.
        """
        keeper = self._keeper()
        secrets = self._secrets(domain)
        found = self._ring.generations(domain)
        missing = [at for at in secrets if host.id not in found.recipients[at]]
        for generation in missing:
            record = sealed_record(
                self.head.vault_id, domain, generation, secrets[generation], {host.id: host.public}
            )
            self._put(record, host.id, keeper)
        return bool(missing)

    def rotate(self, domain: str, *, new_ids: bool) -> int:
        """Make a new generation of *domain*'s key, for the root and all who have the newest.

        With *new_ids* chunks get other ids too: nothing is shared with what is there, and who knew
        the old key learns nothing of new data by its ids. Returns the generation. Raises as
        `share`, and SessionLost where somebody else was first.
        """
        keeper = self._keeper()
        secrets = self._secrets(domain)
        newest = max(secrets)
        recipients = self._public_keys(self._ring.generations(domain).recipients[newest])
        secret = new_secret(None if new_ids else secrets[newest].ids)
        record = sealed_record(self.head.vault_id, domain, newest + 1, secret, recipients)
        name = records.domain_key_name(domain, newest + 1)
        if not create(self._store, name, record.encode(self.head.vault_id, keeper.sign)):
            raise QuiesceError("SessionLost", f"somebody else made generation {newest + 1}")
        return newest + 1

    def remove(self, name: str) -> None:
        """Take the slot or the host *name* away; what it has opened it may know for ever.

        A host's keys of domains go too. Raises QuiesceError KeyNotFound, KeyNeeded where no other
        slot would be left, VaultDamaged before anything that opens a domain is deleted where others
        would lose it, KeeperKeyMissing.
        """
        if slots.is_slot(name):
            self._remove_slot(name)
            return
        keeper = self._keeper()
        record = f"{records.KEYS_PREFIX}host-{name}"
        if not records.is_host_id(name) or record not in self._store.list(records.KEYS_PREFIX):
            raise QuiesceError("KeyNotFound", f"the vault has no slot and no host {name}")
        doomed = []
        for domain in self._domains():
            doomed += self._without(domain, name, keeper)
        self._store.delete([*doomed, record])

    def _without(self, domain: str, host: str, keeper: KeeperKey) -> list[str]:
        """Return the records of *domain* that go with *host*; what it signed the keeper signs."""
        doomed = []
        minted = self._ring.minted_by(domain, host)
        if minted is not None:
            recipients = {to: key for to, key in minted.recipients.items() if to != host}
            self._put(replace(minted, recipients=recipients, signer=KEEPER), ROOT, keeper)
            doomed.append(records.domain_key_name(domain, 1))
        prefix = records.domain_keys_prefix(domain)
        doomed += [blob for blob in self._store.list(prefix) if blob.endswith(f".{host}")]
        self._check_left(domain, host, doomed)
        return doomed

    def _check_left(self, domain: str, host: str, doomed: list[str]) -> None:
        before = self._ring.generations(domain).recipients
        after = self._ring.generations(domain, without=doomed).recipients
        for generation, recipients in before.items():
            if not recipients - {host} <= after.get(generation, set()):
                name = records.domain_key_name(domain, generation)
                raise QuiesceError("VaultDamaged", f"nothing would be left in place of {name}")

    def _put(self, record: DomainRecord, added: str, keeper: KeeperKey) -> None:
        """Make *record* the one for the recipient *added*, unless a good one is there."""
        name = records.domain_key_name(record.domain, record.generation, added)
        raw = record.encode(self.head.vault_id, keeper.sign)
        if create(self._store, name, raw):
            return
        try:
            found = self._ring.record(record.domain, record.generation, added)
        except (KeyError, ValueError):
            # Whoever may create can put junk where the keeper's record is to be.
            self._store.delete([name])
            if create(self._store, name, raw):
                return
            raise QuiesceError("VaultDamaged", f"{name} is taken by something else") from None
        is_same = found.commitment == record.commitment
        if not is_same or not found.recipients.keys() >= record.recipients.keys():
            raise QuiesceError("VaultDamaged", f"{name} is another key")

    def host(self, host: str) -> HostRecord:
        """Return the record of *host*. Raises QuiesceError KeyNotFound."""
        hosts, _ = self._ring.hosts()
        if host not in hosts:
            raise QuiesceError("KeyNotFound", f"the vault has no host {host}")
        return hosts[host]

    def _remove_slot(self, name: str) -> None:
        found, _ = all_slots(self._store)
        blob = records.KEYS_PREFIX + name
        if blob not in self._store.list(records.KEYS_PREFIX):
            raise QuiesceError("KeyNotFound", f"the vault has no slot {name}")
        usable = {slot.name for slot in found if slot.vault_hash == self.head.hash}
        if usable <= {name}:
            raise QuiesceError("KeyNeeded", f"{name} is the only slot")
        self._store.delete([blob])

    def _secrets(self, domain: str) -> Mapping[int, DomainSecret]:
        found = self._ring.generations(domain)
        found.check()
        if not found.recipients:
            raise QuiesceError("KeyNotFound", f"the vault has no key of {domain}")
        if found.recipients.keys() != found.secrets.keys():
            raise found.blame(domain)
        return found.secrets

    def _public_keys(self, recipients: set[str]) -> dict[str, bytes]:
        hosts, _ = self._ring.hosts()
        public = {host: record.public for host, record in hosts.items() if host in recipients}
        return {ROOT: self._public.root, **public}

    def _domains(self) -> list[str]:
        folders = self._store.folders(names.DOMAINS_PREFIX)
        return [name for name in folders if names.is_domain(name)]

    def _keeper(self) -> KeeperKey:
        if self._keys.keeper is None:
            raise QuiesceError("KeeperKeyMissing", "the keeper's key is not on this host")
        return self._keys.keeper
