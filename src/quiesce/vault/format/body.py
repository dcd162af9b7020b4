"""What an entry of the log can say: one value for each type, to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from quiesce.vault.format.document import flag, mapping, number, sequence, text
from quiesce.vault.format.manifest import ref_from_json, ref_to_json
from quiesce.vault.format.names import PackName, is_sid, parse_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quiesce.vault.format.map import Ref


@dataclass(frozen=True, slots=True)
class Open:
    """A session begins: *adopts* names an interrupted one that it goes on with.

    *machine* and *uuid* are empty for a session of maintenance.
    """

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


@dataclass(frozen=True, slots=True)
class Forget:
    """The point *sid* is to go; until it is purged it can be recalled."""

    sid: str


@dataclass(frozen=True, slots=True)
class Recall:
    """The forgotten point *sid* is to stay after all."""

    sid: str


@dataclass(frozen=True, slots=True)
class Purge:
    """The forgotten point *sid* is gone for ever."""

    sid: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The point *sid* is not to go while *hold*, an id of its own, is there."""

    hold: str
    sid: str
    legal: bool = False


@dataclass(frozen=True, slots=True)
class Unhold:
    """The hold of that id ends."""

    hold: str


@dataclass(frozen=True, slots=True)
class Repack:
    """What is still used of the packs *moves* lies in others now.

    *moves* names for each the targets that its chunks went to, none where nothing of it is used.
    *table* says where each chunk lies. *upto* is the last entry whose maps were read.
    """

    sid: str
    upto: int
    moves: Mapping[PackName, frozenset[PackName]] = field(hash=False)
    table: Ref

    @property
    def targets(self) -> frozenset[PackName]:
        """Every pack that something moved to, with those of the table."""
        return frozenset(self.table.place.packs).union(*self.moves.values())


@dataclass(frozen=True, slots=True)
class Proof:
    """The point *point* was booted, or what else *proof* tells; *packs* hold it, and more."""

    sid: str
    point: str
    packs: frozenset[PackName]
    proof: Ref
    summary: Mapping[str, Any] = field(hash=False)

    @property
    def all_packs(self) -> frozenset[PackName]:
        """The packs that join the point's list."""
        return self.packs.union(self.proof.place.packs)


Body: TypeAlias = Open | Snapshot | Abort | Forget | Recall | Purge | Hold | Unhold | Repack | Proof


def to_json(body: Body) -> dict[str, Any]:
    """Return *body* as an entry has it, its type included."""
    name, write, _ = _TYPES[type(body)]
    return {"type": name, **write(body)}


def parser_of(name: str) -> Callable[[dict[str, Any]], Body] | None:
    """Return what reads an entry of the type *name*, raising ValueError; None: unknown type."""
    return next((parse for known, _, parse in _TYPES.values() if known == name), None)


def _open_to_json(body: Open) -> dict[str, Any]:
    return {
        "sid": body.sid,
        "machine": body.machine,
        "uuid": body.uuid,
        "base": body.base,
        "adopts": body.adopts,
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


def _snapshot_to_json(body: Snapshot) -> dict[str, Any]:
    return {
        "sid": body.sid,
        "packs": {
            "base": body.packs.base,
            "add": _texts(body.packs.add),
            "drop": _texts(body.packs.drop),
        },
        "manifest": ref_to_json(body.manifest),
        "summary": body.summary,
    }


def _parse_snapshot(value: dict[str, Any]) -> Snapshot:
    _only(value, "sid", "packs", "manifest", "summary")
    packs, summary = mapping(value["packs"]), mapping(value["summary"])
    _only(packs, "base", "add", "drop")
    base = None if packs["base"] is None else _sid(packs["base"])
    change = PackChange(base, _packs(packs["add"]), _packs(packs["drop"]))
    return Snapshot(_sid(value["sid"]), change, ref_from_json(value["manifest"]), summary)


def _sid_to_json(body: Abort | Forget | Recall | Purge) -> dict[str, Any]:
    return {"sid": body.sid}


def _parse_sid(value: dict[str, Any]) -> str:
    _only(value, "sid")
    return _sid(value["sid"])


def _hold_to_json(body: Hold) -> dict[str, Any]:
    return {"hold": body.hold, "sid": body.sid, "legal": body.legal}


def _parse_hold(value: dict[str, Any]) -> Hold:
    _only(value, "hold", "sid", "legal")
    return Hold(text(value["hold"]), _sid(value["sid"]), flag(value["legal"]))


def _unhold_to_json(body: Unhold) -> dict[str, Any]:
    return {"hold": body.hold}


def _parse_unhold(value: dict[str, Any]) -> Unhold:
    _only(value, "hold")
    return Unhold(text(value["hold"]))


def _repack_to_json(body: Repack) -> dict[str, Any]:
    targets = sorted({pack.text for packs in body.moves.values() for pack in packs})
    numbers = {name: at for at, name in enumerate(targets)}
    return {
        "sid": body.sid,
        "upto": body.upto,
        "from": {
            pack.text: sorted(numbers[target.text] for target in packs)
            for pack, packs in body.moves.items()
        },
        "to": targets,
        "table": ref_to_json(body.table),
    }


def _parse_repack(value: dict[str, Any]) -> Repack:
    _only(value, "sid", "upto", "from", "to", "table")
    targets = [parse_pack(name) for name in sequence(value["to"])]
    moves = {
        parse_pack(name): frozenset(
            targets[number(at, len(targets) - 1)] for at in sequence(numbers)
        )
        for name, numbers in mapping(value["from"]).items()
    }
    if len(set(targets)) != len(targets) or frozenset(targets).union(*moves.values()) != (
        frozenset().union(*moves.values())
    ):
        raise ValueError("the targets are not those that something moves to")
    return Repack(_sid(value["sid"]), number(value["upto"]), moves, ref_from_json(value["table"]))


def _proof_to_json(body: Proof) -> dict[str, Any]:
    return {
        "sid": body.sid,
        "for": body.point,
        "packs": _texts(body.packs),
        "proof": ref_to_json(body.proof),
        "summary": body.summary,
    }


def _parse_proof(value: dict[str, Any]) -> Proof:
    _only(value, "sid", "for", "packs", "proof", "summary")
    return Proof(
        _sid(value["sid"]),
        _sid(value["for"]),
        _packs(value["packs"]),
        ref_from_json(value["proof"]),
        mapping(value["summary"]),
    )


_TYPES: Final[Mapping[type, tuple[str, Callable[[Any], dict[str, Any]], Callable[..., Body]]]] = {
    Open: ("open", _open_to_json, _parse_open),
    Snapshot: ("snapshot", _snapshot_to_json, _parse_snapshot),
    Abort: ("abort", _sid_to_json, lambda value: Abort(_parse_sid(value))),
    Forget: ("forget", _sid_to_json, lambda value: Forget(_parse_sid(value))),
    Recall: ("recall", _sid_to_json, lambda value: Recall(_parse_sid(value))),
    Purge: ("purge", _sid_to_json, lambda value: Purge(_parse_sid(value))),
    Hold: ("hold", _hold_to_json, _parse_hold),
    Unhold: ("unhold", _unhold_to_json, _parse_unhold),
    Repack: ("repack", _repack_to_json, _parse_repack),
    Proof: ("proof", _proof_to_json, _parse_proof),
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


def _texts(packs: Iterable[PackName]) -> list[str]:
    return sorted(pack.text for pack in packs)
