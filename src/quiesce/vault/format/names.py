"""Names in the store: domains, log entries, packs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from quiesce.errors import QuiesceError

VAULT_NAME: Final = "vault.json"
DOMAINS_PREFIX: Final = "domains/"
SCRUB_PREFIX: Final = "scrub/"
DATA: Final = "d"
META: Final = "m"

_MAX_DOMAIN_LENGTH: Final = 64
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_ESCAPED: Final = re.compile(r"(?:%[0-9A-F]{2}|[a-z0-9._-])+")
_SID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_PACK: Final = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})/([dm])-([0-9a-f]{64})")


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the unkeyed BLAKE3 hash of *data*, 32 bytes."""
    return blake3(data).digest()


def is_sid(text: object) -> bool:
    """Return whether *text* has the form of a session id."""
    return isinstance(text, str) and _SID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class PackName:
    """The name of a pack inside its domain: the session that wrote it, its kind, its hash."""

    sid: str
    kind: str
    digest: bytes

    @property
    def text(self) -> str:
        """The name as the log has it: `SID/KIND-HASH`."""
        return f"{self.sid}/{self.kind}-{self.digest.hex()}"


def parse_pack(text: object) -> PackName:
    """Return the pack that *text* names. Raises ValueError where it is no pack's name."""
    match = _PACK.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"not a pack's name: {text!r:.100}")
    return PackName(match[1], match[2], bytes.fromhex(match[3]))


def domain_of(machine: str) -> str:
    """Return the domain of *machine*: its name, percent-encoded outside `[a-z0-9._-]`.

    Raises QuiesceError IncorrectSettings for an empty name and for one longer than 64 bytes then.
    """
    encoded = "".join(
        chr(byte) if byte in _PLAIN and not (position == 0 and byte == ord(".")) else f"%{byte:02X}"
        for position, byte in enumerate(machine.encode("utf-8", "surrogateescape"))
    )
    if not 1 <= len(encoded) <= _MAX_DOMAIN_LENGTH:
        raise QuiesceError(
            "IncorrectSettings",
            f"the machine name {machine!r:.100} is empty or too long for the vault",
            action=f"give the machine a name of at most {_MAX_DOMAIN_LENGTH} bytes",
        )
    return encoded


def is_domain(text: str) -> bool:
    """Return whether *text* can be a domain's name."""
    return (
        len(text) <= _MAX_DOMAIN_LENGTH
        and not text.startswith(".")
        and _ESCAPED.fullmatch(text) is not None
    )


def log_prefix(domain: str) -> str:
    """Return what the names of the log's entries begin with."""
    return f"{DOMAINS_PREFIX}{domain}/log/"


def log_name(domain: str, number: int) -> str:
    """Return the name of entry *number* of the log."""
    return f"{log_prefix(domain)}{number:012d}"


def packs_prefix(domain: str, sid: str) -> str:
    """Return what the names of the packs of session *sid* begin with."""
    return f"{DOMAINS_PREFIX}{domain}/packs/{sid}/"


def ledger_prefix(domain: str) -> str:
    """Return what the names of the records of the domain's scrubs begin with."""
    return f"{SCRUB_PREFIX}{domain}/"


def pack_name(domain: str, pack: PackName) -> str:
    """Return the name of *pack* in the store."""
    return f"{DOMAINS_PREFIX}{domain}/packs/{pack.text}"
