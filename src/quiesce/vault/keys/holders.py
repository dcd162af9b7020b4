"""Who holds keys of a vault: the root, its keeper, its hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from quiesce.vault.format.header import PublicKeys
from quiesce.vault.format.sealing import derived, keyed

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = "root"
KEEPER: Final = "keeper"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_ID_BYTES: Final = 8


def sealed_for(public_key: bytes, plain: bytes, info: bytes) -> bytes:
    """Return *plain* as only the holder of *public_key* can read it, for the purpose *info*."""
    return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public_key), info)


def _opened(private_key: X25519PrivateKey, sealed: bytes, info: bytes) -> bytes:
    try:
        return _SUITE.decrypt(sealed, private_key, info)
    except (InvalidTag, ValueError) as exc:
        raise ValueError("it was not sealed for this key") from exc


@dataclass(frozen=True, slots=True)
class KeeperKey:
    """The key of maintenance: what takes something away from a vault is signed with it."""

    secret: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """Its public half."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of *data*."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(data)


@dataclass(frozen=True, slots=True)
class RootKey:
    """The vault's root: it opens everything, and every other key of the keeper comes from it."""

    secret: bytes = field(repr=False)

    @property
    def keeper(self) -> KeeperKey:
        """The key of maintenance."""
        return KeeperKey(derived("keeper", self.secret))

    @property
    def public_keys(self) -> PublicKeys:
        """What vault.json says of it."""
        return PublicKeys(self._private.public_key().public_bytes_raw(), self.keeper.public)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed for the root. Raises ValueError."""
        return _opened(self._private, sealed, info)

    @property
    def _private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(derived("root", self.secret))


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key of one host, which opens the domains of the machines that it backs up."""

    secret: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """What is sealed for the host with (X25519)."""
        return self._private.public_key().public_bytes_raw()

    @property
    def signer(self) -> bytes:
        """What its signatures are checked with (Ed25519)."""
        return self._signing.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """The host's name in the vault."""
        return host_id(self.public, self.signer)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed for the host. Raises ValueError."""
        return _opened(self._private, sealed, info)

    def sign(self, data: bytes) -> bytes:
        """Return the host's signature of *data*."""
        return self._signing.sign(data)

    @property
    def _private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(derived("host", self.secret))

    @property
    def _signing(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(derived("host signature", self.secret))


def host_id(public: bytes, signer: bytes) -> str:
    """Return the id of the host with these public keys: 16 hexadecimal digits."""
    return keyed(derived("host id", public), signer)[:_ID_BYTES].hex()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that somebody has of a vault; without any it can still be folded."""

    host: HostKey | None = None
    keeper: KeeperKey | None = None
    root: RootKey | None = None

    @property
    def are_any(self) -> bool:
        """Whether there is a key."""
        return (self.host, self.keeper, self.root) != (None, None, None)

    @property
    def openers(self) -> tuple[tuple[str, Callable[[bytes, bytes], bytes]], ...]:
        """Who these keys are, with what opens what was sealed for them."""
        host = () if self.host is None else ((self.host.id, self.host.open),)
        root = () if self.root is None else ((ROOT, self.root.open),)
        return host + root
