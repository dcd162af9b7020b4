"""Every row that a host sees through the agent of a real guest, and H1 to H10 of section 7.

Not seen by a host, and tested where they can happen: a COMMAND that is killed (of row 14), row 20
(`--no-freeze` is an option of `exec`), row 22 (no file system here refuses FITHAW and lets itself
be thawed later), row 24 (it answers as rows 5 to 7 do) and row 25 (a warning in the report). H9 is
of a machine that is off.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from vm import rows
from vm.inside import wait_until
from vm.protected import NAME, Ended, ended
from vm.scene import AGENT_CONF, Scene

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from vm.rows import Row

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

SECOND_FILE_SYSTEM = f"""
truncate -s 16M /var/second
mkfs.ext4 -q /var/second
mount -o loop /var/second {rows.SECOND}
"""
NO_SECOND_FILE_SYSTEM = f"umount {rows.SECOND} && rm /var/second"
GO = "/run/go"
HELD = "/run/held"
NAMES = {
    rows.EVERYTHING: "all allowed",
    rows.FILES: "no exec",
    rows.NOTHING: "no exec no files",
    rows.NO_FREEZE: "no freeze",
}
CASES = [
    pytest.param(
        forbidden, row, id=f"{NAMES[forbidden]}-{row.row}", marks=[pytest.mark.soak] * row.soak
    )
    for forbidden, of_agent in rows.ROWS.items()
    for row in of_agent
]


@pytest.fixture(scope="module")
def vm_scene(idle_scene: Scene) -> Iterator[Scene]:
    idle_scene.inside.sh(SECOND_FILE_SYSTEM)
    yield idle_scene
    idle_scene.restore_files()
    idle_scene.set_disks(1)
    gone = ("/bin/sh", "-c", NO_SECOND_FILE_SYSTEM)
    wait_until(lambda: idle_scene.inside.status(*gone)[0] == 0, "the file system to be gone")


@pytest.fixture(scope="module")
def agent(vm_scene: Scene, request: pytest.FixtureRequest) -> None:
    """The guest's agent refuses these commands; one restart serves all tests that want it so."""
    settings = vm_scene.files[AGENT_CONF]
    assert settings is not None
    assert "[general]\n" in settings
    line = f"[general]\nblock-rpcs={request.param}\n" if request.param else "[general]\n"
    vm_scene.set_agent(settings.replace("[general]\n", line))


@pytest.fixture(scope="module")
def kept(vm_scene: Scene) -> Iterator[list[str]]:
    """The ids of the recovery points that there have to be in the end."""
    ids = [point["id"] for point in vm_scene.protected.points()]
    yield ids
    assert [point["id"] for point in vm_scene.protected.points()] == ids


@pytest.fixture
def scene(vm_scene: Scene) -> Iterator[Scene]:
    """The guest for one test, which leaves nothing at rest."""
    yield vm_scene
    vm_scene.expect_as_before()


@pytest.fixture
def told(kept: list[str]) -> Callable[[Ended], rows.Said]:
    """What a backup said; its point, if it has one, is expected to be there from now on."""

    def tell(done: Ended) -> rows.Said:
        point = done.run["point"]
        if point is not None:
            kept.append(point["id"])
        # The guest and the host may both have found the same.
        errors = tuple(dict.fromkeys(done.errors))
        return rows.Said(done.status, done.level, done.run["outcome"], errors)

    return tell


def is_stopped(process: subprocess.Popen[str]) -> bool:
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def stay_too_long(scene: Scene) -> None:
    wait_until(lambda: "post ok" in scene.scripts_ran(), "the guest's own deadline")


def be_thawed_by_another(scene: Scene) -> None:
    scene.inside.run("fsfreeze", "-u", "/")


def lose_the_guards(scene: Scene) -> None:
    session, watchdog = scene.guards()
    scene.inside.sh(f"kill -9 {session} {watchdog}")


WINDOWS = {
    "too long": stay_too_long,
    "thawed": be_thawed_by_another,
    "guards dead": lose_the_guards,
}


def backed_up(scene: Scene, row: Row) -> Ended:
    if not row.window:
        return scene.protected.backup()
    with scene.protected.started("backup", NAME, stop_at="frozen") as process:
        wait_until(lambda: is_stopped(process), "the frozen guest")
        WINDOWS[row.window](scene)
        os.kill(process.pid, signal.SIGCONT)
        return ended(process)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(("agent", "row"), CASES, indirect=["agent"])
