"""A machine of its own for tests of the guest set, without a guest system.

A mount namespace with an overlay of this machine's root as its root: everything the guest set
reads and writes (/etc, /run, /var/log) is private to it, and the only file systems that can be
frozen there are the loop mounts that the test makes. This machine's own are not even visible.
The roots of its control group hierarchies are control groups of this machine's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(__file__).resolve().parent.parent / "src" / "quiesce"
PYTHON = "/usr/bin/python3"
PROGRAM = "/usr/local/bin/quiesce-guest"
_PROGRAM = f"""#!{PYTHON}
import sys
sys.path.insert(0, "/opt/guest-set")
from quiesce.guest.cli.main import run
run()
"""
_BOXES = itertools.count()
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
MEBIBYTE = 1024 * 1024
_IMAGE_BYTES = {"ext4": 32 * MEBIBYTE, "xfs": 320 * MEBIBYTE, "btrfs": 128 * MEBIBYTE}
_SETUP = """
set -eu
mount -t tmpfs -o mode=755 box "$BASE"
cd "$BASE"
mkdir -m 755 upper work root images
mount -t overlay -o "lowerdir=$LOWER,upperdir=upper,workdir=work" overlay root
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount -t tmpfs -o mode=755 cgroup root/sys/fs/cgroup
for hierarchy in $HIERARCHIES; do
    mkdir -p "root$hierarchy"
    mount --bind "$hierarchy/$CGROUP" "root$hierarchy"
