"""A vault with 1,000 points of a 1 TiB machine, without their packs: listing reads the log."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quiesce import wiring
from quiesce.environment import load_environment
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.disk import Disk
from quiesce.model.point import PointSummary
from quiesce.system import ulid
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.format.sealing import NONCE_BYTES

if TYPE_CHECKING:
    from quiesce.vault.domain import Domain

MACHINE: Final = "big"
DISK: Final = Disk("vda", 1 << 40)
POINTS: Final = 1000
NEW_PACKS: Final = 40
FULL_PACKS: Final = 16384


def make(settings: Path, url: str) -> None:
    """Fill the vault at *url*, new and opened with *settings*."""
    vault = wiring.open_vault(load_environment(settings, url))
    # A session that leaves nothing makes the domain and its keys.
    with vault.session(machine=MACHINE, uuid=None, sid=ulid.new()):
        pass
    (domain,) = vault.domains()
    keys = domain.keys_to_write()
    base = None
    for number in range(POINTS):
        sid = ulid.new()
        _append(domain, entries.Open(sid, MACHINE, "00000000-0000-4000-8000-000000000001"))
        count = NEW_PACKS if base else FULL_PACKS
        new = [names.PackName(sid, names.DATA, secrets.token_bytes(32)) for _ in range(count)]
        manifest = names.PackName(sid, names.META, secrets.token_bytes(32))
        summary = keys.seal_summary(
            sid, entries.summary_of(_point(sid, number)), secrets.token_bytes(NONCE_BYTES)
        )
        change = entries.PackChange(base, frozenset((*new, manifest)))
        ref = Ref(bytes(32), Place(manifest), 64, 1000, 1)
        _append(domain, entries.Snapshot(sid, change, ref, summary))
        base = sid


def _append(domain: Domain, body: entries.Body) -> None:
    before = domain.refresh().tail
    domain.append(lambda state: body if state.tail == before else None)


def _point(sid: str, number: int) -> PointSummary:
    return PointSummary(
        id=sid,
        machine=MACHINE,
        created_at=f"2026-01-01T{number // 60 % 24:02d}:{number % 60:02d}:00.000Z",
        consistency=ConsistencyLevel.APPLICATION,
        outcome=Outcome.COMPLETE,
        logical_bytes=DISK.size_bytes,
        new_bytes=NEW_PACKS << 25,
        disks=(DISK,),
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
