"""Slots: the vault's root key, wrapped for whoever knows a passphrase or the recovery key."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from quiesce.vault.format import document
from quiesce.vault.format.document import hash_of, number, text
from quiesce.vault.format.names import digest
from quiesce.vault.format.sealing import SALT_BYTES, SECRET_BYTES, TAG_BYTES, derived, keyed
from quiesce.vault.keys.holders import RootKey

FORMAT: Final = 1
# RFC 9106 asks for less; what opens a vault by hand once in a while may take a second.
MEMORY_KIB: Final = 512 * 1024
PASSES: Final = 3
LANES: Final = 4
_NONCE: Final = bytes(12)
_CHECK_BYTES: Final = 3
_GROUP: Final = 4
_NAME: Final = re.compile(r"(?:passphrase|recovery)-[0-9a-f]{8}")


class Kind(Enum):
    """What opens a slot."""

    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, no secret
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Slot:
    """The root key as *kind* of secret opens it; *vault_hash* is that of vault.json."""

    name: str
    kind: Kind
    label: str
    vault_hash: bytes
    salt: bytes
    wrapped: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the slot's bytes."""
        value = _value(self)
        return document.encode({**value, "check": digest(document.encode(value)).hex()})


def is_slot(name: str) -> bool:
    """Return whether *name* can be a slot's."""
    return _NAME.fullmatch(name) is not None


def make(
    root: RootKey, secret: bytes, *, name: str, label: str, vault_hash: bytes, salt: bytes
) -> Slot:
    """Return the slot *name* in which *secret*, of the kind that the name says, opens *root*.

    *salt* are 16 random bytes, used once.
    """
    kind = Kind(name.partition("-")[0])
    empty = Slot(name, kind, label, vault_hash, salt, b"")
    wrapped = AESGCM(_key(empty, secret)).encrypt(_NONCE, root.secret, _bound(empty))
    return Slot(name, kind, label, vault_hash, salt, wrapped)


def parse(raw: bytes, name: str) -> Slot:
    """Return the slot *name* in *raw*, which may be hostile. Raises ValueError."""
    value = document.decode_canonical(raw)
    if number(value.get("format")) != FORMAT:
        # Anybody can put one there: no reason to stop who opens another.
        raise ValueError(f"it has the unknown format {value.get('format')!r:.100}")
    check = hash_of(value.pop("check", None))
    if check != digest(document.encode(value)):
        raise ValueError("it fails its checksum")
    slot = Slot(
        name,
        Kind(value.get("kind")),
        text(value.get("label")),
        hash_of(value.get("vault")),
        document.hexadecimal(value.get("salt"), SALT_BYTES),
        document.hexadecimal(value.get("wrapped"), SECRET_BYTES + TAG_BYTES),
    )
    if value != _value(slot):
        # Whoever could choose the work could make it too little, or more than a machine has.
        raise ValueError("it asks for another derivation than this version's")
    return slot


def unwrap(slot: Slot, secret: bytes) -> RootKey | None:
    """Return the root key that *secret* opens *slot* to, None where it does not."""
    try:
        return RootKey(AESGCM(_key(slot, secret)).decrypt(_NONCE, slot.wrapped, _bound(slot)))
    except InvalidTag:
        return None


def recovery_text(secret: bytes) -> str:
    """Return the recovery key *secret* to print: 14 groups of 4 letters and digits."""
    raw = secret + digest(secret)[:_CHECK_BYTES]
    spelt = base64.b32encode(raw).decode()
    return "-".join(spelt[at : at + _GROUP] for at in range(0, len(spelt), _GROUP))


def recovery_secret(spelt: str) -> bytes | None:
    """Return what *spelt*, as a person types it, says; None where it is no recovery key."""
    letters = re.sub(r"[\s-]", "", spelt).upper()
    try:
        raw = base64.b32decode(letters)
    except (binascii.Error, ValueError):
        return None
    secret, check = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
    return secret if check == digest(secret)[:_CHECK_BYTES] else None


def _value(slot: Slot) -> dict[str, Any]:
    value: dict[str, Any] = {
        "format": FORMAT,
        "kind": slot.kind.value,
        "label": slot.label,
        "vault": slot.vault_hash.hex(),
        "salt": slot.salt.hex(),
        "wrapped": slot.wrapped.hex(),
    }
    if slot.kind is Kind.PASSPHRASE:
        value["argon2id"] = {"memory_kib": MEMORY_KIB, "passes": PASSES, "lanes": LANES}
    return value


def _bound(slot: Slot) -> bytes:
    return f"quiesce slot {slot.kind.value} ".encode() + slot.vault_hash


def _key(slot: Slot, secret: bytes) -> bytes:
    if slot.kind is Kind.RECOVERY:
        return keyed(derived("recovery slot", secret), slot.salt)
    return Argon2id(
        salt=slot.salt, length=32, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB
    ).derive(secret)
