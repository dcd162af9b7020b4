"""An installation in a real guest: damaged and renewed, and what it does when the machine boots."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce.channel.agent import NoAnswerError
from quiesce.demo.bootdisk import PARTITION_AT_BYTES
from quiesce.demo.image import guest_program
from quiesce.system.deadline import Deadline
from tools.guest_program import with_a_flipped_bit
from vm.inside import Inside, wait_until
from vm.scene import AGENT_CONF, GUEST, Scene, as_found

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

RECORD = "/var/lib/quiesce/session.json"
UNIT = "quiesce-guest-recover.service"
BOOT_S = 240.0
DAMAGED = (3, "filesystem", ["IncorrectPluginhostFile"])


@pytest.fixture
def scene(idle_scene: Scene) -> Iterator[Scene]:
    with as_found(idle_scene):
        idle_scene.configure()
        yield idle_scene


def flip(scene: Scene) -> None:
    """Change one bit of the installed program, where it does no harm but to its checksum."""
    whole = guest_program().read_bytes()
    changed = with_a_flipped_bit(whole)
    position = next(at for at, byte in enumerate(whole) if byte != changed[at])
    program = (
        f"file = open('{GUEST}', 'r+b'); file.seek({position});"
        f" file.write(bytes([{changed[position]}]))"
    )
    scene.inside.run("/usr/bin/python3", "-c", program)


def cut(scene: Scene) -> None:
    """Leave half of the installed program: it cannot even start."""
    scene.inside.run("/usr/bin/truncate", "-s", "100000", GUEST)


def installed_checksum(scene: Scene) -> str:
    return scene.inside.run("/usr/bin/tail", "-c", "64", GUEST)


def test_a_damaged_program_costs_one_backup_its_level_and_is_renewed(scene: Scene) -> None:
    flip(scene)
    done = scene.protected.backup()
    ran = scene.scripts_ran()

    assert (done.status, done.level, done.errors) == DAMAGED
    assert ran == []
    assert any("the next backup runs scripts again" in one for one in done.run["warnings"])
    scene.expect_good_backup()


def test_a_recovery_point_holds_what_its_restored_machine_has_to_release(scene: Scene) -> None:
    done = scene.expect_good_backup()
    disks = scene.protected.restore(done.run["point"]["id"])
    told = subprocess.run(
        ["debugfs", "-R", f"cat {RECORD}", f"{disks['system']}?offset={PARTITION_AT_BYTES}"],
        capture_output=True,
        check=True,
    )
    record = json.loads(told.stdout)["record"]

    assert record["session"] == done.run["point"]["id"]
    assert [held["post"]["path"] for held in record["held"]] == ["/etc/quiesce/scripts/post"]
    assert scene.inside.read(RECORD) is None


def test_a_program_that_cannot_start_is_renewed_where_that_is_allowed(scene: Scene) -> None:
    cut(scene)
    scene.protected.set_agent(True, renew=False)
    left = scene.protected.backup()
    scene.protected.set_agent(True)
    renewed = scene.protected.backup()

    assert (left.status, left.level, left.errors) == DAMAGED
    assert any("install -m 755 quiesce-guest.pyz" in one for one in left.run["warnings"])
    assert (renewed.status, renewed.level, renewed.errors) == DAMAGED
    assert scene.scripts_ran() == []
    assert installed_checksum(scene).encode() == guest_program().read_bytes()[-64:]
    assert json.loads(scene.inside.run(GUEST, "check", "--json"))["expected"] == "application"


def reset(scene: Scene) -> None:
    """Reset the machine, as if by its button, and wait until it is up again."""
    path = Path(scene.inside._socket.getpeername())
    scene.inside.close()
    before = boot_id(scene)
    scene.monitor("system_reset")
    wait_until(lambda: boot_id(scene) not in {None, before}, "another boot", limit_s=BOOT_S)
    scene.inside = Inside(scene.vm, path, ("/",))


def boot_id(scene: Scene) -> str | None:
    with contextlib.suppress(NoAnswerError):
        argv = ["/bin/cat", "/proc/sys/kernel/random/boot_id"]
        return scene.vm.run(argv, deadline=Deadline.after(5)).stdout.decode()
    return None


def test_a_machine_that_goes_down_while_held_releases_its_application_when_it_boots(
    scene: Scene,
) -> None:
    scene.configure(post="echo post $QUIESCE_SNAPSHOT >/var/log/released", deadline_s=600)
    scene.inside.run("/usr/bin/sync")  # what the test wrote; the product looks after itself
    held = json.loads(scene.inside.run(GUEST, "hold", "--no-freeze", "--json"))
    assert held["held"], held
    reset(scene)
    wait_until(lambda: scene.inside.read(RECORD) is None, "the release", limit_s=BOOT_S)
    state = "systemctl show -p ActiveState,Result " + UNIT
    wait_until(lambda: "activating" not in scene.inside.sh(state), "the end of the unit")
    report = json.loads(scene.inside.run(GUEST, "report", "--session", held["session"], "--json"))

    assert scene.scripts_ran() == ["post failed"]
    assert scene.inside.read("/var/log/released") == "post unknown\n"
    assert [error["name"] for error in report["errors"]] == ["FreezeWindowExpired"]
    assert "went down" in report["errors"][0]["message"]
    assert held["session"] in scene.inside.run("/usr/bin/journalctl", "-u", UNIT, "-b")
    assert "success" in scene.inside.sh(state)
    expect_good_announcement_by_file(scene)


def expect_good_announcement_by_file(scene: Scene) -> None:
    """What the boot makes suffices for a backup over an agent that runs nothing."""
    settings = scene.files[AGENT_CONF]
    assert settings is not None
    scene.configure()
    scene.inside.sh("rm -r /run/quiesce && systemd-tmpfiles --create --boot")
    there = scene.inside.run("/usr/bin/stat", "-c", "%a %U", "/run/quiesce")
    assert there.strip() == "700 root"
    block = "[general]\nblock-rpcs=guest-exec,guest-exec-status\n"
    scene.set_agent(settings.replace("[general]\n", block))
    done = scene.protected.backup()

    assert (done.status, done.level, done.run["warnings"]) == (0, "application", [])
    assert done.run["report"]["session"] == done.run["point"]["id"]
