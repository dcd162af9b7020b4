"""Entries of a domain's log: canonical JSON, chained by hash."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.point import PointSummary
from quiesce.vault.format import document
from quiesce.vault.format.document import hash_of, mapping, number, sequence, text
from quiesce.vault.format.manifest import (
    disk_from_json,
    disk_to_json,
    ref_from_json,
    ref_to_json,
)
from quiesce.vault.format.names import PackName, digest, is_sid, parse_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.vault.format.map import Ref

FORMAT: Final = 1
MAX_ENTRY_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Open:
    """A session begins: *adopts* names an interrupted one that it goes on with."""

    sid: str
    machine: str
    uuid: str
    base: str | None = None
    adopts: str | None = None


@dataclass(frozen=True, slots=True)
class PackChange:
    """A list of packs, as a difference to that of the point *base*; None: to the empty list."""

    base: str | None
    add: frozenset[PackName]
    drop: frozenset[PackName] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A recovery point exists; *summary* is what listing shows, without its id and state."""

    sid: str
    packs: PackChange
    manifest: Ref
    summary: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Abort:
    """A session ends without a point."""

    sid: str


Body: TypeAlias = Open | Snapshot | Abort


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
            **_body_to_json(entry.body),
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
    if kind not in _PARSERS:
        raise QuiesceError("VaultUnsupported", f"a log entry has the unknown type {kind!r:.100}")
    return Entry(
        number(common["n"]),
        hash_of(common["prev"]),
        text(common["id"]),
        _PARSERS[kind](value),
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


def _body_to_json(body: Body) -> dict[str, Any]:
    if isinstance(body, Open):
        return {
            "type": "open",
            "sid": body.sid,
            "machine": body.machine,
            "uuid": body.uuid,
            "base": body.base,
            "adopts": body.adopts,
        }
    if isinstance(body, Abort):
        return {"type": "abort", "sid": body.sid}
    return {
        "type": "snapshot",
        "sid": body.sid,
        "packs": {
            "base": body.packs.base,
            "add": sorted(pack.text for pack in body.packs.add),
            "drop": sorted(pack.text for pack in body.packs.drop),
        },
        "manifest": ref_to_json(body.manifest),
        "summary": body.summary,
    }


def _parse_open(value: dict[str, Any]) -> Open:
    _only(value, "sid", "machine", "uuid", "base", "adopts")
    return Open(
        _sid(value["sid"]),
        text(value["machine"]),
        text(value["uuid"]),
        None if value["base"] is None else _sid(value["base"]),
        None if value["adopts"] is None else _sid(value["adopts"]),
    )


def _parse_abort(value: dict[str, Any]) -> Abort:
    _only(value, "sid")
    return Abort(_sid(value["sid"]))


def _parse_snapshot(value: dict[str, Any]) -> Snapshot:
    _only(value, "sid", "packs", "manifest", "summary")
    packs, summary = mapping(value["packs"]), mapping(value["summary"])
    _only(packs, "base", "add", "drop")
    base = None if packs["base"] is None else _sid(packs["base"])
    change = PackChange(base, _packs(packs["add"]), _packs(packs["drop"]))
    return Snapshot(_sid(value["sid"]), change, ref_from_json(value["manifest"]), summary)


_PARSERS: Final[Mapping[str, Callable[[dict[str, Any]], Body]]] = {
    "open": _parse_open,
    "abort": _parse_abort,
    "snapshot": _parse_snapshot,
}


def _only(value: dict[str, Any], *keys: str) -> None:
    if set(value) != set(keys):
        raise ValueError(f"the keys are not {', '.join(keys)}")


def _sid(value: Any) -> str:
    if not is_sid(value):
        raise ValueError(f"not a session's id: {value!r:.100}")
    return str(value)


def _packs(value: Any) -> frozenset[PackName]:
    return frozenset(parse_pack(name) for name in sequence(value))
