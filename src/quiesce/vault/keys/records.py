"""Signed records of keys in the store: hosts, and the keys of domains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from quiesce.errors import QuiesceError
from quiesce.vault.format import document
from quiesce.vault.format.document import hash_of, mapping, number, text
from quiesce.vault.format.sealing import is_signature
from quiesce.vault.keys.holders import KEEPER, ROOT, host_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT: Final = 1
MAX_RECORD_BYTES: Final = 1024 * 1024
KEYS_PREFIX: Final = "keys/"
_HOST_PREFIX: Final = "host-"
_HOST_ID: Final = re.compile("[0-9a-f]{16}")
_GENERATION: Final = re.compile(r"([0-9]{6})(?:\.(root|[0-9a-f]{16}))?")
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_SEALED_BYTES: Final = 32 + 64 + 16  # encapsulated key, two secrets, tag


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host that the keeper has admitted to the vault."""

    label: str
    public: bytes
    signer: bytes

    @property
    def id(self) -> str:
        """The host's name in the vault."""
        return host_id(self.public, self.signer)

    @property
    def name(self) -> str:
        """The record's name in the store."""
        return f"{KEYS_PREFIX}{_HOST_PREFIX}{self.id}"

    def encode(self, vault_id: bytes, sign: Callable[[bytes], bytes]) -> bytes:
        """Return the record's bytes, signed."""
        value = {
            "format": FORMAT,
            "kind": "host",
            "label": self.label,
            "public": self.public.hex(),
            "signer": self.signer.hex(),
        }
        return _signed(value, vault_id, sign)


def parse_host(raw: bytes, vault_id: bytes, keeper: bytes) -> HostRecord:
    """Return the record in *raw*, which may be hostile.

    Raises ValueError unless *keeper* signed it, QuiesceError VaultUnsupported where it did and this
    version does not know the format.
    """
    value = _verified(raw, vault_id, lambda _: keeper, keeper)
    if value.get("kind") != "host":
        raise ValueError("not a host's record")
    return HostRecord(
        text(value.get("label")), hash_of(value.get("public")), hash_of(value.get("signer"))
    )


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """One generation of a domain's key, sealed for some *recipients*.

    *commitment* is the same in all records of a generation. *signer* is the keeper, or for a first
    generation the host that minted it.
    """

    domain: str
    generation: int
    commitment: bytes
    recipients: Mapping[str, bytes]
    signer: str

    def encode(self, vault_id: bytes, sign: Callable[[bytes], bytes]) -> bytes:
        """Return the record's bytes, signed."""
        value = {
            "format": FORMAT,
            "kind": "domain",
            "domain": self.domain,
            "generation": self.generation,
            "commitment": self.commitment.hex(),
            "recipients": {name: sealed.hex() for name, sealed in self.recipients.items()},
            "signer": self.signer,
        }
        return _signed(value, vault_id, sign)


def parse_domain(
    raw: bytes, vault_id: bytes, signer_of: Callable[[str], bytes | None]
) -> DomainRecord:
    """Return the record in *raw*, which may be hostile; *signer_of* knows who may sign.

    Raises ValueError unless one of those has signed it who may, QuiesceError VaultUnsupported where
    the keeper has and this version does not know the format.
    """

    def public_key_of(value: Mapping[str, Any]) -> bytes | None:
        signer = text(value.get("signer"))
        # Else a host that is out, and whoever lends it the store, could give the domain a new key.
        if signer != KEEPER and number(value.get("generation")) != 1:
            return None
        return signer_of(signer)

    value = _verified(raw, vault_id, public_key_of, signer_of(KEEPER))
    if value.get("kind") != "domain":
        raise ValueError("not the record of a domain's key")
    recipients = {
        name: document.hexadecimal(sealed, _SEALED_BYTES)
        for name, sealed in mapping(value.get("recipients")).items()
        if name == ROOT or is_host_id(name)
    }
    return DomainRecord(
        text(value.get("domain")),
        number(value.get("generation")),
        hash_of(value.get("commitment")),
        recipients,
        text(value.get("signer")),
    )


def is_host_id(name: str) -> bool:
    """Return whether *name* can be a host's."""
    return _HOST_ID.fullmatch(name) is not None


def host_of(name: str) -> str | None:
    """Return the host whose record is called *name*, None where it is none."""
    rest = name.removeprefix(KEYS_PREFIX + _HOST_PREFIX)
    return rest if is_host_id(rest) else None


def domain_keys_prefix(domain: str) -> str:
    """Return what the names of the records of a domain's keys begin with."""
    return f"domains/{domain}/keys/"


def domain_key_name(domain: str, generation: int, recipient: str | None = None) -> str:
    """Return the name of a generation's record: the first, or the keeper's for one *recipient*."""
    suffix = "" if recipient is None else f".{recipient}"
    return f"{domain_keys_prefix(domain)}{generation:06d}{suffix}"


def parse_domain_key_name(rest: str) -> tuple[int, str | None] | None:
    """Return generation and recipient of a record's name without its prefix; None: it is none."""
    match = _GENERATION.fullmatch(rest)
    return None if match is None else (int(match[1]), match[2])


def wrap_info(vault_id: bytes, domain: str, generation: int, recipient: str) -> bytes:
    """Return what the sealing of a domain's key for *recipient* is bound to."""
    bound = f"quiesce domain key {domain} {generation} {recipient} ".encode()
    return bound + vault_id


def _to_sign(value: Mapping[str, Any], vault_id: bytes) -> bytes:
    return b"quiesce key record\x00" + vault_id + document.encode(value)


def _signed(value: dict[str, Any], vault_id: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    signature = sign(_to_sign(value, vault_id))
    return document.encode({**value, "signature": signature.hex()})


def _verified(
    raw: bytes,
    vault_id: bytes,
    public_key_of: Callable[[Mapping[str, Any]], bytes | None],
    keeper: bytes | None,
) -> dict[str, Any]:
    value = document.decode_canonical(raw)
    signature = document.hexadecimal(value.pop("signature", None), _SIGNATURE_BYTES)
    is_known = number(value.get("format")) == FORMAT
    # What anybody can put there must not stop those who read the others.
    public_key = public_key_of(value) if is_known else keeper
    if public_key is None:
        raise ValueError("it is signed by nobody who may")
    key = Ed25519PublicKey.from_public_bytes(public_key)
    if not is_signature(key, signature, _to_sign(value, vault_id)):
        raise ValueError("its signature is wrong")
    if not is_known:
        raise QuiesceError("VaultUnsupported", f"a key has the unknown format {value['format']}")
    return value
