"""`/` frozen in a guest without memory: the watchdog thaws it at the deadline all the same."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from vm.inside import wait_until
from vm.protected import NAME, ended
from vm.scene import GUEST, LATE_S, Scene, as_found, idle_vm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from vm.conftest import Machines
    from vm.inside import Inside

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

MEMORY = "256M"
DEADLINE_S = 8
# Takes all memory but a little, again and again, and lets no page of a file stay that can go.
EATER = """\
import time

LEAST_KIB = 24 * 1024


def available_kib():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))


eaten = []
while True:
    while available_kib() > LEAST_KIB:
        eaten.append(bytes(bytearray(b"x") * (1 << 20)))
    with open("/run/eaten", "w") as file:
        file.write(str(len(eaten)))
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    time.sleep(0.5)
"""
# Killed for want of memory it begins again.
EAT = (
    "systemd-run -q --collect --unit=eater -p OOMScoreAdjust=1000 -p Restart=always"
    " -p StartLimitIntervalSec=0 /usr/bin/python3 /run/eater.py"
)
HANG = f"setsid {GUEST} exec --freeze / -- sleep 600 </dev/null >/run/exec.out 2>&1 &"


@pytest.fixture(scope="module")
def vm_scene(module_machines: Machines) -> Iterator[Scene]:
    with idle_vm(module_machines, extra=["-m", MEMORY]) as scene:
        scene.inside.write("/run/eater.py", EATER)
        yield scene


@pytest.fixture
def scene(vm_scene: Scene) -> Iterator[Scene]:
    """A guest in which nothing but `/` can be frozen, and whose scripts run."""
    with as_found(vm_scene):
        vm_scene.configure(deadline_s=DEADLINE_S)
        yield vm_scene
        longest_s = vm_scene.inside.pulse()["/"]["longest_s"]
        vm_scene.inside.run("systemctl", "stop", "eater")
        assert longest_s <= DEADLINE_S + LATE_S


def eat(inside: Inside) -> None:
    """Return when all memory is eaten."""
    inside.remove("/run/eaten")
    inside.sh(EAT)
    wait_until(lambda: inside.read("/run/eaten"), "the memory to be eaten")


def major_faults(inside: Inside, pid: int) -> int:
    stat = inside.read(f"/proc/{pid}/stat") or ""
    return int(stat.rpartition(")")[2].split()[9])


def locked_kib(inside: Inside, pid: int) -> int:
    status = inside.read(f"/proc/{pid}/status") or ""
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmLck"))


def is_stopped(process: subprocess.Popen[str]) -> bool:
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def is_frozen(inside: Inside) -> bool:
    return inside.pulse()["/"]["waits_s"] > 1


def expect_no_faults(inside: Inside, watchdog: int, before: int) -> None:
    """The watchdog has read nothing from the frozen disk, and cannot have to."""
    assert locked_kib(inside, watchdog) > 0
    assert major_faults(inside, watchdog) == before


def test_through_the_agent_whose_host_does_not_come_back(scene: Scene) -> None:
    with scene.protected.started("backup", NAME, stop_at="frozen") as process:
        wait_until(lambda: is_stopped(process), "the frozen guest")
        _session, watchdog = scene.guards()
        faults = major_faults(scene.inside, watchdog)
        eat(scene.inside)
        expect_no_faults(scene.inside, watchdog, faults)
        wait_until(lambda: "post ok" in scene.scripts_ran(), "the deadline")
        os.kill(process.pid, signal.SIGCONT)
        done = ended(process)

    assert (done.status, done.level) == (3, "crash"), done
    assert "FreezeWindowExpired" in done.errors
    assert scene.scripts_ran() == ["pre ", "post ok"]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("", id="waits"),
        pytest.param("-STOP", id="stopped", marks=pytest.mark.soak),
        pytest.param("-KILL", id="killed", marks=pytest.mark.soak),
    ],
)
def test_by_an_exec_whose_command_hangs_and_whose_engine(scene: Scene, harm: str) -> None:
    scene.inside.sh(HANG)
    wait_until(lambda: is_frozen(scene.inside), "/ to be frozen")
    engine, watchdog = scene.guards()
    faults = major_faults(scene.inside, watchdog)
    eat(scene.inside)
    expect_no_faults(scene.inside, watchdog, faults)
    if harm:
        scene.inside.sh(f"kill {harm} {engine}")
    wait_until(lambda: "post ok" in scene.scripts_ran(), "the deadline")
    scene.inside.expect_beats()

    assert scene.scripts_ran() == ["pre ", "post ok"]
