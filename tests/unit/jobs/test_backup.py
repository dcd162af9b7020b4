"""One backup against fakes: its order, what it says, and every step broken."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.jobs.backup import Machine, backup
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.ports import FreezeAnswer, GuestOutlook, Renewal, ThawAnswer
from quiesce.testing.failpoints import Failpoints
from quiesce.testing.fakes import FakeGuard, FakeGuest, FakeProvider, FakeVault, SilentProgress
from quiesce.vault.stores.memory import MemoryStore
from vault_box import open_vault, small_vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.jobs.account import BackupRun


@dataclass
class Stage:
    """All parts of one backup, writing into one list of events."""

    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guest = FakeGuest(events=self.events)
        self.provider = FakeProvider(events=self.events)
        self.guard = FakeGuard(events=self.events)
        self.vault = FakeVault(events=self.events)

    @contextlib.contextmanager
    def supervisor(self, session: str) -> Iterator[FakeGuard]:
        self.events.append("supervise")
        yield self.guard
        self.events.append("dismiss")

    def run(
        self, points: Failpoints | None = None, *, agent: bool = True, wanted: bool = True
    ) -> BackupRun:
        wrap: Any = points.wrap if points else lambda port, _name: port
        return backup(
            Machine(
                "web1",
                wrap(self.provider, "provider"),
                wrap(self.guest, "guest") if agent else None,
                wants_agent=wanted,
            ),
            vault=wrap(self.vault, "vault"),
            supervisor=lambda session: wrap(self.supervisor(session), "supervisor"),
            progress=SilentProgress(),
        )


def schema(name: str) -> dict[str, Any]:
    text = (resources.files("quiesce") / "schemas" / name).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def test_a_backup_is_told_in_order() -> None:
    stage = Stage()
    run = stage.run()

    assert stage.events == [
        "supervise",
        "prepare",
        "session",
        "look",
        "note at_rest=True",
        "freeze",
        "take",
        "thaw",
        "note at_rest=False",
        "report",
        "open",
        "copy vda",
        "copy vdb",
        "check",
        "commit",
        "clean up",
        "close",
        "dismiss",
    ]
    assert run.outcome is Outcome.COMPLETE
    assert run.exit_status is ExitStatus.DONE
    assert run.point is not None
    assert run.point.consistency is ConsistencyLevel.APPLICATION
    assert run.point.id == run.session


def test_only_the_snapshot_and_the_agents_calls_are_inside_the_window() -> None:
    stage = Stage()
    stage.run()
    begin, end = stage.events.index("freeze"), stage.events.index("thaw")

    assert stage.events[begin + 1 : end] == ["take"]


def test_the_run_is_an_element_of_the_hosts_json() -> None:
    run = Stage().run()
    document = {"schema": "quiesce.backup/1", "runs": [json.loads(json.dumps(run.to_json()))]}

    jsonschema.validate(document, schema("backup.json"))
    assert document["runs"][0]["moments"]["freeze_sent"] is not None


def test_a_failed_run_is_an_element_of_the_hosts_json_too() -> None:
    run = Stage().run(Failpoints(1, fail("MachineUnreachable")))
    document = {"schema": "quiesce.backup/1", "runs": [json.loads(json.dumps(run.to_json()))]}

    jsonschema.validate(document, schema("backup.json"))
    assert document["runs"][0]["error"]["exit_status"] == 10


def test_a_point_is_an_element_of_the_hosts_list() -> None:
    point = Stage().run().point
    assert point is not None
    document = {"schema": "quiesce.points/1", "points": [json.loads(json.dumps(point.to_json()))]}

    jsonschema.validate(document, schema("points.json"))


def test_without_an_agent_the_backup_is_degraded_and_the_guest_is_not_asked_to_rest() -> None:
    stage = Stage()
    stage.guest.outlook = GuestOutlook(agent=False)
    run = stage.run()

    assert "freeze" not in stage.events
    assert run.exit_status is ExitStatus.DEGRADED
    assert [error.name for error in run.errors] == ["AgentUnavailable"]
    assert run.error is None


def test_an_agent_that_is_not_wanted_is_no_fault() -> None:
    run = Stage().run(agent=False, wanted=False)

    assert run.point is not None
    assert run.point.consistency is ConsistencyLevel.CRASH
    assert run.outcome is Outcome.COMPLETE


def test_a_machine_without_a_way_to_an_agent_is_degraded() -> None:
    run = Stage().run(agent=False)

    assert [error.name for error in run.errors] == ["AgentUnavailable"]
    assert run.outcome is Outcome.DEGRADED


def test_a_damaged_guest_is_renewed_for_the_next_backup_when_this_one_s_window_is_over() -> None:
    stage = Stage()
    stage.guest.outlook = GuestOutlook(agent=True, hook=True, damaged=True)
    run = stage.run()

    assert stage.events.index("thaw") < stage.events.index("renew")
    assert run.point is not None
    assert any("the next backup runs scripts again" in warning for warning in run.warnings)


def test_a_damaged_guest_whose_backup_is_aborted_is_renewed_too() -> None:
    stage = Stage()
    stage.guest.outlook = GuestOutlook(agent=True, hook=True, damaged=True)
    stage.guest.frozen = FreezeAnswer(None, hook_status=4)
    run = stage.run()

    assert run.outcome is Outcome.ABORTED
    assert "renew" in stage.events


def test_what_to_type_is_said_where_a_damaged_guest_may_not_be_renewed() -> None:
    stage = Stage()
    stage.guest.outlook = GuestOutlook(agent=True, hook=True, damaged=True)
    stage.guest.renewal = Renewal(renewed=False, why="a package owns it", command="dnf reinstall")
    run = stage.run()

    assert any(
        "a package owns it; in the guest: dnf reinstall" in warning for warning in run.warnings
    )


def test_a_guest_that_is_not_damaged_is_not_renewed() -> None:
    stage = Stage()
    stage.run()

    assert "renew" not in stage.events


def test_a_paused_machine_is_not_asked_anything() -> None:
    stage = Stage()
    stage.provider.running = False
    run = stage.run()

    assert "look" not in stage.events
    assert [error.name for error in run.errors] == ["MachinePaused"]


def test_without_our_hook_no_report_is_asked_for() -> None:
    stage = Stage()
    stage.guest.outlook = GuestOutlook(agent=True, hook=False)
    run = stage.run()

    assert "report" not in stage.events
    assert run.point is not None
    assert run.point.consistency is ConsistencyLevel.FILESYSTEM
    assert run.outcome is Outcome.COMPLETE


def test_a_damaged_log_entry_is_a_warning_of_the_run_and_of_its_point() -> None:
    store = MemoryStore()
    stage = Stage()
    stage.vault = small_vault(store)
    assert stage.run().warnings == ()
    store._blobs["domains/web1/log/000000000002"] = b"{}"
    stage.vault = open_vault(store)
    run = stage.run()

    (warning,) = run.warnings
    assert warning.startswith("web1: entry 2 is damaged")
    assert run.point is not None
    assert open_vault(store).read(run.point).evidence.warnings == run.warnings


def test_a_veto_takes_no_snapshot_and_still_thaws() -> None:
    stage = Stage()
    stage.guest.frozen = FreezeAnswer(None, hook_status=4)
    stage.guest.has_report = False
    run = stage.run()

    assert "take" not in stage.events
    assert "thaw" in stage.events
    assert run.point is None
    assert run.exit_status is ExitStatus.ABORTED
    assert run.error is not None
    assert run.error.name == "HookVeto"


def test_a_snapshot_that_the_guest_refuses_afterwards_is_never_copied() -> None:
    stage = Stage()
    stage.guest.thawed = ThawAnswer(None, hook_status=4, message="hook")
    run = stage.run()

    assert "open" not in stage.events
    assert "commit" not in stage.events
    assert run.outcome is Outcome.ABORTED


def test_an_unanswered_thaw_stays_noted() -> None:
    stage = Stage()
    stage.guest.thawed = ThawAnswer(None)
    stage.run()

    assert stage.guard.facts["at_rest"] is True


def test_the_manifest_gets_the_evidence() -> None:
    stage = Stage()
    run = stage.run()
    (evidence,) = stage.vault.kept

    assert evidence.report is not None
    assert evidence.report["session"] == run.session
    assert evidence.times["snapshot_s"] >= 0


def test_tidying_up_that_fails_degrades_a_point_that_is_whole() -> None:
    stage = Stage()

    @contextlib.contextmanager
    def supervisor(session: str) -> Iterator[FakeGuard]:
        yield stage.guard
        raise QuiesceError("UndoIncomplete", "a node is left")

    run = backup(
        Machine("web1", stage.provider, stage.guest),
        vault=stage.vault,  # type: ignore[arg-type]
        supervisor=supervisor,
        progress=SilentProgress(),
    )

    assert run.point is not None
    assert run.outcome is Outcome.DEGRADED
    assert [error.name for error in run.errors] == ["UndoIncomplete"]


def test_an_error_while_putting_back_is_the_supervisors_matter() -> None:
    stage = Stage()
    ended = []

    @contextlib.contextmanager
    def supervisor(session: str) -> Iterator[FakeGuard]:
        try:
            yield stage.guard
        except QuiesceError as exc:
            ended.append(exc.name)

    run = backup(
        Machine(
            "web1",
            Failpoints(LAST_EXIT, fail("MachineUnreachable")).wrap(stage.provider, "provider"),
            stage.guest,
        ),
        vault=stage.vault,  # type: ignore[arg-type]
        supervisor=supervisor,
        progress=SilentProgress(),
    )

    assert ended == ["UndoIncomplete"]
    assert run.point is not None
    assert run.outcome is Outcome.COMPLETE


def fail(name: str) -> Any:
    def action(step: str) -> None:
        raise QuiesceError(name, f"broken {step}")

    return action


def interrupt(_step: str) -> None:
    raise KeyboardInterrupt


def steps() -> list[str]:
    points = Failpoints(None, fail("SnapshotBroken"))
    Stage().run(points)
    return points.passed


STEPS = steps()
LAST_EXIT = 1 + [step for step in STEPS if "provider" in step].index(
    "before provider.prepared exit"
)


def test_the_steps_cover_the_whole_backup() -> None:
    assert len(STEPS) > 35
    assert "before provider.prepared.take" in STEPS
    assert "after vault.session.commit" in STEPS
    assert "before provider.prepared.open reader.read" in STEPS


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1), ids=STEPS)
@pytest.mark.parametrize("action", [fail("SnapshotBroken"), interrupt], ids=["error", "interrupt"])
def test_an_error_at_any_step_leaves_nothing_at_rest_and_no_half_point(
    number: int, action: Any
) -> None:
    stage = Stage()
    run = None
    with contextlib.suppress(KeyboardInterrupt):
        run = stage.run(Failpoints(number, action))

    assert not stage.provider.left
    assert not stage.guest.is_at_rest or stage.guard.facts["at_rest"] is True
    if "freeze" in stage.events:
        assert "thaw" in stage.events or stage.guard.facts["at_rest"] is True
    if run is not None:
        assert run.error is not None
        assert (run.point is None) == (run.outcome is Outcome.FAILED)
        assert ("commit" in stage.events) or run.point is None
