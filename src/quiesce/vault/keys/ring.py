"""The keys of a vault's domains as they lie in its store, opened with the keys that one has."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import names
from quiesce.vault.format.sealing import SECRET_BYTES, DomainSecret, PlainKeys, SealedKeys
from quiesce.vault.keys import records
from quiesce.vault.keys.holders import KEEPER, ROOT, Keys, sealed_for
from quiesce.vault.keys.records import DomainRecord, HostRecord

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from quiesce.ports import BlobReader, BlobStore
    from quiesce.vault.format.header import PublicKeys, VaultHeader
    from quiesce.vault.format.sealing import DomainKeys

_ATTEMPTS: Final = 3


@dataclass(slots=True)
class Generations:
    """What was found of a domain's keys: *secrets* that open here, *recipients* of each.

    *problems* say by generation which records are damaged or forged.
    """

    secrets: dict[int, DomainSecret] = field(default_factory=dict)
    recipients: dict[int, set[str]] = field(default_factory=dict)
    commitments: dict[int, bytes] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def check(self) -> None:
        """Raise QuiesceError VaultDamaged where a generation has damaged records alone."""
        for generation, problem in self.problems:
            if generation not in self.recipients:
                raise QuiesceError("VaultDamaged", problem)

    def blame(self, domain: str) -> QuiesceError:
        """Return why a generation does not open here: it is damaged, or not for us."""
        for _, problem in self.problems:
            return QuiesceError("VaultDamaged", problem)
        return locked(domain)


class KeyRing:
    """Opens the keys of domains, and mints those of new ones; used by one thread."""

    def __init__(self, store: BlobReader, head: VaultHeader, keys: Keys) -> None:
        self._store = store
        self._head = head
        self.keys = keys

    def domain(self, name: str) -> DomainKeys:
        """Return the keys of the domain *name* to read with, as far as they open here.

        Raises QuiesceError VaultLocked where none does.
        """
        if self._head.public_keys is None:
            return PlainKeys()
        found = self.generations(name)
        if found.secrets:
            return SealedKeys(self._head.vault_id, found.secrets)
        raise found.blame(name)

    def to_write(self, name: str, store: BlobStore, *, is_new: bool) -> DomainKeys:
        """Return the keys of the domain *name* to write with; one that *is_new* gets its first.

        Raises QuiesceError VaultLocked where the newest does not open here, VaultDamaged where a
        record is missing, damaged or forged: what is to be secret is not sealed with another key.
        """
        if self._head.public_keys is None:
            return PlainKeys()
        found = self.generations(name)
        if is_new and not found.recipients and not found.problems:
            self._mint(name, store, self._head.public_keys)
            found = self.generations(name)
        found.check()
        if not found.recipients:
            raise QuiesceError("VaultDamaged", f"the keys of domain {name} are missing")
        if max(found.recipients) not in found.secrets:
            raise found.blame(name)
        return SealedKeys(self._head.vault_id, found.secrets)

    def generations(self, name: str, *, without: Container[str] = ()) -> Generations:
        """Return what there is of the keys of the domain *name*, as if *without* were gone."""
        found = Generations()
        prefix = records.domain_keys_prefix(name)
        for blob in self._store.list(prefix):
            parsed = records.parse_domain_key_name(blob[len(prefix) :])
            if parsed is not None and blob not in without:
                try:
                    self._take(found, self.record(name, *parsed))
                except (KeyError, ValueError) as exc:
                    found.problems.append((parsed[0], f"{blob} is damaged or forged: {exc}"))
        return found

    def hosts(self) -> tuple[dict[str, HostRecord], list[str]]:
        """Return the hosts that the keeper admitted, by id, and what is wrong with records."""
        found, problems = {}, []
        for blob in self._store.list(records.KEYS_PREFIX):
            host = records.host_of(blob)
            if host is not None:
                try:
                    found[host] = self._host(host)
                except (KeyError, ValueError) as exc:
                    problems.append(f"{blob} is damaged or forged: {exc}")
        return found, problems

    def minted_by(self, domain: str, host: str) -> DomainRecord | None:
        """Return the first record of *domain*'s keys where *host* has signed it."""
        try:
            record = self.record(domain, 1)
        except (KeyError, ValueError):
            return None
        return record if record.signer == host else None

    def record(self, domain: str, generation: int, added: str | None = None) -> DomainRecord:
        """Return the first record of *generation*, or the one for the recipient *added*.

        Raises KeyError where there is none, ValueError where it is damaged or forged.
        """
        name = records.domain_key_name(domain, generation, added)
        raw = self._store.get(name, 0, records.MAX_RECORD_BYTES)
        record = records.parse_domain(raw, self._head.vault_id, self._signer_of)
        if (record.domain, record.generation) != (domain, generation):
            raise ValueError("it belongs elsewhere")
        if added is not None and record.signer != KEEPER:
            raise ValueError("only the keeper adds to a key")
        return record

    def _take(self, found: Generations, record: DomainRecord) -> None:
        generation = record.generation
        if found.commitments.setdefault(generation, record.commitment) != record.commitment:
            raise ValueError("it is another key of the same generation")
        found.recipients.setdefault(generation, set()).update(record.recipients)
        secret = self._opened(record)
        if secret is not None:
            found.secrets[generation] = secret

    def _opened(self, record: DomainRecord) -> DomainSecret | None:
        for recipient, opener in self.keys.openers:
            # Another host could make the first key of a domain before its own host does.
            is_trusted = recipient == ROOT or record.signer in {KEEPER, recipient}
            if recipient in record.recipients and is_trusted:
                vault_id, domain = self._head.vault_id, record.domain
                info = records.wrap_info(vault_id, domain, record.generation, recipient)
                plain = opener(record.recipients[recipient], info)
                secret = DomainSecret(plain[:SECRET_BYTES], plain[SECRET_BYTES:])
                if secret.commitment != record.commitment:
                    raise ValueError("it holds another key than it says")
                return secret
        return None

    def _signer_of(self, signer: str) -> bytes | None:
        keys = self._head.public_keys
        if signer == KEEPER and keys is not None:
            return keys.keeper
        if not records.is_host_id(signer):
            return None
        try:
            return self._host(signer).signer
        except KeyError:
            return None

    def _host(self, host: str) -> HostRecord:
        keys = self._head.public_keys
        if keys is None:
            raise KeyError(host)
        name = f"{records.KEYS_PREFIX}host-{host}"
        raw = self._store.get(name, 0, records.MAX_RECORD_BYTES)
        record = records.parse_host(raw, self._head.vault_id, keys.keeper)
        if record.id != host:
            raise ValueError("it is another host's")
        return record

    def _mint(self, name: str, store: BlobStore, public: PublicKeys) -> None:
        recipients = {ROOT: public.root}
        host = self.keys.host
        if host is not None and self._signer_of(host.id) is not None:
            recipients[host.id] = host.public
            signer, sign = host.id, host.sign
        elif self.keys.keeper is not None:
            signer, sign = KEEPER, self.keys.keeper.sign
        else:
            raise locked(name)
        secret = new_secret()
        record = sealed_record(self._head.vault_id, name, 1, secret, recipients, signer=signer)
        raw = record.encode(self._head.vault_id, sign)
        create(store, records.domain_key_name(name, 1), raw)


