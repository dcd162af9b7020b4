"""The demo, told in order: a real VM is backed up under load, restored, booted and checked.

Everything that a user would type is run as a program of its own, `quiesce …`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.demo import checks, load, vm
from quiesce.demo.accelerator import choose_accelerator
from quiesce.demo.image import cache_directory, guest_program, prepare_image
from quiesce.demo.prover import Expected, prove
from quiesce.errors import QuiesceError
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quiesce.demo.checks import Check
    from quiesce.demo.image import Image

MACHINE = "demo"
_IMAGE_S = 420.0
_BOOT_S = 240.0
_COMMAND_S = 240.0
_LOAD_S = 60.0
_COMMITS = 200  # before the backup, and once more after it


@dataclass
class Story:
    """What the demo has come to: *times* in seconds, *sizes* in bytes, and the checks."""

    accelerator: str
    times: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    point: str = ""
    kept: Kept | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def to_json(self) -> dict[str, Any]:
        """Return the story as `quiesce.demo/1`."""
        return {
            "schema": "quiesce.demo/1",
            "accelerator": self.accelerator,
            "point": self.point,
            "times": self.times,
            "sizes": self.sizes,
            "checks": [vars(check) for check in self.checks],
            "kept": None if self.kept is None else self.kept.to_json(),
        }


@dataclass(frozen=True)
class Kept:
    """What `--keep` leaves: the running VM, the vault, and the settings that name both."""

    directory: Path
    settings: Path
    pid: int
    postgresql: str

    def to_json(self) -> dict[str, Any]:
        """Return it as a part of `quiesce.demo/1`."""
        return {name: str(value) for name, value in vars(self).items()}


def tell_story(*, keep: bool, tell: Callable[[str], None]) -> Story:
    """Run the demo and return what came of it; *tell* hears each step as it begins.

    Nothing is left, but with *keep* the VM and the vault. Raises QuiesceError where the story
    cannot be told to its end; then, and where a check failed, nothing runs but the files are kept.
    """
    began_s = time.monotonic()
    image = prepare_image(
        guest_program(), cache=cache_directory(), deadline=Deadline.after(_IMAGE_S), tell=tell
    )
    story = Story(choose_accelerator(image, cache=cache_directory()))
    story.times["image_s"] = time.monotonic() - began_s
    directory = Path(tempfile.mkdtemp(prefix="quiesce-demo-", dir="/var/tmp"))
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(shutil.rmtree, directory)
        try:
            _Telling(image, directory, story, tell).run(keep=keep)
        except QuiesceError:
            _keep(cleaning, directory, tell)
            raise
        if story.failed:
            _keep(cleaning, directory, tell)
        if keep:
            cleaning.pop_all()
    story.times["total_s"] = time.monotonic() - began_s
    return story


def _keep(cleaning: contextlib.ExitStack, directory: Path, tell: Callable[[str], None]) -> None:
    cleaning.pop_all()
    tell(f"what the demo made, with the guests' consoles, is kept in {directory}")


class _Telling:
    """The steps, and what they share."""

    def __init__(
        self, image: Image, directory: Path, story: Story, tell: Callable[[str], None]
    ) -> None:
        self._image = image
        self._directory = directory
        self._story = story
        self._tell = tell
        self._settings = directory / "quiesce.toml"

    def run(self, *, keep: bool) -> None:
        with contextlib.ExitStack() as ending:
            source = self._boot()
            ending.callback(source.kill)
            writing, run = self._back_up_under_load(source)
            if not keep:
                ending.close()
            self._prove(self._restore(), writing, run)
            if keep:
                self._story.kept = Kept(
                    self._directory, self._settings, source.pid, source.postgresql
                )
                ending.pop_all()

    def _boot(self) -> vm.Vm:
        how = {"kvm": "with KVM", "tcg": "without KVM, which is slow"}
        self._tell(f"booting the VM from its own disk ({how[self._story.accelerator]})")
        directory = self._directory / MACHINE
        directory.mkdir()
        deadline = Deadline.after(_BOOT_S)
        disks = []
        for name, backing in (("system", self._image.system), ("data", self._image.data)):
            disks.append(vm.VmDisk(name, directory / f"{name}.qcow2"))
            vm.create_copy(backing, disks[-1].path, deadline=deadline)
        with self._timed("boot_s"):
            source = vm.start(directory, disks, accelerator=self._story.accelerator)
            try:
                source.wait_for_postgresql(deadline=deadline)
                source.wait_for_agent(deadline=deadline)
            except BaseException:
                source.kill()
                raise
        return source

    def _back_up_under_load(self, source: vm.Vm) -> tuple[load.Load, dict[str, Any]]:
        self._write_settings(source)
        recovery = self._directory / "recovery-key"
        self._quiesce(["vault", "init", "--recovery-file", str(recovery)])
        with load.running(source.postgresql) as writing:
            self._tell("writing to its PostgreSQL from here, four clients")
            deadline = Deadline.after(_LOAD_S)
            writing.wait_for_commits(_COMMITS, deadline=deadline)
            self._tell(f"quiesce backup {MACHINE}, under that load")
            document = self._quiesce(["backup", MACHINE])
            writing.wait_for_commits(_COMMITS, deadline=Deadline.after(_LOAD_S))
            writing.check()
        run: dict[str, Any] = document["runs"][0]
        report = run["report"] or {}
        window = report.get("window") or {}
        scripts = [step for step in report.get("steps", ()) if step["kind"] == "script"]
        self._story.point = run["point"]["id"]
        self._story.times |= {
            "script_s": sum(step["end_s"] - step["begin_s"] for step in scripts),
            "held_s": window.get("held_s", 0.0),
            **run["times"],
            "backup_s": run["times"]["total_s"],
        }
        self._story.sizes |= {
            "logical_bytes": run["point"]["logical_bytes"],
            "read_bytes": sum(disk["read_bytes"] for disk in run["disks"]),
            "new_bytes": run["point"]["new_bytes"],
        }
        return writing, run

    def _restore(self) -> dict[str, Path]:
        self._tell(f"quiesce restore {self._story.point} into new disks")
        target = self._directory / "restored"
        with self._timed("restore_s"):
            document = self._quiesce(["restore", self._story.point, "--to", str(target)])
        return {disk["name"]: Path(disk["path"]) for disk in document["disks"]}

    def _prove(self, restored: dict[str, Path], writing: load.Load, run: dict[str, Any]) -> None:
        shown = self._quiesce(["show", self._story.point])
        self._story.checks.append(checks.check_evidence(shown))
        self._tell("booting the restored disks, and asking everybody whether they are whole")
        directory = self._directory / "proof"
        directory.mkdir()
        report = shown["evidence"]["report"] or {}
        expected = Expected(
            writing.commits(),
            freeze_sent_s=run["moments"]["freeze_sent"],
            thaw_answered_s=run["moments"]["thaw_answered"],
            lsn=report.get("facts", {}).get("lsn"),
        )
        proof = prove(directory, restored, expected, accelerator=self._story.accelerator)
        self._story.checks += proof.checks
        self._story.times["restored_boot_s"] = proof.boot_s

    def _write_settings(self, source: vm.Vm) -> None:
        lines = (
            "[vault]",
            f'url = "{(self._directory / "vault").as_uri()}"',
            f'keys = "{self._directory / "keys"}"',
            "[scratch]",
            f'directory = "{self._directory / "scratch"}"',
            f"[machine.{MACHINE}]",
            f'qmp = "{source.qmp}"',
            f'qga = "{source.qga}"',
        )
        self._settings.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _quiesce(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Run the program as a user would and return its document."""
        argv = [sys.executable, "-m", "quiesce", "--config", str(self._settings), *arguments]
        done = process.run([*argv, "--json"], deadline=Deadline.after(_COMMAND_S), check=False)
        said = done.stderr.decode(errors="replace").strip()
        verb = f"quiesce {arguments[0]}"
        if done.exit_status != 0:
            said += "\n" + done.stdout.decode(errors="replace").strip()
            raise QuiesceError("DemoFailed", f"{verb} ended with {done.exit_status}: {said}")
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError as exc:
            raise QuiesceError("DemoFailed", f"{verb} printed no JSON document: {said}") from exc
        return document

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self._story.times[name] = time.monotonic() - began_s
