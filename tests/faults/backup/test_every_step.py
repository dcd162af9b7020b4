"""A real backup, broken at every step in every way: afterwards everything is as before."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quiesce import wiring
from quiesce.jobs.restore import restore
from quiesce.jobs.undo import recover_left_behind
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.directory import DirectoryStore
from tools import backup_under_test, writer_guest
from tools.bare_qemu import BareQemu, bare_qemu, wait_until
from tools.standin_agent import StandinAgent, standin_agent
from vault_box import open_vault, small_vault

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

# The promise is 10 s of a machine that has nothing else to do.
LIMIT_S = 30.0


@dataclass
class Scene:
    """A QEMU whose guest writes, an agent, a vault, and backups that can be broken."""

    qemu: BareQemu
    agent: StandinAgent
    state_dir: Path
    vault_path: Path
    backups: subprocess.Popen[bytes]
    before: dict[str, Any]
    objects_before: set[str]

    def back_up(self, at: int | None = None, fault: str = "error") -> dict[str, Any]:
        """Run a backup that is broken by *fault* at step *at*; return what became of it."""
        assert self.backups.stdin is not None
        assert self.backups.stdout is not None
        order = json.dumps({"at": at, "fault": fault})
        self.backups.stdin.write(order.encode() + b"\n")
        self.backups.stdin.flush()
        answer: dict[str, Any] = json.loads(self.backups.stdout.readline())
        assert "trace" not in answer, answer["trace"]
        return answer

    def points(self) -> list[str]:
        """The recovery points that there are."""
        return [point.id for point in open_vault(DirectoryStore(self.vault_path)).points()]

    def expect_readable_points(self) -> None:
        """Restore the last recovery points; both disks must be of one instant.

        Those are the ones whose backups were broken after their commit, and one that was not.
        """
        vault = open_vault(DirectoryStore(self.vault_path))
        for point in vault.points()[-5:]:
            disks = {disk.name: MemoryDisk(disk.size_bytes) for disk in point.disks}
            restore(vault, point, disks, progress=SilentProgress())
            first, second = (bytes(disk.data) for disk in disks.values())
            writer_guest.check_instant(first, second)

    def left(self) -> dict[str, Any]:
        """What is not as before a backup."""
        found = {
            "qemu": self.qemu.state() != self.before and self.qemu.state(),
            "guest at rest": self.agent.at_rest,
            "scratch": sorted(path.name for path in (self.state_dir / "scratch").glob("*")),
            "notes": sorted(path.name for path in (self.state_dir / "undo").glob("*")),
            "objects": self.objects() - self.objects_before,
            "held sockets": _is_served(self.agent),
        }
        return {what: state for what, state in found.items() if state}

    def objects(self) -> set[str]:
        """The names of QEMU's objects, of which ours says that the machine is to go on."""
        return _objects(self.qemu)

    def expect_as_before(self, step: str) -> None:
        """Wait until everything is as before a backup, with the guest writing on."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.left(), "nothing to be left", limit_s=LIMIT_S)
        assert self.left() == {}, step
        assert self.qemu.guest_errors() == 0, step
        self.qemu.wait_for_rounds(16)


class MemoryDisk:
    """A `BlockWriter` into memory."""

    def __init__(self, size_bytes: int) -> None:
        self.data = bytearray(size_bytes)

    def write(self, start_bytes: int, data: bytes) -> None:
        self.data[start_bytes : start_bytes + len(data)] = data

    def finish(self) -> None:
        pass

    def commit(self) -> None:
        pass


def _objects(qemu: BareQemu) -> set[str]:
    return {str(one["name"]) for one in qemu.monitor("qom-list", path="/objects")}


def _is_served(agent: StandinAgent) -> bool:
    return agent._client is not None


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="every-step-")))
        qemu = stack.enter_context(bare_qemu())
        agent = stack.enter_context(standin_agent())
        state_dir, vault = directory / "state", directory / "vault"
        state_dir.mkdir()
        small_vault(DirectoryStore(vault))
        argv = [sys.executable, backup_under_test.__file__]
        argv += ["--state-dir", str(state_dir), "--vault", str(vault)]
        argv += ["--qmp", str(qemu.qmp), "--qga", str(agent.path)]
        backups = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        stack.callback(backups.wait)
        stack.callback(backups.communicate)
        yield Scene(qemu, agent, state_dir, vault, backups, qemu.state(), _objects(qemu))


def steps(scene: Scene) -> list[str]:
    """The steps of a backup that nothing breaks."""
    answer = scene.back_up()
    assert answer["run"]["outcome"] == "complete", json.dumps(answer["run"])
    assert answer["run"]["point"]["consistency"] == "application"
    scene.expect_as_before("none")
    passed: list[str] = answer["steps"]
    return passed


def test_a_backup_that_nothing_breaks_leaves_everything_as_before(scene: Scene) -> None:
    passed = steps(scene)

    assert "before provider.prepared.take" in passed
    assert "before stop" in " ".join(passed)
    assert "after vault.session.commit" in passed


@pytest.mark.parametrize(
    ("fault", "every"),
    [
        ("kill", 1),
        ("both", 1),
        ("supervisor", 1),
        ("error", 3),
        ("SIGTERM", 3),
        pytest.param("error", 1, marks=pytest.mark.soak),
        pytest.param("SIGTERM", 1, marks=pytest.mark.soak),
    ],
)
def test_whoever_dies_at_whatever_step_everything_is_as_before_afterwards(
    scene: Scene, fault: str, every: int
) -> None:
    """Unit tests do all steps against fakes; where *every* is 3, two of three are for `soak`."""
    for number, step in itertools.islice(moments(steps(scene), fault), 0, None, every):
        known = scene.points()
        answer = scene.back_up(number, fault)
        where = f"{fault} at {answer['broken']} (step {number}, at first {step})"
        if fault == "both":
            expect_recovery(scene, where)
        scene.expect_as_before(where)
        expect_whole_points(scene, known, answer, where)
    steps(scene)
    scene.expect_readable_points()


def moments(passed: list[str], fault: str) -> Iterator[tuple[int, str]]:
    """Yield the steps at which *fault* makes a difference, with their numbers.

    After a step is before the next. A signal, and the supervisor's death, change nothing between
    two commands to QEMU.
    """
    ports = ("before provider", "before guest", "before vault", "before supervisor")
    for number, step in enumerate(passed, start=1):
        is_moment = step.startswith("before")
        if fault in ("SIGTERM", "supervisor"):
            is_moment = step.startswith(ports)
        if is_moment:
            yield number, step


def expect_recovery(scene: Scene, where: str) -> None:
    """The next command puts right what both left."""
    for recovered in recover_left_behind(scene.state_dir, wiring.undo):
        assert recovered.error is None, where


def expect_whole_points(scene: Scene, known: list[str], answer: dict[str, Any], where: str) -> None:
    """There is one point more exactly where it was committed."""
    new = [point for point in scene.points() if point not in known]
    run = answer.get("run")
    if run is not None:
        assert new == ([] if run["point"] is None else [run["point"]["id"]]), where
    committed = "after vault.session.commit" in answer.get("steps", ())
    assert len(new) <= 1, where
    if committed:
        assert len(new) == 1, where
