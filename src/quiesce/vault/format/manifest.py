"""The manifest: everything that a recovery point is, beside its chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.disk import Disk
from quiesce.model.point import Evidence
from quiesce.vault.format import document
from quiesce.vault.format.document import hash_of, mapping, number, sequence, text
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.format.names import parse_pack
from quiesce.vault.format.pack import MAX_PLAIN_BYTES, RAW, ZSTD
from quiesce.vault.format.sealing import TAG_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "quiesce.manifest/1"
_MAX_DISKS: Final = 4096
_MAX_BYTES: Final = MAX_PLAIN_BYTES - TAG_BYTES
_DISK_NAME: Final = re.compile(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,199}")


@dataclass(frozen=True, slots=True)
class StoredDisk:
    """A disk of the point and the root of its map; None where the whole disk is zero."""

    disk: Disk
    root: Ref | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One recovery point; *base* is the point whose chunks it was compared with."""

    sid: str
    machine: str
    uuid: str
    created_at: str
    base: str | None
    tool: str
    disks: tuple[StoredDisk, ...]
    evidence: Evidence


def ref_to_json(ref: Ref) -> dict[str, Any]:
    """Return *ref* as manifests and log entries have it."""
    return {
        "id": ref.chunk_id.hex(),
        "pack": ref.place.pack.text,
        "twin": None if ref.place.twin is None else ref.place.twin.hex(),
        "offset": ref.offset,
        "stored": ref.stored_bytes,
        "flags": ref.flags,
    }


def ref_from_json(value: Any) -> Ref:
    """Return the reference in *value*, which may be hostile. Raises ValueError."""
    value = mapping(value)
    twin = value.get("twin")
    place = Place(parse_pack(value.get("pack")), None if twin is None else hash_of(twin))
    flags = number(value.get("flags"), ZSTD)
    stored = number(value.get("stored"), MAX_PLAIN_BYTES)
    offset = number(value.get("offset"), (1 << 32) - 1)
    if flags not in {RAW, ZSTD} or stored == 0:
        raise ValueError("an impossible reference to a chunk")
    return Ref(hash_of(value.get("id")), place, offset, stored, flags)


def encode(manifest: Manifest) -> bytes:
    """Return *manifest* as JSON. Raises ValueError where it is larger than 16 MiB."""
    evidence = manifest.evidence
    raw = document.encode(
        {
            "schema": SCHEMA,
            "sid": manifest.sid,
            "machine": manifest.machine,
            "uuid": manifest.uuid,
            "created_at": manifest.created_at,
            "base": manifest.base,
            "tool": manifest.tool,
            "disks": [
                {**disk_to_json(stored.disk), "root": stored.root and ref_to_json(stored.root)}
                for stored in manifest.disks
            ],
            "evidence": {
                "consistency": evidence.consistency.value,
                "outcome": evidence.outcome.value,
                "report": evidence.report,
                "definition": evidence.definition,
                "times": dict(evidence.times),
                "errors": list(evidence.errors),
                "warnings": list(evidence.warnings),
                "skipped_disks": list(evidence.skipped_disks),
            },
        }
    )
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"the manifest has {len(raw)} bytes, more than {_MAX_BYTES}")
    return raw


def parse(raw: bytes) -> Manifest:
    """Return the manifest in *raw*, which may be hostile. Raises ValueError."""
    value = document.decode(raw)
    if value.get("schema") != SCHEMA:
        raise ValueError(f"the manifest's schema is {value.get('schema')!r:.100}")
    base = value.get("base")
    disks = sequence(value.get("disks"))
    stored = tuple(_stored_disk(disk) for disk in disks[:_MAX_DISKS])
    if len({each.disk.name for each in stored}) != len(disks):
        raise ValueError("too many disks, or two with one name")
    return Manifest(
        sid=text(value.get("sid")),
        machine=text(value.get("machine")),
        uuid=text(value.get("uuid")),
        created_at=text(value.get("created_at")),
        base=None if base is None else text(base),
        tool=text(value.get("tool")),
        disks=stored,
        evidence=_evidence(value.get("evidence")),
    )


def is_disk_name(name: str) -> bool:
    """Return whether *name* can be a disk's, so that files can be called after it."""
    return _DISK_NAME.fullmatch(name) is not None


def disk_to_json(disk: Disk) -> dict[str, Any]:
    """Return *disk* as manifests and summaries have it."""
    return {"name": disk.name, "size_bytes": disk.size_bytes, "serial": disk.serial}


def disk_from_json(value: Any) -> Disk:
    """Return the disk in *value*, which may be hostile. Raises ValueError."""
    value = mapping(value)
    serial, name = value.get("serial"), text(value.get("name"))
    if not is_disk_name(name):
        raise ValueError(f"not a disk's name: {name!r:.100}")
    return Disk(
        name,
        number(value.get("size_bytes")),
        None if serial is None else text(serial),
    )


def _stored_disk(value: Any) -> StoredDisk:
    disk = disk_from_json(value)
    root = value.get("root")
    return StoredDisk(disk, None if root is None else ref_from_json(root))


def _evidence(value: Any) -> Evidence:
    try:
        return Evidence(
            consistency=ConsistencyLevel(value["consistency"]),
            outcome=Outcome(value["outcome"]),
            report=_optional(value["report"]),
            definition=_optional(value["definition"]),
            times={str(key): float(seconds) for key, seconds in value["times"].items()},
            errors=tuple(dict(error) for error in value["errors"]),
            warnings=tuple(str(warning) for warning in value["warnings"]),
            skipped_disks=tuple(dict(skipped) for skipped in value["skipped_disks"]),
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ValueError(f"the manifest's evidence is not complete: {exc!r}") from exc


def _optional(value: Any) -> Mapping[str, Any] | None:
    return None if value is None else dict(value)
