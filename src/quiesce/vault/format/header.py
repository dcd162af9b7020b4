"""vault.json: what the vault is, and what a program must know to use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import document
from quiesce.vault.format.names import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
CHUNK_BYTES: Final = 256 * 1024
PACK_BYTES: Final = 32 * 1024 * 1024
MAX_PACK_BYTES: Final = 64 * 1024 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024

UNENCRYPTED: Final = "unencrypted"
ENCRYPTED: Final = "encrypted"
_KNOWN: Final = (UNENCRYPTED, ENCRYPTED)
_KEY_BYTES: Final = 32
_VAULT_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What anybody may know of an encrypted vault's keys.

    Whatever only the *root* shall read is sealed for it (X25519); what the *keeper* decides is
    signed with its key (Ed25519).
    """

    root: bytes
    keeper: bytes


@dataclass(frozen=True, slots=True)
class VaultHeader:
    """The vault's identity; hosts pin the hash of its encoding. *public_keys*: it is encrypted.

    Packs are sealed at *pack_bytes*. *unknown_to_write* and *unknown_to_maintain* are features that
    a writer and whoever deletes must know, and this version does not.
    """

    vault_id: bytes
    pack_bytes: int = PACK_BYTES
    public_keys: PublicKeys | None = None
    unknown_to_write: tuple[str, ...] = ()
    unknown_to_maintain: tuple[str, ...] = ()
    raw: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def hash(self) -> bytes:
        """The hash of vault.json as it was read, or would be written."""
        return digest(self.encode() if self.raw is None else self.raw)

    def require_writable(self) -> None:
        """Raise QuiesceError VaultUnsupported where writing needs a feature unknown here."""
        for name in self.unknown_to_write:
            raise QuiesceError(
                "VaultUnsupported", f"writing to the vault needs the unknown feature {name!r}"
            )

    def require_maintainable(self) -> None:
        """Raise QuiesceError VaultUnsupported where maintenance needs a feature unknown here."""
        for name in self.unknown_to_maintain:
            raise QuiesceError(
                "VaultUnsupported", f"care of the vault needs the unknown feature {name!r}"
            )

    def encode(self) -> bytes:
        """Return the content of vault.json."""
        keys = self.public_keys
        feature = UNENCRYPTED if keys is None else ENCRYPTED
        return document.encode(
            {
                "format": FORMAT,
                "vault_id": self.vault_id.hex(),
                "chunk_bytes": CHUNK_BYTES,
                "pack_bytes": self.pack_bytes,
                "features": {use: [feature] for use in ("read", "write", "maintain")},
                "public_keys": (
                    {} if keys is None else {"root": keys.root.hex(), "keeper": keys.keeper.hex()}
                ),
            }
        )


def parse(raw: bytes) -> VaultHeader:
    """Return the header in *raw*.

    Raises ValueError where *raw* is no vault.json, QuiesceError VaultUnsupported where it asks for
    something that this version does not know, by name.
    """
    header = document.decode(raw)
    if "format" not in header:
        raise ValueError("no format")
    if header["format"] != FORMAT:
        raise QuiesceError("VaultUnsupported", f"the vault has format {header['format']!r:.100}")
    features = header.get("features")
    unknown = {use: _unknown(features, use) for use in ("read", "write", "maintain")}
    for name in unknown["read"]:
        raise QuiesceError(
            "VaultUnsupported", f"reading the vault needs the unknown feature {name!r}"
        )
    if header.get("chunk_bytes") != CHUNK_BYTES:
        raise QuiesceError(
            "VaultUnsupported", f"the vault has chunks of {header.get('chunk_bytes')!r:.100} bytes"
        )
    vault_id = bytes.fromhex(str(header.get("vault_id")))
    if len(vault_id) != _VAULT_ID_BYTES:
        raise ValueError("the vault id is not 16 bytes")
    pack_bytes = document.number(header.get("pack_bytes"), MAX_PACK_BYTES)
    keys = _public_keys(header, document.mapping(features))
    return VaultHeader(vault_id, pack_bytes, keys, unknown["write"], unknown["maintain"], raw)


def _public_keys(header: Mapping[str, Any], features: Mapping[str, Any]) -> PublicKeys | None:
    said = [name for name in (UNENCRYPTED, ENCRYPTED) if name in features["read"]]
    if len(said) != 1:
        raise ValueError("it does not say whether it is encrypted")
    if said == [UNENCRYPTED]:
        return None
    keys = document.mapping(header.get("public_keys"))
    root, keeper = (document.hexadecimal(keys.get(name), _KEY_BYTES) for name in ("root", "keeper"))
    return PublicKeys(root, keeper)


def _unknown(features: Any, use: str) -> tuple[str, ...]:
    names = features.get(use) if isinstance(features, dict) else None
    if not isinstance(names, list):
        raise ValueError(f"no list of features to {use}")  # noqa: TRY004 - the one error of a parser
    return tuple(str(name)[:100] for name in names if name not in _KNOWN)
