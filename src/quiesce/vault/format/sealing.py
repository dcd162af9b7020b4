"""Sealing: how a domain's chunks, summaries and entries are kept secret, and proven."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quiesce.errors import QuiesceError
from quiesce.vault.format import document
from quiesce.vault.format.names import DATA, META, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.vault.format.entry import Seal

    Plain: TypeAlias = bytes | bytearray | memoryview

SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 12
_CONTEXT: Final = "quiesce vault 1 "
_SUMMARY_KEYS: Final = {"key", "sealed"}


def derived(purpose: str, secret: bytes) -> bytes:
    """Return the 32 bytes that BLAKE3 derives from *secret* for *purpose*."""
    return blake3(secret, derive_key_context=_CONTEXT + purpose).digest()


def keyed(key: bytes, data: Plain) -> bytes:
    """Return the keyed BLAKE3 hash of *data*, 32 bytes."""
    return blake3(data, key=key).digest()


class PackSeal(Protocol):
    """How the chunks of one pack are sealed; several threads may use it at once."""

    @property
    def generation(self) -> int:
        """The generation of the domain's keys, 0 without encryption."""

    @property
    def salt(self) -> bytes:
        """What the pack's key is derived with, zeros without encryption."""

    @property
    def tag_bytes(self) -> int:
        """How much longer what is sealed is."""

    def seal_into(self, frame: bytes, stored: Plain, target: memoryview) -> None:
        """Write what stands behind *frame* for *stored* to *target*; a slot is sealed once."""

    def open(self, frame: bytes, sealed: Plain) -> Plain:
        """Return what was sealed behind *frame*. Raises ValueError where it is not that."""


class PlainPack:
    """A pack without encryption."""

    generation: Final = 0
    salt: Final = bytes(SALT_BYTES)
    tag_bytes: Final = 0

    def seal_into(self, frame: bytes, stored: Plain, target: memoryview) -> None:
        """Write *stored* to *target*."""
        del frame
        target[:] = stored

    def open(self, frame: bytes, sealed: Plain) -> Plain:
        """Return *sealed*."""
        del frame
        return sealed


class SealedPack:
    """A pack with a key of its own; the nonce is the slot, so each is used once."""

    tag_bytes: Final = TAG_BYTES

    def __init__(self, key: bytes, vault_id: bytes, generation: int, salt: bytes) -> None:
        self.generation = generation
        self.salt = salt
        self._bound = vault_id + salt
        self._cipher = AESGCM(key)

    def seal_into(self, frame: bytes, stored: Plain, target: memoryview) -> None:
        """Write ciphertext and tag of *stored* to *target*, bound to vault, pack and *frame*."""
        self._cipher.encrypt_into(_nonce(frame), stored, self._bound + frame, target)

    def open(self, frame: bytes, sealed: Plain) -> bytes:
        """See `PackSeal`."""
        try:
            return self._cipher.decrypt(_nonce(frame), sealed, self._bound + frame)
        except InvalidTag:
            raise ValueError("it is not what was sealed there") from None