done
mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 run root/run
mount -t tmpfs -o mode=1777 tmp root/tmp
mkdir -p root/opt/guest-set
cp -r "$SOURCE" root/opt/guest-set/quiesce
rm -rf root/etc/azure root/etc/quiesce root/var/log/quiesce
mkdir -m 755 root/etc/azure root/etc/quiesce
echo ready
exec sleep infinity
"""


class Box:
    """The machine; *root* is its root directory as seen from here, *lower* what it is made of."""

    def __init__(self, base: Path, *, lower: Path = Path("/")) -> None:
        base.mkdir()
        self.cgroups = _make_cgroups(f"quiesce-box-{os.getpid()}-{next(_BOXES)}")
        env = {
            **os.environ,
            "BASE": str(base),
            "SOURCE": str(SOURCE),
            "LOWER": str(lower),
            "CGROUP": self.cgroups[0].name,
            "HIERARCHIES": " ".join(str(cgroup.parent) for cgroup in self.cgroups),
        }
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SETUP],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "the box was not set up"
        self._base = base
        self._blocked: list[subprocess.Popen[bytes]] = []
        self.mounts: list[str] = []
        self.root = Path(f"/proc/{self._holder.pid}/root{base}/root")
        self.write(PROGRAM, _PROGRAM, 0o755)

    def mount(self, path: str, fstype: str = "ext4") -> Path:
        """Make a file system in an image and mount it at *path*; the directory from here."""
        image = f"{self._base}/images/{path.replace('/', '_')}"
        inner = Path(f"/proc/{self._holder.pid}/root{image}")
        with inner.open("wb") as file:
            file.truncate(_IMAGE_BYTES[fstype])
        subprocess.run([f"mkfs.{fstype}", "-q", str(inner)], check=True, capture_output=True)
        self._enter("mkdir", "-p", f"{self._base}/root{path}", chroot=False)
        self._enter("mount", "-o", "loop", image, f"{self._base}/root{path}", chroot=False)
        self.mounts.append(path)
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file of the machine."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: str) -> str:
        """Return a file of the machine."""
        return (self.root / path.lstrip("/")).read_text()

    def configure(self, *, pre: str = "exit 0", post: str = "exit 0", **settings: object) -> None:
        """Write a plugin configuration; its scripts log what they see, then do *pre* and *post*."""
        for phase, body in (("pre", pre), ("post", post)):
            log = f'echo "{phase} $QUIESCE_PRE_STATUS $QUIESCE_SNAPSHOT" >>/run/scripts.log\n'
            self.write(f"/etc/quiesce/scripts/{phase}", f"#!/bin/sh\n{log}{body}\n", 0o700)
        document = {
            "pluginName": "ScriptRunner",
            "preScriptLocation": "/etc/quiesce/scripts/pre",
            "postScriptLocation": "/etc/quiesce/scripts/post",
            **settings,
        }
        self.write("/etc/azure/VMSnapshotPluginConfig.json", json.dumps(document))

    def scripts_ran(self) -> list[str]:
        """Return what the scripts logged, in order."""
        log = self.root / "run/scripts.log"
        return log.read_text().splitlines() if log.exists() else []

    def argv(self, *words: str) -> list[str]:
        """Return the command line that runs `quiesce-guest` with *words* in the machine."""
        return self._entered(PROGRAM, *words)

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `quiesce-guest` with *words* to its end; a report that it prints is a valid one."""
        ended = subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
            check=False,
        )
        if '"schema": "quiesce.report/1"' in ended.stdout:
            schema = json.loads((SOURCE / "schemas" / "report.json").read_text())
            jsonschema.validate(json.loads(ended.stdout), schema)
        return ended

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `quiesce-guest` with *words*."""
        return subprocess.Popen(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def shell(self, script: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the machine."""
        return subprocess.run(
            self._entered("sh", "-c", script),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
            check=False,
        )

    def report(self) -> dict[str, Any]:
        """Return the last report."""
        told = self.run("report", "--json")
        assert told.returncode == 0, told.stderr
        document: dict[str, Any] = json.loads(told.stdout)
        return document

    def record(self) -> dict[str, Any] | None:
        """Return what the session that is at rest has written down."""
        path = self.root / "run/quiesce/session.json"
        try:
            document: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return document

    def guards(self) -> list[int]:
        """Return the process ids of engine and watchdog of the session that is at rest."""
        record = self.record()
        return [] if record is None else [guard["pid"] for guard in record["guards"]]

    def is_frozen(self, path: str) -> bool:
        """Return whether the file system at *path* is frozen: whether a write to it blocks."""
        process = subprocess.Popen(self._entered("touch", path))
        blocked = 0
        while process.poll() is None and blocked < 6:
            time.sleep(0.05)
            # Disks make a process wait like that too, but not for so long.
            blocked = blocked + 1 if state_of(process.pid) == "D" else 0
        if process.returncode is None:
            self._blocked.append(process)
        return process.returncode is None

    def freeze(self, path: str) -> None:
        """Freeze the file system at *path*, as a door does."""
        self._ioctl(path, FIFREEZE)

    def freeze_behind(self, path: str) -> None:
        """Freeze the file system at *path* from a process that is not waited for."""
        program = f"import fcntl, os; fcntl.ioctl(os.open('{path}', os.O_RDONLY), {FIFREEZE}, 0)"
        self._blocked.append(subprocess.Popen(self._entered(PYTHON, "-c", program)))

    def processes(self) -> list[int]:
        """Return the process ids of `quiesce-guest` in the machine."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_here = (path / "root").samefile(self.root)
                if is_here and PROGRAM.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    def assert_at_peace(self) -> None:
        """Fail unless all soon is over: nothing frozen, nothing held, and nobody of ours left."""
        wait_until(lambda: self.record() is None)
        wait_until(lambda: self.processes() == [])
        assert [path for path in self.mounts if self.is_frozen(path)] == []
        for cgroup in self.cgroups:
            for script in cgroup.glob("quiesce-script-*"):
                wait_until(lambda script=script: not (script / "cgroup.procs").read_text())

    def bound(self, most: int) -> Path:
        """Make a control group that holds at most *most* processes: a file to enter it by."""
        bounds = [each for each in self.cgroups if (each / "pids.max").exists()]
        assert bounds, "this machine does not bound numbers of processes"
        cgroup = bounds[0] / "bounded"
        cgroup.mkdir(exist_ok=True)
        (cgroup / "pids.max").write_text(str(most))
        return bounds[0].parent / "bounded" / "cgroup.procs"

    def thaw(self, path: str) -> bool:
        """Thaw the file system at *path*; whether it was frozen."""
        return self._ioctl(path, FITHAW)

    def close(self) -> None:
        """Take the machine away, with everything that is mounted in it; nothing stays frozen."""
        for path in self.mounts:
            self.thaw(path)
        self.run("thaw")
        for process in self._blocked:
            process.wait(timeout=60)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in reversed(self.mounts):
            wait_until(lambda path=path: self._unmounted(path))
        self._holder.kill()
        self._holder.wait()
        for cgroup in self.cgroups:
            _take_away(cgroup)
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def _unmounted(self, path: str) -> bool:
        done = subprocess.run(
            self._entered("umount", f"{self._base}/root{path}", chroot=False),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def environment(self) -> dict[str, str]:
        """Return the environment of programs in the machine."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8"}

    def _ioctl(self, path: str, request: int) -> bool:
        program = (
            f"import fcntl, os, sys\nfcntl.ioctl(os.open('{path}', os.O_RDONLY), {request}, 0)\n"
        )
        done = subprocess.run(
            self._entered(PYTHON, "-c", program), capture_output=True, check=False
        )
        return done.returncode == 0

    def _entered(self, *argv: str, chroot: bool = True) -> list[str]:
        pid = self._holder.pid
        entry = ["nsenter", f"--mount=/proc/{pid}/ns/mnt"]
        if chroot:
            return [*entry, "chroot", f"{self._base}/root", *argv]
        return [*entry, *argv]

    def _enter(self, *argv: str, chroot: bool = True) -> None:
        subprocess.run(self._entered(*argv, chroot=chroot), check=True, capture_output=True)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    machine = Box(tmp_path / "box")
    try:
        yield machine
    finally:
        machine.close()


def _make_cgroups(name: str) -> list[Path]:
    """Make a control group in v2, and in v1 where the numbers of processes are counted there."""
    root = Path("/sys/fs/cgroup")
    hierarchies = [root, root / "unified", root / "pids"]
    found = [each / name for each in hierarchies if (each / "cgroup.procs").exists()]
    assert found, "this machine has no control groups"
    for cgroup in found:
        cgroup.mkdir()
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.subtree_control").write_text("+pids")
    return found


def _take_away(cgroup: Path) -> None:
    """End what is in a control group and below it, and take all of it away."""
    places = sorted((each for each in cgroup.glob("**/") if each.is_dir()), reverse=True)
    for place in places:
        wait_until(lambda place=place: not _members_killed(place))
        place.rmdir()


def _members_killed(cgroup: Path) -> list[str]:
    members = (cgroup / "cgroup.procs").read_text().split()
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return members


def state_of(pid: int) -> str:
    """Return the state of a process as the kernel names it; Z also where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def wait_until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Return when *condition* holds; fail where it does not in time."""
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit, "it did not come to that in time"
        time.sleep(0.02)
