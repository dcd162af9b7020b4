"""vault.json: what the vault is, and what a program must know to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import document

FORMAT: Final = 1
CHUNK_BYTES: Final = 256 * 1024
PACK_BYTES: Final = 32 * 1024 * 1024
MAX_PACK_BYTES: Final = 64 * 1024 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024

UNENCRYPTED: Final = "unencrypted"
_KNOWN: Final = (UNENCRYPTED,)
_VAULT_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class VaultHeader:
    """The vault's identity; hosts may pin the hash of its encoding.

    Packs are sealed at *pack_bytes*. *unknown_to_write* and *unknown_to_maintain* are features that
    a writer and whoever deletes must know, and this version does not.
    """

    vault_id: bytes
    pack_bytes: int = PACK_BYTES
    unknown_to_write: tuple[str, ...] = ()
    unknown_to_maintain: tuple[str, ...] = ()

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
        return document.encode(
            {
                "format": FORMAT,
                "vault_id": self.vault_id.hex(),
                "chunk_bytes": CHUNK_BYTES,
                "pack_bytes": self.pack_bytes,
                "features": {
                    "read": [UNENCRYPTED],
                    "write": [UNENCRYPTED],
                    "maintain": [UNENCRYPTED],
                },
                "public_keys": {},
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
    return VaultHeader(vault_id, pack_bytes, unknown["write"], unknown["maintain"])


def _unknown(features: Any, use: str) -> tuple[str, ...]:
    names = features.get(use) if isinstance(features, dict) else None
    if not isinstance(names, list):
        raise ValueError(f"no list of features to {use}")  # noqa: TRY004 - the one error of a parser
    return tuple(str(name)[:100] for name in names if name not in _KNOWN)
