"""What happened in one session: the report `quiesce.report/1` and its JSON.

The same report lies in the guest, in the manifest and on the screen (`overview.md`, section 4;
schema: `quiesce/schemas/report.json`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.values import asdict, dataclass, field, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.errors import QuiesceError

SCHEMA = "quiesce.report/1"

_T = TypeVar("_T")
_NONE = type(None)
_DECLARED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, _NONE),
    "bool": (bool,),
    "bool | None": (bool, _NONE),
    "bool | str": (bool, str),
    "int": (int,),
    "int | None": (int, _NONE),
    "float": (int, float),
    "float | None": (int, float, _NONE),
}


@dataclass(frozen=True)
class ReportedError:
    """One error as the report keeps it; *step* names the step it happened in."""

    name: str
    number: int
    step: str | None
    message: str
    action: str

    @classmethod
    def of(cls, error: QuiesceError, *, step: str | None = None) -> ReportedError:
        """Return *error* as it goes into a report."""
        return cls(error.name, error.number, step, error.message, error.action)


@dataclass(frozen=True)
class Attempt:
    """One execution of a script; of each output the last 64 KiB."""

    exit_status: int | None
    signal: int | None
    timed_out: bool
    duration_s: float
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Step:
    """One part of a session; times are monotonic seconds since its start.

    *kind*: script, app, freeze, snapshot or thaw. *status*: ok, failed, timeout or skipped, and
    skipped has a *reason*.
    """

    name: str
    kind: str
    status: str
    begin_s: float
    end_s: float
    attempts: tuple[Attempt, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class ReportedMount:
    """A file system in the plan: *frozen* is True, False (then *reason*) or "door"."""

    path: str
    fstype: str
    device: str
    frozen: bool | str
    reason: str | None = None


@dataclass(frozen=True)
class Window:
    """The window in seconds; *frozen_s* is None where the writer of the report cannot know it.

    That is so where a door or the command froze by itself, and where the session died inside.
    """

    held_s: float
    frozen_s: float | None
    deadline_s: float
    expired: bool


@dataclass(frozen=True)
class SnapshotFate:
    """Whether a snapshot was taken: None where the writer of the report cannot know."""

    taken: bool | None
    exit_status: int | None = None


@dataclass(frozen=True)
class Report:
    """The record of one session, with the evidence for its level.

    *consistency* is None where the snapshot's fate is unknown to the writer, and where there was
    to be none (a rehearsal); *reached* is the level that a snapshot taken inside the window has.
    """

    session: str
    machine: str
    door: str
    started_at: str
    finished_at: str
    settings: Mapping[str, Any]
    requested: ConsistencyLevel
    reached: ConsistencyLevel
    consistency: ConsistencyLevel | None
    outcome: Outcome
    window: Window | None
    snapshot: SnapshotFate
    errors: tuple[ReportedError, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    mounts: tuple[ReportedMount, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as its JSON document."""
        document = {"schema": SCHEMA, **asdict(self)}
        document["requested"] = self.requested.value
        document["reached"] = self.reached.value
        document["consistency"] = None if self.consistency is None else self.consistency.value
        document["outcome"] = self.outcome.value
        document["warnings"] = list(self.warnings)
        return document


def from_json(document: Mapping[str, Any]) -> Report:
    """Return the report in *document*, which comes from a guest and may be hostile.

    Raises ValueError where it is not a valid `quiesce.report/1`; never anything else.
    """
    try:
        return _from_valid_json(document)
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a {SCHEMA} document: {exc!r}") from exc


def _from_valid_json(document: Mapping[str, Any]) -> Report:
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema is {document['schema']!r}, not {SCHEMA}")
    window = document["window"]
    consistency = document["consistency"]
    return Report(
        session=str(document["session"]),
        machine=str(document["machine"]),
        door=str(document["door"]),
        started_at=str(document["started_at"]),
        finished_at=str(document["finished_at"]),
        settings=dict(document["settings"]),
        requested=ConsistencyLevel(document["requested"]),
        reached=ConsistencyLevel(document["reached"]),
        consistency=None if consistency is None else ConsistencyLevel(consistency),
        outcome=Outcome(document["outcome"]),
        window=None if window is None else _made(Window, window),
        snapshot=_made(SnapshotFate, document["snapshot"]),
        errors=tuple(_made(ReportedError, error) for error in document["errors"]),
        warnings=tuple(str(warning) for warning in document["warnings"]),
        facts={str(key): str(value) for key, value in document["facts"].items()},
        disks=dict(document["disks"]),
        steps=tuple(_step(step) for step in document["steps"]),
        mounts=tuple(_made(ReportedMount, mount) for mount in document["mounts"]),
    )


def _step(step: Mapping[str, Any]) -> Step:
    attempts = tuple(_made(Attempt, attempt) for attempt in step["attempts"])
    return _made(Step, {**step, "attempts": attempts})


def _made(kind: type[_T], document: Mapping[str, Any]) -> _T:
    """Return the value of *kind* in *document*; ValueError where a field is of another type."""
    for name, declared in fields(kind).items():
        if name in document and not _is_a(document[name], declared):
            raise ValueError(f"{kind.__name__}.{name} is no {declared}")
    return kind(**document)


def _is_a(value: object, declared: str) -> bool:
    """Return whether *value* is of the *declared* type, an annotation of this module."""
    if declared not in _DECLARED:
        return True
    if isinstance(value, bool):
        return "bool" in declared
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _DECLARED[declared])
