"""The scrub's ledger of one domain as it lies in a store: a hint, never needed, never trusted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.system import ulid
from quiesce.vault.format import ledger, names
from quiesce.vault.format.ledger import Checked, Findings
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.ports import BlobReader, BlobStore, PrunableStore
    from quiesce.vault.format.names import PackName

_CHECKED: Final = "c-"
_FINDINGS: Final = "d-"
_MANY: Final = 16


@dataclass(slots=True)
class Ledger:
    """What is known of earlier scrubs of a domain.

    *damaged* are packs that were found so and not whole again since, with the reason. *records*
    are the names of the records that *checked* comes from.
    """

    checked: Checked = field(default_factory=Checked)
    damaged: dict[PackName, str] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)


def read(store: BlobReader, domain: str) -> Ledger:
    """Return the ledger of *domain*; records that cannot be read say nothing."""
    found = Ledger(damaged=damaged(store, domain))
    for name, raw in _records(store, domain, _CHECKED):
        found.records.append(name)
        with suppress(ValueError):
            found.checked = found.checked.with_later(ledger.parse_checked(raw))
    return found


def damaged(store: BlobReader, domain: str) -> dict[PackName, str]:
    """Return the packs of *domain* that were found damaged and not whole again since, and why."""
    known: dict[PackName, str] = {}
    for _, raw in _records(store, domain, _FINDINGS):
        with suppress(ValueError):
            findings = ledger.parse_findings(raw)
            known |= findings.damaged
            for pack in findings.whole:
                known.pop(pack, None)
    return known


def add_checked(store: BlobStore, domain: str, checked: Checked) -> None:
    """Record what was read. Raises what the store raises."""
    name = f"{names.ledger_prefix(domain)}{_CHECKED}{ulid.new()}"
    upload(store, name, ledger.encode_checked(checked))


def add_findings(store: BlobStore, domain: str, findings: Findings) -> None:
    """Record what was found: backups from now on store again what lies in damaged packs."""
    name = f"{names.ledger_prefix(domain)}{_FINDINGS}{ulid.new()}"
    upload(store, name, ledger.encode_findings(findings))


def tidy(store: PrunableStore, domain: str, packs: frozenset[PackName]) -> None:
    """Put many records of what was read into one, that of *packs* alone; by whoever may delete."""
    found = read(store, domain)
    if len(found.records) < _MANY:
        return
    known = {ledger.short(pack) for pack in packs}
    kept = Checked(
        {pack: moment for pack, moment in found.checked.hashed.items() if pack in known},
        {pack: moment for pack, moment in found.checked.opened.items() if pack in known},
    )
    add_checked(store, domain, kept)
    # Who may not delete keeps them: they cost a little time, nothing else.
    with suppress(QuiesceError):
        store.delete(found.records)


def _records(store: BlobReader, domain: str, kind: str) -> Iterator[tuple[str, bytes]]:
    for name in list(store.list(names.ledger_prefix(domain) + kind)):
        with suppress(KeyError):  # Tidied away meanwhile.
            yield name, store.get(name, 0, ledger.MAX_LEDGER_BYTES)
