"""`quiesce backup NAME --disk …`: real files, images, devices and file systems, right and wrong."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import wait_until
from quiesce import keycare, wiring
from quiesce.config import Settings
from quiesce.environment import Environment
from quiesce.errors import QuiesceError
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_box import Box
    from quiesce.jobs.account import BackupRun

pytestmark = pytest.mark.integration

MIB = 1 << 20
MOUNTED = """
set -e
mkdir -p "$2"
mount -o loop "$1" "$2"
python3 -c 'import os, sys
for number in range(20):
    file = os.open(f"{sys.argv[1]}/{number}", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"some text " * 1000)
    os.fsync(file)' "$2"
cp --sparse=always "$1" "$3"
umount "$2"
"""


@dataclass
class Scene:
    """An empty vault, and a directory for disks."""

    directory: Path
    environment: Environment

    def back_up(self, *disks: object, name: str = "old1", **given: Any) -> BackupRun:
        options = wiring.MachineOptions(disks=tuple(map(str, disks)), **given)
        return wiring.backup(self.environment, name, options, progress=SilentProgress())

    def restored(self, run: BackupRun) -> dict[str, bytes]:
        assert run.point is not None, run.errors
        target = self.directory / f"out-{run.point.id}"
        done = wiring.restore(
            self.environment, run.point.id, target, image_format="raw", progress=SilentProgress()
        )
        return {disk.name: path.read_bytes() for disk, path in done.disks}

    def expect_nothing_left(self) -> None:
        state = self.environment.state_dir
        assert list((state / "undo").glob("*")) == []
        assert list((state / "scratch").glob("*")) == []


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    url = (tmp_path / "vault").as_uri()
    environment = Environment(Settings(machine={}), tmp_path / "state", url)
    keycare.create_vault(environment)
    disks = tmp_path / "disks"
    disks.mkdir()
    scene = Scene(disks, environment)
    yield scene
    scene.expect_nothing_left()


@pytest.fixture
def raw(scene: Scene) -> Path:
    """A sparse raw disk, with something in it, of an odd size."""
    path = scene.directory / "a.raw"
    with path.open("wb") as file:
        file.truncate(40 * MIB + 1000)
        for at in (0, 7 * MIB + 13, 40 * MIB):
            file.seek(at)
            file.write(pattern(at, 1000))
    return path


def level(run: BackupRun) -> tuple[str, str]:
    assert run.point is not None, run.errors
    return run.point.consistency.value, run.outcome.value


def error(run: BackupRun) -> str:
    assert run.point is None
    assert run.error is not None
    return f"{run.error.name}: {run.error.message}"


def qemu(program: str, *words: object) -> None:
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)


@contextlib.contextmanager
def loop_device(path: Path, *options: str) -> Iterator[Path]:
    command = ["losetup", "--find", "--show", *options, str(path)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


# --- what is read ------------------------------------------------------------------------------


def test_a_sparse_file_comes_back_byte_for_byte_and_its_holes_are_not_read(
    scene: Scene, raw: Path
) -> None:
    run = scene.back_up(raw)

    assert scene.restored(run) == {"a.raw": raw.read_bytes()}
    assert run.disks[0].mode == "full"
    assert run.disks[0].read_bytes <= 4 * CHUNK
    assert run.point is not None
    assert [disk.name for disk in run.point.disks] == ["a.raw"]


def test_a_qcow2_is_read_through_everything_that_it_lies_on(scene: Scene, raw: Path) -> None:
    os.truncate(raw, 40 * MIB)
    middle, top = scene.directory / "b.qcow2", scene.directory / "c.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.raw", "-F", "raw", middle)
    qemu("qemu-io", "-c", "write -P 5 3M 70k", middle)
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top, "64M")
    qemu("qemu-io", "-c", "write -P 6 60M 1M", "-c", "write -z 7M 1M", top)
    flat = scene.directory / "flat"
    qemu("qemu-img", "convert", "-O", "raw", top, flat)

    run = scene.back_up(top, raw)

    assert scene.restored(run) == {"c.qcow2": flat.read_bytes(), "a.raw": raw.read_bytes()}
    assert run.disks[0].read_bytes < 10 * MIB


def test_a_block_device_is_read(scene: Scene, raw: Path) -> None:
    os.truncate(raw, 40 * MIB)
    for options in ([], ["--read-only"]):
        with loop_device(raw, *options) as device:
            run = scene.back_up(device)
            assert scene.restored(run) == {device.name: raw.read_bytes()}


def test_the_settings_may_name_the_disks(scene: Scene, raw: Path) -> None:
    settings = Settings.model_validate({"machine": {"old1": {"disks": [f"raw:{raw}"]}}})
    environment = Environment(settings, scene.environment.state_dir, scene.environment.vault_url)
    run = wiring.backup(environment, "old1", wiring.MachineOptions(), progress=SilentProgress())
    assert scene.restored(run) == {"a.raw": raw.read_bytes()}


# --- the level ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_only_a_file_system_that_was_unmounted_makes_it_file_system_consistent(
    scene: Scene, fstype: str
) -> None:
    image, copy = scene.directory / "clean.raw", scene.directory / "mounted.raw"
    with image.open("wb") as file:
        file.truncate(320 * MIB)
    qemu(f"mkfs.{fstype}", "-q", image)
    assert level(scene.back_up(image)) == ("filesystem", "complete")
    # In a mount namespace of its own, so that nobody else can keep it mounted.
    script = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", image, scene.directory / "m", copy]
    subprocess.run([str(word) for word in script], check=True)

    unmounted, mounted = scene.back_up(image), scene.back_up(copy)

    assert level(unmounted) == ("filesystem", "complete")
    assert unmounted.exit_status == 0
    assert level(mounted) == ("crash", "degraded")
    assert mounted.exit_status == 3
    assert any("needs to be replayed" in warning for warning in mounted.warnings)


def test_one_disk_that_is_not_understood_lowers_all(scene: Scene, raw: Path) -> None:
    image = scene.directory / "clean.raw"
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    qemu("mkfs.ext4", "-q", image)

    run = scene.back_up(image, raw)

    assert level(run) == ("crash", "degraded")
    assert [warning for warning in run.warnings if "a.raw: no file system" in warning]


def test_the_report_of_exec_is_evidence_once(scene: Scene, box: Box, tmp_path: Path) -> None:
    box.mount("/mnt/a", "xfs")
    box.configure(pre="echo lsn=0/30 >>$QUIESCE_FACTS")
    command = ["cp", "--sparse=always", "/mnt/a.img", "/run/snapshot.raw"]
    box.write("/mnt/a.img", "the disk as it was in the window")
    told = box.run("exec", "--report", "/run/report.json", "--", *command)
    assert told.returncode == 0, told.stderr
    report = box.root / "run/report.json"
    disk = scene.directory / "snapshot.raw"
    disk.write_bytes((box.root / "run/snapshot.raw").read_bytes())

    run = scene.back_up(disk, report=report)

    assert level(run) == ("application", "complete")
    assert run.point is not None
    kept = wiring.open_vault(scene.environment).read(run.point).evidence
    assert kept.report == json.loads(report.read_text())
    assert kept.report["session"] != run.session
    assert kept.consistency.value == "application"

    again = scene.back_up(disk, report=report)
    assert "ReportRefused" in error(again)
    assert run.point.id in error(again)
    assert level(scene.back_up(disk, name="other", report=report)) == ("application", "complete")


# --- who writes --------------------------------------------------------------------------------


def test_a_file_that_is_open_for_writing_is_refused_unless_nobody_writes(
    scene: Scene, raw: Path
) -> None:
    with raw.open("r+b"):
        refused = scene.back_up(raw)
        assert "DiskInUse" in error(refused)
        assert f"(process {os.getpid()})" in error(refused)
        assert refused.exit_status == 9
        assert scene.restored(scene.back_up(raw, at_rest=True)) == {"a.raw": raw.read_bytes()}
    assert scene.back_up(raw).point is not None


def test_a_file_that_the_kernel_writes_to_is_refused(scene: Scene, raw: Path) -> None:
    with loop_device(raw):
        assert "DiskInUse" in error(scene.back_up(raw))


def test_a_device_that_a_process_may_write_to_is_refused(scene: Scene, raw: Path) -> None:
    with loop_device(raw) as device:
        with device.open("r+b", buffering=0):
            refused = scene.back_up(device)
            assert f"(process {os.getpid()}) has it open" in error(refused)
            assert scene.back_up(device, at_rest=True).point is not None
        assert scene.back_up(device).point is not None


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_the_image_of_a_running_qemu_is_refused(scene: Scene, kind: str) -> None:
    image = scene.directory / f"a.{kind}"
    qemu("qemu-img", "create", "-q", "-f", kind, image, "8M")
    above = scene.directory / "above.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", kind, above)
    node = f"driver={kind},node-name=n,file.driver=file,file.filename={image}"
    daemon = ["qemu-storage-daemon", "--blockdev", node, "--export", "type=vhost-user-blk,id=e"]
    daemon[-1] += f",node-name=n,writable=on,addr.type=unix,addr.path={scene.directory}/s"
    daemon += ["--pidfile", str(scene.directory / "pid")]
    process = subprocess.Popen(daemon, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for(scene.directory / "pid", process)
        assert "DiskInUse" in error(scene.back_up(image))
        assert "DiskInUse" in error(scene.back_up(above))
        assert scene.back_up(image, at_rest=True).point is not None
    finally:
        process.kill()
        process.communicate()
    assert scene.back_up(above).point is not None


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: path.exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def test_a_device_that_is_mounted_is_refused(scene: Scene, raw: Path, box: Box) -> None:
    del raw
    box.mount("/mnt/a")
    told = box.shell("findmnt -no SOURCE /mnt/a")
    device = Path(told.stdout.strip())

    refused = scene.back_up(device)

    assert "DiskInUse" in error(refused)
    assert "mounted" in error(refused)


# --- what changed ------------------------------------------------------------------------------


def test_with_a_change_list_only_that_is_read(scene: Scene, tmp_path: Path) -> None:
    disk = scene.directory / "a.raw"
    disk.write_bytes(pattern(1, 20 * MIB))
    first = scene.back_up(disk)
    with disk.open("r+b") as file:
        file.seek(5 * MIB + 3)
        file.write(b"changed")
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps([[5 * MIB + 3, 7]]))

    run = scene.back_up(disk, changed=(changed,))

    assert run.disks[0].mode == "incremental"
    assert run.disks[0].read_bytes == 2 * CHUNK
    assert run.disks[0].new_bytes == CHUNK
    assert scene.restored(run) == {"a.raw": disk.read_bytes()}
    # The list is older than the point that was made with it.
    os.utime(changed, (0, 0))
    assert scene.back_up(disk, changed=(changed,)).disks[0].mode == "compare"
    assert first.point is not None
    changed.write_text(json.dumps({"since": first.point.id, "changed": []}))
    stale = scene.back_up(disk, changed=(changed,))
    assert (stale.disks[0].mode, stale.disks[0].new_bytes) == ("compare", 0)
    assert "counts from" in stale.disks[0].why


# --- space -------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(directory: Path, *options: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_vault_fails_the_backup_and_with_room_it_goes_on(scene: Scene) -> None:
    disk = scene.directory / "a.raw"
    disk.write_bytes(pattern(1, 60 * MIB))
    place = scene.directory / "small"
    with mounted(place, "-t", "tmpfs", "-o", "size=40m", "tmpfs"):
        environment = Environment(
            Settings(machine={}), scene.environment.state_dir, (place / "vault").as_uri()
        )
        keycare.create_vault(environment)
        small = Scene(scene.directory, environment)

        full = small.back_up(disk)

        assert "VaultFull" in error(full)
        assert full.exit_status == 6
        assert wiring.open_vault(environment).points() == ()
        status = os.statvfs(place)
        assert status.f_bavail * 100 >= status.f_blocks
        subprocess.run(["mount", "-o", "remount,size=120m", place], check=True)

        run = small.back_up(disk)

        assert run.point is not None
        assert 0 < run.disks[0].new_bytes < 50 * MIB
        assert small.restored(run) == {"a.raw": disk.read_bytes()}


def test_packs_leave_a_reserve_that_the_log_may_use(tmp_path: Path) -> None:
    place = tmp_path / "small"
    with mounted(place, "-t", "tmpfs", "-o", "size=10m", "tmpfs"):
        store = DirectoryStore(place)
        sid = "01JD7Z9K000000000000000001"
        assert store.create(f"domains/a/packs/{sid}/d-1", bytes(9 * MIB))
        refused = bytes(MIB - 80 * 1024)
        with pytest.raises(QuiesceError, match="are kept free") as caught:
            store.create(f"domains/a/packs/{sid}/d-2", refused)
        assert caught.value.name == "VaultFull"
        assert list(store.list("domains/a/packs")) == [f"domains/a/packs/{sid}/d-1"]
        assert store.create("domains/a/log/1", refused)


def test_a_vault_on_the_disk_that_is_backed_up_is_refused_unless_meant(scene: Scene) -> None:
    image = scene.directory / "a.raw"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    qemu("mkfs.ext4", "-q", image)
    place = scene.directory / "m"
    with mounted(place, "-o", "loop", str(image)):
        environment = Environment(
            Settings(machine={}), scene.environment.state_dir, (place / "vault").as_uri()
        )
        keycare.create_vault(environment)
        on_it = Scene(scene.directory, environment)
        source = subprocess.check_output(["findmnt", "-no", "SOURCE", place], text=True).strip()
        for disk in (image, source):
            refused = on_it.back_up(disk, at_rest=True)
            assert "VaultOnDisk: the vault" in error(refused)
            assert refused.exit_status == 4
        scratch = scene.back_up(image, at_rest=True, scratch=place / "scratch")
        assert "VaultOnDisk: the scratch" in error(scratch)
        # A file beside the vault is another matter.
        other = place / "b.raw"
        other.write_bytes(b"beside the vault")
        assert on_it.back_up(other).point is not None
        meant = on_it.back_up(image, at_rest=True, vault_on_disk=True)
        # The vault's own writes change the disk while it is read.
        assert "SnapshotBroken" in error(meant)


# --- wrong input -------------------------------------------------------------------------------


@dataclass
class Program:
    """`python -m quiesce`, for a person and for a program."""

    scene: Scene

    def expect(self, status: int, name: str, *arguments: object) -> dict[str, Any]:
        settings = self.scene.directory / "quiesce.toml"
        settings.touch()
        environment = self.scene.environment
        command = [sys.executable, "-m", "quiesce", "--config", settings, "--vault"]
        command += [environment.vault_url, "backup", *arguments, "--json"]
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        document = json.loads(done.stdout)
        error = document["error"] if "error" in document else document["runs"][0]["error"]
        assert error["name"] == name
        assert error["action"]
        found: dict[str, Any] = error
        return found


def test_usage_that_makes_no_sense(scene: Scene, raw: Path) -> None:
    program = Program(scene)
    program.expect(2, "Usage", "a", "b", "--disk", raw)
    program.expect(2, "Usage", "a", "--disk", raw, "--qmp", "/run/q")
    program.expect(10, "MachineNotFound", "a", "--at-rest")


def wrong_disks(directory: Path) -> Iterator[tuple[str, object, str]]:
    yield "DiskNotFound", directory / "missing.raw", "No such file"
    yield "SnapshotUnsupported", directory, "neither a file nor a block device"
    yield "SnapshotUnsupported", "/dev/null", "neither a file nor a block device"
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    yield "SnapshotUnsupported", fifo, "neither a file nor a block device"
    empty = directory / "empty.raw"
    empty.touch()
    yield "SnapshotUnsupported", empty, "is empty"
    named = directory / "named.qcow2"
    named.write_bytes(bytes(4096))
    yield "SnapshotUnsupported", named, "is none"
    yield "SnapshotUnsupported", f"qcow2:{named}", "damaged"
    # A guest that can write to its raw disk can make it look so.
    looks = directory / "looks.raw"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", looks, "1M")
    yield "SnapshotUnsupported", looks, "not named so"
    hidden = directory / ".raw"
    hidden.write_bytes(bytes(4096))
    yield "SnapshotUnsupported", hidden, "cannot be a disk's name"
    lost = directory / "lost.qcow2"
    base = directory / "base"
    base.write_bytes(bytes(MIB))
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", lost)
    base.unlink()
    yield "DiskNotFound", lost, "base: No such file"
    circle = directory / "circle.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", circle, "1M")
    qemu("qemu-img", "rebase", "-u", "-b", circle, "-F", "qcow2", circle)
    yield "SnapshotUnsupported", circle, "files below it"


def test_disks_that_are_none(scene: Scene, raw: Path) -> None:
    for name, disk, told in wrong_disks(scene.directory):
        run = scene.back_up(raw, disk)
        assert error(run).startswith(name), disk
        assert told in error(run), disk
    twice = scene.back_up(raw, scene.directory / "." / raw.name)
    assert "two disks are called a.raw" in error(twice)


def test_a_damaged_qcow2_breaks_the_backup_and_nothing_else(scene: Scene) -> None:
    image = scene.directory / "a.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", image, "8M")
    qemu("qemu-io", "-c", "write -P 1 0 8M", image)
    with image.open("r+b") as file:
        file.seek(40)
        file.write((1 << 62).to_bytes(8, "big"))  # where its L1 table is said to lie
    assert "SnapshotUnsupported" in error(scene.back_up(image))
    short = scene.directory / "b.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", short, "8M")
    qemu("qemu-io", "-c", "write -P 1 0 8M", short)
    os.truncate(short, 3 * MIB)
    run = scene.back_up(short)
    assert run.point is None or scene.restored(run)["b.qcow2"][-MIB:] == bytes(MIB)


REPORTS = [
    (None, 0o600, "cannot be read"),
    ("dear reader", 0o600, "Expecting value"),
    ("[]", 0o600, "not a quiesce.report/1"),
    ('{"schema": "quiesce.report/9"}', 0o600, "schema is"),
    ("{}", 0o666, "others than its owner"),
]


@pytest.mark.parametrize(("text", "mode", "told"), REPORTS)
def test_reports_that_are_no_evidence(
    scene: Scene, raw: Path, *, text: str | None, mode: int, told: str
) -> None:
    report = scene.directory / "report.json"
    if text is not None:
        report.write_text(text)
        report.chmod(mode)

    refused = scene.back_up(raw, report=report)

    assert error(refused).startswith("ReportRefused")
    assert told in error(refused)
    assert refused.exit_status == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dear reader", "no JSON"),
        ("{}", "since"),
        ('{"since": "latest", "changed": []}', "no point's id"),
        ("7", "no list"),
        ("[[1]]", "expected 2"),
        ("[[0, -1]]", "no number of bytes"),
        ("[[0, 1.5]]", "no number of bytes"),
        ('[{"offset": 0}]', "length"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_change_lists_that_are_none(scene: Scene, raw: Path, text: str, told: str) -> None:
    changed = scene.directory / "changed.json"
    changed.write_text(text)

    refused = scene.back_up(raw, changed=(changed,))

    assert error(refused).startswith("IncorrectChangeList")
    assert told in error(refused)
    assert refused.exit_status == 2


def test_change_lists_for_some_disks_only(scene: Scene, raw: Path) -> None:
    changed = scene.directory / "changed.json"
    changed.write_text("[]")
    other = scene.directory / "b.raw"
    other.write_bytes(b"b")
    refused = scene.back_up(raw, other, changed=(changed,))
    assert "1 change lists for 2 disks" in error(refused)
