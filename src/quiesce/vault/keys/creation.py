"""Make the keys of a new vault."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.vault.format.header import PACK_BYTES, VaultHeader
from quiesce.vault.format.sealing import SALT_BYTES, SECRET_BYTES
from quiesce.vault.keys import records, slots
from quiesce.vault.keys.holders import HostKey, Keys, RootKey
from quiesce.vault.keys.records import HostRecord
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from quiesce.ports import BlobStore
    from quiesce.vault.keys.slots import Kind, Slot

_VAULT_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class NewVault:
    """A vault that is to be: what vault.json says, its root, and the first host's key."""

    head: VaultHeader
    root: RootKey = field(repr=False)
    host: HostKey = field(repr=False)

    @property
    def keys(self) -> Keys:
        """What the first host has: its own key and the keeper's."""
        return Keys(host=self.host, keeper=self.root.keeper)

    def admit_host(self, store: BlobStore, *, label: str) -> None:
        """Put the first host's record into *store*, durably."""
        admit(store, self.head.vault_id, self.root, self.host, label=label)


def new_vault(*, pack_bytes: int = PACK_BYTES) -> NewVault:
    """Return a new vault with new keys; nothing is stored."""
    root = RootKey(os.urandom(SECRET_BYTES))
    head = VaultHeader(os.urandom(_VAULT_ID_BYTES), pack_bytes, root.public_keys)
    return NewVault(head, root, new_host())


def plain_vault() -> VaultHeader:
    """Return what vault.json says of a new vault without encryption."""
    return VaultHeader(os.urandom(_VAULT_ID_BYTES))


def new_host() -> HostKey:
    """Return a new host's key."""
    return HostKey(os.urandom(SECRET_BYTES))


def add_slot(
    store: BlobStore, root: RootKey, secret: bytes, *, kind: Kind, label: str, vault_hash: bytes
) -> Slot:
    """Put a slot in which *secret* opens *root* into *store*, durably, and return it."""
    slot = slots.make(
        root,
        secret,
        name=f"{kind.value}-{secrets.token_hex(4)}",
        label=label,
        vault_hash=vault_hash,
        salt=os.urandom(SALT_BYTES),
    )
    upload(store, records.KEYS_PREFIX + slot.name, slot.encode())
    return slot


def admit(
    store: BlobStore, vault_id: bytes, root: RootKey, host: HostKey, *, label: str
) -> HostRecord:
    """Put the record of *host* into *store*, durably, and return it."""
    record = HostRecord(label, host.public, host.signer)
    upload(store, record.name, record.encode(vault_id, root.keeper.sign))
    return record


def new_recovery_secret() -> bytes:
    """Return what a new recovery key is made of."""
    return os.urandom(SECRET_BYTES)