class DomainKeys(Protocol):
    """What makes the content of one domain readable; several threads may use it at once."""

    @property
    def is_sealed(self) -> bool:
        """Whether there is encryption at all."""

    @property
    def current(self) -> int:
        """The generation to write with."""

    def chunk_id(self, plain: Plain) -> bytes:
        """Return the id under which *plain* is stored today."""

    def is_id(self, chunk_id: bytes, plain: Plain) -> bool:
        """Return whether *chunk_id* is the id of *plain*, in any generation."""

    def pack(self, kind: str, generation: int, salt: bytes) -> PackSeal:
        """Return how a pack is sealed.

        Raises ValueError where it cannot be one of this vault, QuiesceError VaultLocked where
        its generation is not among these keys.
        """

    def seal_summary(self, sid: str, summary: Mapping[str, Any], nonce: bytes) -> Mapping[str, Any]:
        """Return *summary* as the log entry of *sid* has it; *nonce* is 12 random bytes."""

    def open_summary(self, sid: str, summary: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what `seal_summary` sealed. Raises ValueError where it is not that."""

    def mac(self, generation: int, data: bytes) -> bytes | None:
        """Return what proves that *data* is of a holder, None where the key is not there."""


class PlainKeys:
    """The keys of a vault without encryption: there are none."""

    is_sealed: Final = False
    current: Final = 0

    def chunk_id(self, plain: Plain) -> bytes:
        """See `DomainKeys`."""
        return digest(plain)

    def is_id(self, chunk_id: bytes, plain: Plain) -> bool:
        """See `DomainKeys`."""
        return digest(plain) == chunk_id

    def pack(self, kind: str, generation: int, salt: bytes) -> PlainPack:
        """See `DomainKeys`."""
        del kind
        if generation or any(salt):
            raise ValueError("an encrypted pack in a vault without encryption")
        return PlainPack()

    def seal_summary(self, sid: str, summary: Mapping[str, Any], nonce: bytes) -> Mapping[str, Any]:
        """See `DomainKeys`."""
        del sid, nonce
        return summary

    def open_summary(self, sid: str, summary: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `DomainKeys`."""
        del sid
        return summary

    def mac(self, generation: int, data: bytes) -> bytes | None:
        """See `DomainKeys`."""
        del generation, data
        return None


@dataclass(frozen=True, slots=True)
class DomainSecret:
    """The secrets of one generation: ids are made with *ids*, everything else with *data*."""

    data: bytes = field(repr=False)
    ids: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """What tells this generation from any other, and tells nothing else of it."""
        return derived("commitment", self.data + self.ids)


class SealedKeys:
    """The keys of a domain by generation, at least one; the last one writes."""

    is_sealed: Final = True

    def __init__(self, vault_id: bytes, secrets: Mapping[int, DomainSecret]) -> None:
        self._vault_id = vault_id
        self.current = max(secrets)
        self._packs = {
            (kind, generation): derived(f"packs {kind}", secret.data)
            for generation, secret in secrets.items()
            for kind in (DATA, META)
        }
        self._log = {gen: derived("log", secret.data) for gen, secret in secrets.items()}
        self._summaries = {
            gen: derived("summaries", secret.data) for gen, secret in secrets.items()
        }
        self._id_key = derived("ids", secrets[self.current].ids)
        self._id_keys = {derived("ids", secret.ids) for secret in secrets.values()}

    def chunk_id(self, plain: Plain) -> bytes:
        """See `DomainKeys`."""
        return keyed(self._id_key, plain)

    def is_id(self, chunk_id: bytes, plain: Plain) -> bool:
        """See `DomainKeys`."""
        if self.chunk_id(plain) == chunk_id:
            return True
        others = self._id_keys - {self._id_key}
        return any(keyed(key, plain) == chunk_id for key in others)

    def pack(self, kind: str, generation: int, salt: bytes) -> SealedPack:
        """See `DomainKeys`."""
        key = self._packs.get((kind, generation))
        if generation == 0:
            raise ValueError("a pack without encryption in an encrypted vault")
        if key is None:
            raise QuiesceError(
                "VaultLocked", f"generation {generation} of the domain's key is not known here"
            )
        return SealedPack(keyed(key, salt), self._vault_id, generation, salt)

    def seal_summary(self, sid: str, summary: Mapping[str, Any], nonce: bytes) -> Mapping[str, Any]:
        """See `DomainKeys`."""
        cipher = AESGCM(keyed(self._summaries[self.current], sid.encode()))
        sealed = nonce + cipher.encrypt(nonce, document.encode(summary), self._vault_id)
        return {"key": self.current, "sealed": base64.b64encode(sealed).decode()}

    def open_summary(self, sid: str, summary: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `DomainKeys`."""
        if summary.keys() != _SUMMARY_KEYS:
            raise ValueError("the summary is not sealed")
        key = self._summaries.get(document.number(summary["key"]))
        if key is None:
            raise ValueError("the summary is sealed with an unknown key")
        try:
            sealed = base64.b64decode(document.long_text(summary["sealed"]), validate=True)
            plain = AESGCM(keyed(key, sid.encode())).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._vault_id
            )
        except (InvalidTag, binascii.Error):
            raise ValueError("the summary is not what was sealed") from None
        return document.decode(plain)

    def mac(self, generation: int, data: bytes) -> bytes | None:
        """See `DomainKeys`."""
        key = self._log.get(generation)
        return None if key is None else keyed(key, data)


def signed_bytes(vault_id: bytes, domain: str, data: bytes) -> bytes:
    """Return what the signature of a log entry in *domain* signs, of the entry's *data*."""
    return b"quiesce log entry\x00" + vault_id + domain.encode() + b"\x00" + data


def signature_check(public_key: bytes, vault_id: bytes, domain: str) -> Callable[[Seal], bool]:
    """Return what tells whether an entry of *domain* has a right signature."""
    key = Ed25519PublicKey.from_public_bytes(public_key)

    def is_signed(seal: Seal) -> bool:
        if seal.signature is None:
            return False
        return is_signature(key, seal.signature, signed_bytes(vault_id, domain, seal.signed))

    return is_signed


def is_signature(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Return whether *signature* is that of *data* by *key*."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _nonce(frame: bytes) -> bytes:
    return bytes(8) + frame[4:8]
