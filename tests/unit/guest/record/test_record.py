from __future__ import annotations

import json

from quiesce.errors import QuiesceError
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.processes.guards import Guard
from quiesce.guest.record.decision import Cause
from quiesce.guest.record.record import Held, Record, Times, from_json
from quiesce.model.report import Attempt, ReportedMount, SnapshotFate, Step


def record() -> Record:
    return Record(
        session="01JD5B5V7M6K2Q3R4S5T6V7W8X",
        machine="web1",
        door="hold",
        started_at="2026-11-23T10:00:00.000Z",
        started_s=100.0,
        deadline_s=60.0,
        settings={"source": None},
        configured=True,
        freeze_wanted=True,
        continue_on_failure=False,
        disks={"count": 2, "source": "host"},
    )


def full_record() -> Record:
    full = record()
    full.frozen_by = "door"
    full.guards = [Guard(10, 2000), Guard(11, 2001)]
    full.held = [Held("a", ScriptSpec("post", "/post", ("x", "y"), 1, 30.0), "ok")]
    full.mounts = [
        ReportedMount("/data", "xfs", "8:17", "door"),
        ReportedMount("/", "ext4", "8:1", False, "skip"),
    ]
    full.fail(Cause.HOLD, QuiesceError("Pre-ScriptTimeout", "late", action="hurry"), "pre-script")
    full.fail(Cause.EXPIRED, QuiesceError("FreezeWindowExpired", "over"))
    full.warnings = ["a warning"]
    full.steps = [
        Step("pre-script", "script", "ok", 0.0, 1.0, (Attempt(0, None, False, 1.0, "out", ""),))
    ]
    full.times = Times(held=101.0, releasing=102.0)
    full.fate = SnapshotFate(taken=None)
    full.facts = {"lsn": "0/30"}
    full.hurried = True
    return full


def test_a_record_survives_the_process_that_wrote_it() -> None:
    written = full_record()

    read = from_json(json.loads(json.dumps(written.to_json())))

    assert read.to_json() == written.to_json()
    assert read.held == written.held
    assert read.guards == written.guards
    assert read.times == written.times
    assert read.report().to_json()["errors"] == written.report().to_json()["errors"]


def test_the_window_is_measured_from_the_last_hold_to_the_first_release() -> None:
    measured = record()
    measured.times = Times(held=101.0, freezing=101.25, thawed=101.5, releasing=102.0)

    window = measured.report().window

    assert window is not None
    assert (window.held_s, window.frozen_s, window.expired) == (1.0, 0.25, False)


def test_under_a_door_only_the_host_knows_how_long_it_was_frozen() -> None:
    window = full_record().report().window

    assert window is not None
    assert window.frozen_s is None
    assert window.expired


def test_where_it_died_before_it_said_so_nobody_knows_how_long_it_was_frozen() -> None:
    died = record()
    died.times = Times(held=101.0)
    died.mounts = [ReportedMount("/data", "xfs", "8:17", True)]

    window = died.report().window

    assert window is not None
    assert window.frozen_s is None


def test_without_a_hold_there_is_no_window() -> None:
    assert record().report().window is None
