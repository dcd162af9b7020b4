"""What a person gets wrong, and what is missing in the guest: each has its name and its status."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from quiesce import keycare, wiring
from quiesce.config import Settings
from quiesce.environment import Environment
from quiesce.errors import ExitStatus
from quiesce.testing.fakes import SilentProgress
from tools.bare_qemu import BareQemu, Monitor, bare_qemu, wait_until
from tools.standin_agent import StandinAgent, standin_agent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quiesce.jobs.account import BackupRun

pytestmark = pytest.mark.faults


@dataclass
class Scene:
    """A machine, its agent, an empty vault, and everything as it was."""

    qemu: BareQemu
    agent: StandinAgent
    environment: Environment
    before: dict[str, Any]

    def back_up(self, **given: Any) -> BackupRun:
        options = {"qmp": self.qemu.qmp, "qga": self.agent.path, **given}
        return wiring.backup(
            self.environment, "writer", wiring.MachineOptions(**options), progress=SilentProgress()
        )

    def expect_as_before(self) -> None:
        wait_until(lambda: self.qemu.state() == self.before, "QEMU to be as before")
        assert not self.agent.at_rest
        assert list((self.environment.state_dir / "undo").glob("*")) == []
        assert list((self.environment.state_dir / "scratch").glob("*")) == []

    def points(self) -> int:
        return len(wiring.open_vault(self.environment).points())


@pytest.fixture(scope="module")
def qemu() -> Iterator[BareQemu]:
    with bare_qemu() as running:
        yield running


@pytest.fixture
def scene(qemu: BareQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    url = (tmp_path / "vault").as_uri()
    environment = Environment(Settings(machine={}), tmp_path / "state", url)
    keycare.create_vault(environment)
    with standin_agent() as agent:
        yield Scene(qemu, agent, environment, qemu.state())


def names(run: BackupRun) -> list[str]:
    return [error.name for error in run.errors]


def told(run: BackupRun) -> tuple[str | None, str, ExitStatus]:
    level = None if run.point is None else run.point.consistency.value
    return level, run.outcome.value, run.exit_status


def test_with_agent_hook_and_report_the_point_is_application_consistent(scene: Scene) -> None:
    run = scene.back_up()

    assert told(run) == ("application", "complete", ExitStatus.DONE)
    assert scene.points() == 1
    scene.expect_as_before()


def test_a_silent_agent_makes_the_point_crash_consistent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.channel.qga._SYNC_S", 0.3)
    scene.agent.behaviour.silent = {"guest-sync-delimited"}
    run = scene.back_up()

    assert told(run) == ("crash", "degraded", ExitStatus.DEGRADED)
    assert names(run) == ["AgentUnavailable"]
    scene.expect_as_before()


def test_without_an_agents_socket_the_point_is_crash_consistent(scene: Scene) -> None:
    run = scene.back_up(qga=None)

    assert told(run) == ("crash", "degraded", ExitStatus.DEGRADED)
    assert names(run) == ["AgentUnavailable"]


def test_an_agent_without_our_hook_makes_the_point_file_system_consistent(scene: Scene) -> None:
    scene.agent.behaviour.program = None
    run = scene.back_up()

    assert told(run) == ("filesystem", "complete", ExitStatus.DONE)
    assert any(warning.startswith("HookMissing") for warning in run.warnings)
    scene.expect_as_before()


def test_an_agent_that_allows_files_only_is_enough_for_the_report(scene: Scene) -> None:
    scene.agent.behaviour.forbidden = {"guest-exec"}
    run = scene.back_up()

    assert told(run) == ("application", "complete", ExitStatus.DONE)


def test_an_agent_that_allows_neither_exec_nor_files_hides_the_report(scene: Scene) -> None:
    scene.agent.behaviour.forbidden = {"guest-exec", "guest-file-open"}
    run = scene.back_up()

    assert told(run) == ("filesystem", "degraded", ExitStatus.DEGRADED)
    assert names(run) == ["GuestReportUnavailable"]
    scene.expect_as_before()


def test_a_veto_aborts(scene: Scene) -> None:
    scene.agent.behaviour.freeze_status = 4
    scene.agent.behaviour.report_output = b""
    run = scene.back_up()

    assert told(run) == (None, "aborted", ExitStatus.ABORTED)
    assert scene.points() == 0
    scene.expect_as_before()


def failed(run: BackupRun) -> tuple[str, ExitStatus]:
    assert run.point is None
    assert run.error is not None
    return run.error.name, run.exit_status


def test_an_agents_socket_that_is_held_is_busy(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as holder:
        holder.connect(str(scene.agent.path))
        run = scene.back_up()

    assert failed(run) == ("SocketBusy", ExitStatus.BUSY)
    scene.expect_as_before()


def test_a_qmp_socket_that_is_held_is_busy(scene: Scene) -> None:
    with contextlib.closing(Monitor(scene.qemu.qmp)):
        run = scene.back_up()

    assert failed(run) == ("SocketBusy", ExitStatus.BUSY)
    scene.expect_as_before()


@pytest.mark.parametrize("which", ["qmp", "qga"])
def test_a_missing_socket_is_an_unreachable_machine(
    scene: Scene, tmp_path: Path, which: str
) -> None:
    run = scene.back_up(**{which: tmp_path / "missing"})

    assert failed(run) == ("MachineUnreachable", ExitStatus.NOT_FOUND)
    scene.expect_as_before()


@pytest.mark.parametrize("which", ["qmp", "qga"])
def test_a_socket_that_refuses_is_an_unreachable_machine(
    scene: Scene, tmp_path: Path, which: str
) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "refuses"))
        run = scene.back_up(**{which: tmp_path / "refuses"})

    assert failed(run) == ("MachineUnreachable", ExitStatus.NOT_FOUND)
    scene.expect_as_before()


def test_a_machine_that_nobody_named_is_not_found(scene: Scene) -> None:
    assert failed(scene.back_up(qmp=None)) == ("MachineNotFound", ExitStatus.NOT_FOUND)


def test_without_a_vault_nothing_is_begun(scene: Scene, tmp_path: Path) -> None:
    scene.environment = replace(scene.environment, vault_url=(tmp_path / "none").as_uri())

    assert failed(scene.back_up()) == ("VaultNotFound", ExitStatus.VAULT)
    assert scene.agent.commands == []
