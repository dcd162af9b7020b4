"""The report and its JSON Schema say the same."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.report import (
    Attempt,
    Report,
    ReportedError,
    ReportedMount,
    SnapshotFate,
    Step,
    Window,
    from_json,
)
from quiesce.values import fields

SCHEMA = json.loads((resources.files("quiesce") / "schemas" / "report.json").read_text())
SETTINGS = {
    "source": "/etc/azure/VMSnapshotPluginConfig.json",
    "continueBackupOnFailure": True,
    "fsFreezeEnabled": True,
    "plugins": [
        {
            "source": "/etc/azure/VMSnapshotPluginConfig.json",
            "timeoutInSeconds": 30.0,
            "preScriptLocation": "/pre",
            "preScriptParams": 0,
            "preScriptNoOfRetries": 0,
            "postScriptLocation": "/post",
            "postScriptParams": 2,
            "postScriptNoOfRetries": 1,
        }
    ],
    "skip": [],
    "timeout_s": 10.0,
    "deadline_s": 60.0,
    "max_timeout_s": 1800.0,
}
REPORT = Report(
    session="01JD5B5V7M6K2Q3R4S5T6V7W8X",
    machine="web1",
    door="exec",
    started_at="2026-11-23T10:00:00.000Z",
    finished_at="2026-11-23T10:00:01.000Z",
    settings=SETTINGS,
    requested=ConsistencyLevel.APPLICATION,
    reached=ConsistencyLevel.APPLICATION,
    consistency=ConsistencyLevel.APPLICATION,
    outcome=Outcome.COMPLETE,
    window=Window(0.021, 0.009, 60.0, expired=False),
    snapshot=SnapshotFate(taken=True, exit_status=0),
    errors=(ReportedError("Pre-ScriptTimeout", 308, "pre-script", "late", "look"),),
    warnings=("watch out",),
    facts={"lsn": "0/3000060"},
    disks={"count": 2, "source": "host"},
    steps=(
        Step("pre-script", "script", "ok", 0.0, 0.2, (Attempt(0, None, False, 0.2, "", ""),)),
        Step("freeze", "freeze", "skipped", 0.2, 0.2, reason="the door freezes"),
    ),
    mounts=(
        ReportedMount("/data", "xfs", "8:17", frozen=True),
        ReportedMount("/", "ext4", "8:1", frozen="door"),
        ReportedMount("/boot", "vfat", "8:2", frozen=False, reason="vfat cannot be frozen"),
    ),
)


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(REPORT.to_json()))
    return loaded


def errors(instance: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [error.message for error in validator.iter_errors(instance)]


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_report_is_valid_and_comes_back_as_it_was() -> None:
    assert errors(document()) == []
    assert from_json(document()) == REPORT


@pytest.mark.parametrize("path", ["consistency", "window"])
def test_what_may_be_unknown_may_be_null(path: str) -> None:
    assert errors({**document(), path: None}) == []


def test_the_schema_knows_exactly_the_fields_of_the_report() -> None:
    assert set(SCHEMA["properties"]) == {"schema", *fields(Report)}
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every object in the document."""
    found = [path] if isinstance(value, dict) else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(inner, (dict, list)):
            found += places(inner, (*path, key))
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


OBJECTS = [path for path in places(document()) if path != ("facts",)]


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_nothing_may_be_added_anywhere(path: tuple[Any, ...]) -> None:
    changed = document()
    at(changed, path)["surprise"] = "x"

    assert errors(changed) != []


@pytest.mark.parametrize(
    ("path", "key"),
    [(path, key) for path in OBJECTS for key in at(document(), path)],
    ids=str,
)
def test_nothing_may_be_missing_and_nothing_may_be_another_type(
    path: tuple[Any, ...], key: str
) -> None:
    missing = document()
    del at(missing, path)[key]
    wrong = copy.deepcopy(document())
    at(wrong, path)[key] = [["no field is a list of lists"]]

    assert errors(missing) != []
    assert errors(wrong) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("consistency",), "perfect"),
        (("outcome",), "partial"),
        (("session",), "no ulid"),
        (("started_at",), "today"),
        (("steps", 0, "status"), "refused"),
        (("steps", 0, "kind"), "flush"),
        (("steps", 1, "reason"), None),
        (("mounts", 0, "frozen"), "maybe"),
        (("window", "held_s"), -1),
        (("disks", "count"), -1),
        (("facts", "lsn"), 5),
        (("settings", "plugins", 0, "preScriptParams"), ["secret"]),
    ],
    ids=str,
)
def test_a_value_outside_of_the_contract_is_invalid(path: tuple[Any, ...], value: Any) -> None:
    changed = document()
    at(changed, path[:-1])[path[-1]] = value

    assert errors(changed) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("errors", 0, "name"), []),
        (("errors", 0, "number"), "308"),
        (("errors", 0, "number"), True),
        (("window", "held_s"), "x"),
        (("window", "held_s"), float("inf")),
        (("window", "expired"), 1),
        (("mounts", 0, "frozen"), None),
        (("steps", 0, "end_s"), None),
        (("steps", 0, "attempts", 0, "stdout"), 7),
        (("snapshot", "taken"), "yes"),
    ],
)
def test_a_field_of_another_type_is_refused(path, value):
    document = json.loads(json.dumps(REPORT.to_json()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(ValueError):  # noqa: PT011 - the contract is ValueError, whatever it says
        from_json(document)