def test_a_host_says_of_each_row_what_the_table_says(
    scene: Scene, row: Row, told: Callable[[Ended], rows.Said]
) -> None:
    scene.set_disks(row.disks)
    scene.configure(pre=row.pre, post=row.post, deadline_s=row.deadline_s, **row.settings)
    scene.inside.sh(row.before)
    try:
        done = backed_up(scene, row)
        ran = scene.scripts_ran()
    finally:
        scene.inside.sh(row.after)

    assert told(done) == row.said, done
    assert tuple(ran) == row.ran


def test_h1_where_no_agent_answers_it_is_crash_consistent(
    scene: Scene, told: Callable[[Ended], rows.Said]
) -> None:
    scene.configure()
    scene.inside.run("systemctl", "stop", "qemu-guest-agent")
    done = scene.protected.backup()
    scene.restart_agent()

    assert told(done) == rows.degraded("crash", "AgentUnavailable")
    assert scene.scripts_ran() == []


def test_h1_where_the_settings_want_no_agent_that_is_complete(
    scene: Scene, told: Callable[[Ended], rows.Said]
) -> None:
    scene.configure()
    scene.protected.set_agent(False)
    done = scene.protected.backup()
    scene.protected.set_agent(True)

    assert told(done) == rows.complete("crash")
    assert scene.scripts_ran() == []


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("agent", [rows.EVERYTHING], indirect=True)
def test_h8_a_paused_machine_is_crash_consistent_and_stays_paused(
    scene: Scene, told: Callable[[Ended], rows.Said]
) -> None:
    scene.configure()
    scene.monitor("stop")
    done = scene.protected.backup()
    status = scene.monitor("query-status")["status"]
    scene.monitor("cont")

    assert told(done) == rows.degraded("crash", "MachinePaused")
    assert status == "paused"
    assert scene.scripts_ran() == []
    # A paused QEMU closes no descriptor that it was passed; the next backup has it do so.
    assert told(scene.expect_good_backup()) == rows.complete("application")


@contextlib.contextmanager
def held(scene: Scene) -> Iterator[subprocess.Popen[str]]:
    """A backup whose pre-script has begun, and ends when the context's body has."""
    scene.inside.sh(f"rm -f {GO} {HELD}")
    scene.configure(pre=f"touch {HELD}; until [ -e {GO} ]; do sleep 0.2; done")
    with scene.protected.started("backup", NAME) as process:
        wait_until(lambda: scene.inside.read(HELD) is not None, "the pre-script")
        yield process


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("agent", [rows.EVERYTHING], indirect=True)
def test_row_14_a_snapshot_that_qemu_refuses_fails_and_everything_is_released(
    scene: Scene, told: Callable[[Ended], rows.Said]
) -> None:
    with held(scene) as process, another_job(scene):
        scene.inside.write(GO, "")
        done = ended(process)

    assert told(done) == rows.Said(9, None, "failed", ("MachineBusy",))
    assert scene.scripts_ran() == ["pre ", "post ok"]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("agent", [rows.EVERYTHING], indirect=True)
def test_row_23_a_backup_that_is_interrupted_releases_everything(scene: Scene) -> None:
    with held(scene) as process:
        process.send_signal(signal.SIGINT)
        scene.inside.write(GO, "")
        done = ended(process)

    assert done.status == 130
    assert scene.scripts_ran() == ["pre ", "post ok"]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("agent", [rows.EVERYTHING], indirect=True)
def test_an_agent_that_is_restarted_while_the_application_is_held_ends_the_backup(
    scene: Scene, told: Callable[[Ended], rows.Said]
) -> None:
    with held(scene) as process:
        first = scene.agent_pid()
        scene.inside.run("systemctl", "restart", "--no-block", "qemu-guest-agent")
        wait_until(lambda: scene.agent_pid() not in {0, first}, "another agent")
        scene.inside.write(GO, "")
        done = ended(process)

    assert told(done) == rows.aborted("Interrupted", rows.FREEZE)
    assert scene.scripts_ran() == ["pre ", "post ok"]


@contextlib.contextmanager
def another_job(scene: Scene) -> Iterator[None]:
    """Somebody else copies the disk, slowly."""
    disk = scene.monitor("query-block")[0]
    size = disk["inserted"]["image"]["virtual-size"]
    scene.monitor("blockdev-add", driver="null-co", node_name="sink", size=size)
    node = disk["inserted"]["node-name"]
    job = {"job_id": "other", "device": node, "target": "sink", "sync": "full", "speed": 1}
    scene.monitor("blockdev-backup", **job)
    try:
        yield
    finally:
        scene.monitor("block-job-cancel", device="other", force=True)
        wait_until(lambda: not scene.monitor("query-jobs"), "the job's end")
        scene.monitor("blockdev-del", node_name="sink")
