"""A real guest behind its real agent: what each agent lets us do, and what is claimed then."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from vm.inside import wait_until
from vm.protected import NAME, ended
from vm.scene import AGENT_CONF, GUEST, Scene, as_found

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

FORBIDDEN = {
    "exec": "guest-exec,guest-exec-status",
    "exec and files": "guest-exec,guest-exec-status,guest-file-open,guest-file-read",
}
OTHER_HOOK = """\
# by hand
[general]
daemon=0
fsfreeze-hook=/usr/local/sbin/other hook
; the end"""


@pytest.fixture
def scene(postgresql_scene: Scene) -> Iterator[Scene]:
    with as_found(postgresql_scene):
        postgresql_scene.configure()
        yield postgresql_scene


def forbid(scene: Scene, what: str) -> None:
    """Let the agent refuse the commands that serve for *what*."""
    settings = scene.files[AGENT_CONF]
    assert settings is not None
    assert "[general]\n" in settings
    line = f"[general]\nblock-rpcs={FORBIDDEN[what]}\n"
    scene.set_agent(settings.replace("[general]\n", line))


def is_stopped(process: subprocess.Popen[str]) -> bool:
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def test_the_guest_has_two_file_systems_and_our_hook(scene: Scene) -> None:
    scene.restore_files()
    mounts = scene.inside.run("findmnt", "-rno", "TARGET,FSTYPE,SOURCE")
    check = scene.inside.run(GUEST, "check", "--json")

    assert "/ ext4 /dev/vda1" in mounts
    assert "/var/lib/postgresql xfs /dev/vdb" in mounts
    assert "fsfreeze-hook=" in (scene.inside.read(AGENT_CONF) or "")
    assert json.loads(check)["expected"] == "application"


def test_with_everything_allowed_the_level_is_application_with_the_guest_s_report(
    scene: Scene,
) -> None:
    done = scene.protected.backup()
    report = done.run["report"]

    assert (done.status, done.level, done.errors) == (0, "application", [])
    assert report["session"] == done.run["point"]["id"]
    assert report["door"] == "qga"
    assert report["disks"] == {"count": 2, "source": "host"}
    assert {mount["path"] for mount in report["mounts"] if mount["frozen"] == "door"} == {
        "/",
        "/var/lib/postgresql",
    }
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_without_guest_exec_the_guest_s_files_serve(scene: Scene) -> None:
    forbid(scene, "exec")
    done = scene.protected.backup()

    assert (done.status, done.level, done.errors) == (0, "application", [])
    assert done.run["report"]["session"] == done.run["point"]["id"]
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_without_exec_and_files_nothing_better_than_filesystem_is_claimed(scene: Scene) -> None:
    forbid(scene, "exec and files")
    done = scene.protected.backup()

    assert (done.status, done.level, done.errors) == (3, "filesystem", ["GuestReportUnavailable"])
    assert done.run["report"] is None
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_an_agent_without_our_hook_gives_filesystem_and_says_so(scene: Scene) -> None:
    scene.inside.run(GUEST, "uninstall", "qga", "--restart")
    done = scene.protected.backup()
    scene.inside.run(GUEST, "install", "qga", "--restart")

    assert (done.status, done.level, done.errors) == (0, "filesystem", [])
    assert [warning for warning in done.run["warnings"] if "HookMissing" in warning]
    assert scene.scripts_ran() == []


def test_a_guest_without_quiesce_guest_gives_filesystem_and_says_so(scene: Scene) -> None:
    scene.inside.run(GUEST, "uninstall", "qga", "--restart")
    scene.inside.run("/bin/mv", GUEST, f"{GUEST}.away")
    done = scene.protected.backup()
    scene.inside.run("/bin/mv", f"{GUEST}.away", GUEST)
    scene.inside.run(GUEST, "install", "qga", "--restart")

    assert (done.status, done.level, done.errors) == (0, "filesystem", [])
    assert [warning for warning in done.run["warnings"] if "HookMissing" in warning]


# A frozen agent does not end by itself: systemd kills it when its patience is at an end.
IMPATIENT = """
mkdir -p /run/systemd/system/qemu-guest-agent.service.d
echo '[Service]\nTimeoutStopSec=1s' >/run/systemd/system/qemu-guest-agent.service.d/test.conf
systemctl daemon-reload
"""


@pytest.mark.parametrize("how", ["systemctl restart qemu-guest-agent", "kill -9 $PID"])
def test_an_agent_that_ends_inside_the_window_neither_frees_nor_loses_it(
    scene: Scene, how: str
) -> None:
    scene.configure(deadline_s=60)
    scene.inside.sh(IMPATIENT)
    first = scene.agent_pid()
    with scene.protected.started("backup", NAME, stop_at="frozen") as process:
        wait_until(lambda: is_stopped(process), "the frozen guest")
        guards = scene.guards()
        scene.inside.sh(f"PID={first}; {how}")
        wait_until(lambda: scene.agent_pid() not in {0, first}, "another agent")
        held_by = [pid for pid in guards if scene.inside.is_alive(pid)]
        ran = scene.scripts_ran()
        os.kill(process.pid, signal.SIGCONT)
        done = ended(process)

    assert len(guards) == 2
    assert held_by == guards
    assert ran == ["pre "]
    assert (done.status, done.level, done.errors) == (0, "application", [])
    assert scene.scripts_ran() == ["pre ", "post ok"]


def test_the_hook_is_installed_beside_other_settings_and_taken_back_without_a_trace(
    scene: Scene,
) -> None:
    scene.inside.run(GUEST, "uninstall", "qga")
    without = scene.inside.read(AGENT_CONF)
    scene.inside.write(AGENT_CONF, OTHER_HOOK, 0o644)
    scene.inside.run(GUEST, "install", "qga")
    installed = scene.inside.read(AGENT_CONF)
    scene.inside.run(GUEST, "uninstall", "qga")
    taken_back = scene.inside.read(AGENT_CONF)
    if without is None:
        scene.inside.remove(AGENT_CONF)
    else:
        scene.inside.write(AGENT_CONF, without, 0o644)
    scene.inside.run(GUEST, "install", "qga")

    assert installed is not None
    assert "daemon=0" in installed
    assert "other hook" not in installed
    assert taken_back == OTHER_HOOK
    assert scene.inside.read(AGENT_CONF) == scene.files[AGENT_CONF]
