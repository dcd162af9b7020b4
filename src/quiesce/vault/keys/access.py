"""Open a vault with what a host has: its key file, else a passphrase or the recovery key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.keys import records, slots
from quiesce.vault.keys.holders import Keys
from quiesce.vault.keys.passphrase import PassphraseSources, normal
from quiesce.vault.keys.slots import Kind
from quiesce.vault.repository import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.ports import BlobReader, BlobStore
    from quiesce.vault.format.header import PublicKeys, VaultHeader
    from quiesce.vault.keys.files import KeyDirectory
    from quiesce.vault.keys.holders import RootKey
    from quiesce.vault.keys.slots import Slot

_LOOKS_LIKE_RECOVERY: Final = re.compile(r"[\s-]*([A-Za-z2-7][\s-]*){50,60}")


@dataclass(frozen=True)
class Access:
    """How the vault at *url* is opened on this host."""

    url: str
    directory: KeyDirectory
    sources: PassphraseSources

    def open(self, store: BlobStore) -> Vault:
        """Open the vault in *store*; see `keys`, and `Vault.open` for what else is raised."""
        head = Vault.header_of(store)
        return Vault(store, head, self.keys(store, head))

    def open_if_any(self, store: BlobStore) -> Vault:
        """Return as `open`, without keys where this host has none."""
        head = Vault.header_of(store)
        try:
            keys = self.keys(store, head)
        except QuiesceError as exc:
            if exc.name != "VaultLocked":
                raise
            keys = None
        return Vault(store, head, keys)

    def keys(self, store: BlobReader, head: VaultHeader) -> Keys | None:
        """Return the keys to open the vault in *store* with, None where it has no encryption.

        *head* is its vault.json, which is not read again: a store may answer otherwise then. The
        host's key file is enough, and asks nobody; with a passphrase's file it is the root that
        opens the vault. Raises QuiesceError VaultReplaced, KeyFileUnusable, and as `root`.
        """
        keys = self.directory.keys(vault_id=head.vault_id, vault_hash=head.hash, url=self.url)
        if head.public_keys is None:
            return None
        if keys.host is not None and self.sources.file is None:
            return keys
        root = self.root(store, head)
        return Keys(host=keys.host, keeper=root.keeper, root=root)

    def root(self, store: BlobReader, head: VaultHeader) -> RootKey:
        """Return the root key, which a passphrase or the recovery key opens.

        Raises QuiesceError VaultLocked where none is given, WrongKey where it opens no slot,
        VaultDamaged where the slots are damaged.
        """
        if head.public_keys is None:
            raise QuiesceError("VaultNotEncrypted", f"{self.url} has no keys")
        given = self.sources.read(f"passphrase or recovery key of {self.url}")
        if given is None:
            raise QuiesceError("VaultLocked", f"this host has no key of {self.url}")
        found, damaged = all_slots(store)
        usable = [slot for slot in found if slot.vault_hash == head.hash]
        root = _opened(usable, given, head.public_keys)
        if root is not None:
            return root
        if damaged and not usable:
            raise QuiesceError("VaultDamaged", "; ".join(damaged))
        raise _wrong(given, damaged)


def all_slots(store: BlobReader) -> tuple[list[Slot], list[str]]:
    """Return the slots in *store*, and what is wrong with those that are damaged."""
    found, damaged = [], []
    for blob in store.list(records.KEYS_PREFIX):
        name = blob.removeprefix(records.KEYS_PREFIX)
        if slots.is_slot(name):
            try:
                raw = store.get(blob, 0, records.MAX_RECORD_BYTES)
                found.append(slots.parse(raw, name))
            except (KeyError, ValueError) as exc:
                damaged.append(f"{blob} is damaged: {exc}")
    return found, damaged


def _opened(usable: list[Slot], given: str, public: PublicKeys) -> RootKey | None:
    for slot, secret in _attempts(usable, given):
        root = slots.unwrap(slot, secret)
        if root is not None:
            if root.public_keys != public:
                raise QuiesceError("VaultDamaged", f"{slot.name} holds the root of another vault")
            return root
    return None


def _attempts(usable: list[Slot], given: str) -> Iterator[tuple[Slot, bytes]]:
    secret = slots.recovery_secret(given)
    for slot in usable:
        if slot.kind is Kind.RECOVERY and secret is not None:
            yield slot, secret
        if slot.kind is Kind.PASSPHRASE and secret is None:
            yield slot, normal(given)


def _wrong(given: str, damaged: list[str]) -> QuiesceError:
    message = "what was given opens no slot of the vault"
    is_typo = slots.recovery_secret(given) is None and _LOOKS_LIKE_RECOVERY.fullmatch(given)
    if is_typo:
        message += "; as a recovery key it has a mistake"
    return QuiesceError("WrongKey", "; ".join((message, *damaged)))