def new_secret(ids: bytes | None = None) -> DomainSecret:
    """Return a new secret; with *ids*, chunks keep their ids."""
    return DomainSecret(os.urandom(SECRET_BYTES), ids or os.urandom(SECRET_BYTES))


def sealed_record(
    vault_id: bytes,
    domain: str,
    generation: int,
    secret: DomainSecret,
    public_keys: Mapping[str, bytes],
    *,
    signer: str = KEEPER,
) -> DomainRecord:
    """Return the record of *secret*, sealed for the holders of *public_keys*, by their names."""
    plain = secret.data + secret.ids
    sealed = {
        name: sealed_for(key, plain, records.wrap_info(vault_id, domain, generation, name))
        for name, key in public_keys.items()
    }
    return DomainRecord(domain, generation, secret.commitment, sealed, signer)


def create(store: BlobStore, name: str, raw: bytes) -> bool:
    """Create *name* whatever becomes of the answers; return False where others came first."""
    failures = 0
    while True:
        try:
            if store.create(name, raw):
                return True
        except QuiesceError:
            failures += 1
            found = _found(store, name)
            if found is None and failures == _ATTEMPTS:
                raise
            if found is None:
                continue
        else:
            found = _found(store, name)
        return found == raw


def locked(domain: str) -> QuiesceError:
    """Return the error of a domain whose keys do not open here."""
    return QuiesceError(
        "VaultLocked",
        f"this host has no key of {names.DOMAINS_PREFIX}{domain}",
        action="give it one, where there is one: quiesce vault key share MACHINE --host ID; or give"
        " the vault's passphrase: --passphrase-file FILE",
    )


def _found(store: BlobStore, name: str) -> bytes | None:
    try:
        return store.get(name)
    except KeyError:
        return None
