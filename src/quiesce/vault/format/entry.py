"""Entries of a domain's log: canonical JSON, chained by hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.point import PointSummary
from quiesce.vault.format import document
from quiesce.vault.format.body import (
    Abort,
    Body,
    Forget,
    Hold,
    Open,
    PackChange,
    Proof,
    Purge,
    Recall,
    Repack,
    Snapshot,
    Unhold,
    parser_of,
    to_json,
)
from quiesce.vault.format.document import hash_of, hexadecimal, number, sequence, text
from quiesce.vault.format.manifest import disk_from_json, disk_to_json
from quiesce.vault.format.names import digest

if TYPE_CHECKING:
    from quiesce.vault.format.sealing import DomainKeys

__all__ = [
    "MAX_ENTRY_BYTES",
    "Abort",
    "Author",
    "Body",
    "Entry",
    "Forget",
    "Hold",
    "Open",
    "PackChange",
    "Proof",
    "Purge",
    "Recall",
    "Repack",
    "Seal",
    "Snapshot",
    "Unhold",
    "encode",
    "genesis",
    "parse",
    "point_of",
    "summary_of",
]

FORMAT: Final = 1
MAX_ENTRY_BYTES: Final = 64 * 1024 * 1024
_SIGNATURE_BYTES: Final = 64
_VOUCHING: Final = ("key", "mac", "signature")


@dataclass(frozen=True, slots=True)
class Seal:
    """Who vouches for an entry: *mac* a holder of the key's *generation*, *signature* the keeper.

    *signed* and *authenticated* are the bytes that they are of.
    """

    generation: int | None
    mac: bytes | None
    signature: bytes | None
    signed: bytes
    authenticated: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its number, the hash of the one before, an id of its own, and what it says.

    *seal* is there in vaults with encryption.
    """

    number: int
    prev: bytes
    entry_id: str
    body: Body
    seal: Seal | None = None


class Author(Protocol):
    """Vouches for entries of one domain."""

    @property
    def generation(self) -> int | None:
        """The generation of the key of `mac`, None where there is none."""

    def mac(self, data: bytes) -> bytes | None:
        """Return what proves that *data* is of a holder of the key; None: it is not held."""

    def sign(self, data: bytes) -> bytes | None:
        """Return the keeper's signature of *data*, None where there is none to give."""


def genesis(vault_id: bytes, domain: str) -> bytes:
    """Return what the first entry of a domain's log names as the hash before it."""
    return digest(vault_id + domain.encode("ascii"))


def encode(entry: Entry, author: Author | None = None) -> bytes:
    """Return the bytes of *entry*, for which *author* vouches where there is encryption.

    Raises ValueError where it is too large to be read back.
    """
    value = {
        "format": FORMAT,
        "n": entry.number,
        "prev": entry.prev.hex(),
        "id": entry.entry_id,
        **to_json(entry.body),
    }
    if author is not None:
        _vouch(value, author)
    raw = document.encode(value)
    if len(raw) > MAX_ENTRY_BYTES:
        raise ValueError(f"the log entry has {len(raw)} bytes, more than {MAX_ENTRY_BYTES}")
    return raw


def parse(raw: bytes) -> Entry:
    """Return the entry in *raw*, which may be hostile.

    Raises ValueError where it is none (it is void then, for every reader), QuiesceError
    VaultUnsupported where it is of a format or a type that this version does not know.
    """
    value = document.decode_canonical(raw)
    if number(value.get("format")) != FORMAT:
        raise QuiesceError(
            "VaultUnsupported", f"a log entry has the unknown format {value.get('format')!r:.100}"
        )
    seal = _seal(value)
    common = {key: value.pop(key, None) for key in ("format", "n", "prev", "id", "type")}
    kind = text(common["type"])
    parse_body = parser_of(kind)
    if parse_body is None:
        raise QuiesceError("VaultUnsupported", f"a log entry has the unknown type {kind!r:.100}")
    return Entry(
        number(common["n"]),
        hash_of(common["prev"]),
        text(common["id"]),
        parse_body(value),
        seal,
    )


def summary_of(point: PointSummary) -> dict[str, Any]:
    """Return what a snapshot entry says of *point* beside its id and state."""
    return {
        "machine": point.machine,
        "created_at": point.created_at,
        "consistency": point.consistency.value,
        "outcome": point.outcome.value,
        "logical_bytes": point.logical_bytes,
        "new_bytes": point.new_bytes,
        "disks": [disk_to_json(disk) for disk in point.disks],
    }


def point_of(snapshot: Snapshot, state: str, keys: DomainKeys) -> PointSummary:
    """Return the point that *snapshot* made. Raises ValueError where its summary is none."""
    summary = keys.open_summary(snapshot.sid, snapshot.summary)
    return PointSummary(
        id=snapshot.sid,
        machine=text(summary.get("machine")),
        created_at=text(summary.get("created_at")),
        consistency=ConsistencyLevel(summary.get("consistency")),
        outcome=Outcome(summary.get("outcome")),
        logical_bytes=number(summary.get("logical_bytes")),
        new_bytes=number(summary.get("new_bytes")),
        disks=tuple(disk_from_json(disk) for disk in sequence(summary.get("disks"))),
        state=state,
    )


def _vouch(value: dict[str, Any], author: Author) -> None:
    if author.generation is not None:
        value["key"] = author.generation
    signature = author.sign(document.encode(value))
    if signature is not None:
        value["signature"] = signature.hex()
    mac = author.mac(document.encode(value))
    if mac is not None:
        value["mac"] = mac.hex()


def _seal(value: dict[str, Any]) -> Seal | None:
    """Take out of an entry what vouches for it."""
    if value.keys().isdisjoint(_VOUCHING):
        return None
    mac = value.pop("mac", None)
    authenticated = document.encode(value)
    signature = value.pop("signature", None)
    signed = authenticated if signature is None else document.encode(value)
    generation = value.pop("key", None)
    return Seal(
        None if generation is None else number(generation),
        None if mac is None else hash_of(mac),
        None if signature is None else hexadecimal(signature, _SIGNATURE_BYTES),
        signed,
        authenticated,
    )
