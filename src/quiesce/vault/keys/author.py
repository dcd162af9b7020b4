"""Who writes entries in an encrypted domain: a holder of its key, or the vault's keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format.sealing import signed_bytes

if TYPE_CHECKING:
    from quiesce.vault.format.sealing import DomainKeys
    from quiesce.vault.keys.holders import KeeperKey


class EntryAuthor:
    """Vouches for entries of the domain *name* with what it has; see `format.entry.Author`."""

    def __init__(
        self, vault_id: bytes, name: str, keys: DomainKeys | None, keeper: KeeperKey | None
    ) -> None:
        """Take the domain's *keys*, and the *keeper*'s where the entry is to be signed.

        Raises QuiesceError KeeperKeyMissing where neither is there.
        """
        if keys is None and keeper is None:
            raise QuiesceError("KeeperKeyMissing", f"no key of domain {name} is here")
        self._vault_id = vault_id
        self._name = name
        self._keys = keys
        self._keeper = keeper
        self.generation = None if keys is None else keys.current

    def mac(self, data: bytes) -> bytes | None:
        """See `format.entry.Author`."""
        return None if self._keys is None else self._keys.mac(self._keys.current, data)

    def sign(self, data: bytes) -> bytes | None:
        """See `format.entry.Author`."""
        if self._keeper is None:
            return None
        return self._keeper.sign(signed_bytes(self._vault_id, self._name, data))
