"""The scrub's ledger: when each pack was last read whole, and which were found damaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from quiesce.vault.format import document
from quiesce.vault.format.document import mapping, number, sequence, text
from quiesce.vault.format.names import PackName, parse_pack

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
MAX_LEDGER_BYTES: Final = 64 * 1024 * 1024
_SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Checked:
    """When packs were read: by `short` name, the moment in ISO 8601, UTC.

    *hashed* were found to be what their names say; of those that were *opened* too, every chunk
    was found to be what its id says.
    """

    hashed: Mapping[str, str] = field(default_factory=dict)
    opened: Mapping[str, str] = field(default_factory=dict)

    def with_later(self, later: Checked) -> Checked:
        """Return this with what *later* adds; of two moments the later one counts."""
        return Checked(_latest(self.hashed, later.hashed), _latest(self.opened, later.opened))


@dataclass(frozen=True, slots=True)
class Findings:
    """Packs that were found *damaged*, and why; and such that were, and are *whole* again."""

    damaged: Mapping[PackName, str]
    whole: frozenset[PackName] = frozenset()


def short(pack: PackName) -> str:
    """Return what the ledger calls *pack*: enough of its hash to tell it from the others."""
    return pack.digest.hex()[:_SHORT]


def encode_checked(checked: Checked) -> bytes:
    """Return the ledger's record of *checked*."""
    return document.encode(
        {
            "format": FORMAT,
            "hashed": _by_moment(checked.hashed),
            "opened": _by_moment(checked.opened),
        }
    )


def parse_checked(raw: bytes) -> Checked:
    """Return what the record in *raw* says. Raises ValueError."""
    value = _known(raw)
    return Checked(_by_pack(value.get("hashed")), _by_pack(value.get("opened")))


def encode_findings(findings: Findings) -> bytes:
    """Return the ledger's record of *findings*."""
    return document.encode(
        {
            "format": FORMAT,
            "damaged": {pack.text: why for pack, why in findings.damaged.items()},
            "whole": sorted(pack.text for pack in findings.whole),
        }
    )


def parse_findings(raw: bytes) -> Findings:
    """Return what the record in *raw* says. Raises ValueError."""
    value = _known(raw)
    damaged = mapping(value.get("damaged"))
    return Findings(
        {parse_pack(pack): text(why) for pack, why in damaged.items()},
        frozenset(parse_pack(pack) for pack in sequence(value.get("whole"))),
    )


def _known(raw: bytes) -> dict[str, Any]:
    value = document.decode(raw)
    if number(value.get("format")) != FORMAT:
        raise ValueError("a ledger of another format")
    return value


def _latest(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    merged = dict(one)
    for pack, moment in other.items():
        merged[pack] = max(moment, merged.get(pack, moment))
    return merged


def _by_moment(moments: Mapping[str, str]) -> dict[str, list[str]]:
    packs: dict[str, list[str]] = {}
    for pack, moment in sorted(moments.items()):
        packs.setdefault(moment, []).append(pack)
    return packs


def _by_pack(value: Any) -> dict[str, str]:
    moments = mapping(value).items()
    return {text(pack): moment for moment, packs in moments for pack in sequence(packs)}
