"""Entries of a domain's log: canonical JSON, chained by hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

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
from quiesce.vault.format.document import hash_of, number, sequence, text
from quiesce.vault.format.manifest import disk_from_json, disk_to_json
from quiesce.vault.format.names import digest

__all__ = [
    "MAX_ENTRY_BYTES",
    "Abort",
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its number, the hash of the one before, an id of its own, and what it says."""

    number: int
    prev: bytes
    entry_id: str
    body: Body


def genesis(vault_id: bytes, domain: str) -> bytes:
    """Return what the first entry of a domain's log names as the hash before it."""
    return digest(vault_id + domain.encode("ascii"))


def encode(entry: Entry) -> bytes:
    """Return the bytes of *entry*. Raises ValueError where it is too large to be read back."""
    raw = document.encode(
        {
            "format": FORMAT,
            "n": entry.number,
            "prev": entry.prev.hex(),
            "id": entry.entry_id,
            **to_json(entry.body),
        }
    )
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


def point_of(snapshot: Snapshot, state: str) -> PointSummary:
    """Return the point that *snapshot* made. Raises ValueError where its summary is none."""
    summary = snapshot.summary
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
