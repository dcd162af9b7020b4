"""Disks alone that go wrong while they are read, and a backup of them that dies."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import wait_until
from quiesce import keycare, wiring
from quiesce.config import Settings
from quiesce.environment import Environment
from quiesce.providers.readers import start_time
from quiesce.testing.fakes import SilentProgress
from vault_box import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quiesce.jobs.account import BackupRun

pytestmark = pytest.mark.faults

MIB = 1 << 20
DIE = """
import os, signal, sys
from pathlib import Path
from quiesce import keycare, wiring
from quiesce.config import Settings
from quiesce.environment import Environment
from quiesce.testing.fakes import SilentProgress

class Deadly(SilentProgress):
    def stage(self, name, total_bytes=None):
        if name.startswith("copy"):
            os.kill(os.getpid(), signal.SIGKILL)

environment = Environment(Settings(machine={}), Path(sys.argv[1]), sys.argv[2])
options = wiring.MachineOptions(disks=tuple(sys.argv[3:]))
wiring.backup(environment, "old1", options, progress=Deadly())
"""


class Meanwhile(SilentProgress):
    """Does something when the copy begins."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self.did = False

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        del total_bytes
        if name.startswith("copy") and not self.did:
            self.did = True
            self._act()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    url = (tmp_path / "vault").as_uri()
    environment = Environment(Settings(machine={}), tmp_path / "state", url)
    keycare.create_vault(environment)
    yield environment
    assert list((environment.state_dir / "undo").glob("*")) == []
    assert list((environment.state_dir / "scratch").glob("*")) == []


def back_up(
    environment: Environment, disk: Path, act: Callable[[], Any] = lambda: None
) -> BackupRun:
    progress = Meanwhile(act)
    run = wiring.backup(
        environment, "old1", wiring.MachineOptions(disks=(str(disk),)), progress=progress
    )
    assert progress.did
    return run


def expect_broken(environment: Environment, run: BackupRun, told: str) -> None:
    assert run.point is None
    assert run.error is not None
    assert run.error.name == "SnapshotBroken"
    assert told in run.error.message
    assert run.exit_status == 5
    assert wiring.open_vault(environment).points() == ()


def write(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"changed")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "a.raw"
    path.write_bytes(pattern(1, 16 * MIB))
    return path


def test_a_disk_that_shrinks_breaks_the_snapshot(environment: Environment, raw: Path) -> None:
    run = back_up(environment, raw, lambda: os.truncate(raw, 3 * MIB))
    expect_broken(environment, run, "a.raw was written to")


@pytest.mark.parametrize("at", [0, 15 * MIB])
def test_a_disk_that_is_written_to_breaks_the_snapshot(
    environment: Environment, raw: Path, at: int
) -> None:
    run = back_up(environment, raw, lambda: write(raw, at))
    expect_broken(environment, run, "was written to while it was read")
    assert back_up(environment, raw).point is not None


def test_what_a_qcow2_lies_on_may_not_be_written_to_either(
    environment: Environment, raw: Path, tmp_path: Path
) -> None:
    top = tmp_path / "b.qcow2"
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", top]
    subprocess.run(create, check=True)
    run = back_up(environment, top, lambda: write(raw, MIB))
    expect_broken(environment, run, "a.raw was written to")


def test_a_block_device_that_is_written_to_breaks_the_snapshot(
    environment: Environment, raw: Path
) -> None:
    with loop_device(raw) as device:

        def act() -> None:
            descriptor = os.open(device, os.O_WRONLY)
            os.write(descriptor, b"changed")
            os.fsync(descriptor)
            os.close(descriptor)

        expect_broken(environment, back_up(environment, device, act), "was written to")


@contextlib.contextmanager
def loop_device(path: Path) -> Iterator[Path]:
    command = ["losetup", "--find", "--show", str(path)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_no_qemu_and_no_mount_gets_at_a_disk_meanwhile(
    environment: Environment, raw: Path, tmp_path: Path
) -> None:
    statuses = []

    def run(*command: object) -> None:
        words = [str(word) for word in command]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        statuses.append((done.returncode, done.stdout + done.stderr))

    back_up(environment, raw, lambda: run("qemu-io", "-f", "raw", "-c", "write 0 1k", raw))
    subprocess.run(["mkfs.ext4", "-q", "-F", raw], check=True)
    with loop_device(raw) as device:
        mounting = back_up(environment, device, lambda: run("mount", device, tmp_path))

    (by_qemu, told), (by_mount, _) = statuses
    assert by_qemu == 1
    assert '"write" lock' in told
    assert by_mount != 0
    assert mounting.point is not None, mounting.errors


def test_an_input_error_breaks_the_snapshot(
    environment: Environment, raw: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.raw"
    broken.touch()
    pid = tmp_path / "pid"
    rule = "inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5"
    sector = f"inject-error.0.sector={9 * MIB // 512}"
    node = f"driver=blkdebug,node-name=n,image.driver=file,image.filename={raw},{rule},{sector}"
    export = f"type=fuse,id=e,node-name=n,mountpoint={broken},writable=off"
    daemon = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev", node, "--pidfile", pid, "--export", export],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: pid.exists() or daemon.poll() is not None)
        run = back_up(environment, broken)
        expect_broken(environment, run, "Input/output error")
    finally:
        daemon.terminate()
        daemon.communicate()


def test_a_killed_backup_leaves_no_server_and_the_next_command_tidies_up(
    environment: Environment, tmp_path: Path
) -> None:
    image = tmp_path / "a.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True)
    command = [sys.executable, "-c", DIE, environment.state_dir, environment.vault_url, image]
    died = subprocess.run(
        [str(word) for word in command],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert died.returncode == -9

    assert len(list((environment.state_dir / "undo").glob("*.json"))) == 1
    note = next((environment.state_dir / "undo").glob("*.json"))
    ((server, started),) = json.loads(note.read_text())["readers"]
    wait_until(lambda: start_time(server) != started)
    (recovered,) = wiring.recover(environment)
    assert (recovered.machine, recovered.error) == ("old1", None)
    assert back_up(environment, image).point is not None


def test_a_vault_on_a_disk_of_a_running_qemu_is_refused(tmp_path: Path) -> None:
    image, place = tmp_path / "fs.img", tmp_path / "m"
    image.touch()
    os.truncate(image, 64 * MIB)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        environment = Environment(
            Settings(machine={}), tmp_path / "state", (place / "vault").as_uri()
        )
        keycare.create_vault(environment)
        # It is never let go, so that nobody writes to the mounted file system but its kernel.
        qemu = ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-accel", "tcg"]
        qemu += ["-blockdev", f"driver=raw,node-name=n,file.driver=file,file.filename={image}"]
        qemu += ["-device", "virtio-blk-pci,drive=n,id=vda"]
        qemu += ["-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off"]
        started = subprocess.Popen(qemu)
        try:
            wait_until(lambda: (tmp_path / "qmp").exists() or started.poll() is not None)
            options = wiring.MachineOptions(qmp=tmp_path / "qmp")
            run = wiring.backup(environment, "vm", options, progress=SilentProgress())
        finally:
            started.kill()
            started.wait()
        assert run.error is not None
        assert run.error.name == "VaultOnDisk"
        assert run.exit_status == 4
        assert list((environment.state_dir / "scratch").glob("*")) == []
    finally:
        subprocess.run(["umount", place], check=True)
