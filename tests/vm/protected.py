"""A VM that quiesce protects: its settings, its vault, and the program as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.demo.vm import Vm

NAME = "guest"
_PROGRAM = Path(__file__).with_name("quiesce_apart.py")
_LIMIT_S = 180


@dataclass(frozen=True)
class Ended:
    """A `quiesce` that ended: its exit status, its document, and what it said."""

    status: int
    document: dict[str, Any]
    said: str

    @property
    def run(self) -> dict[str, Any]:
        """The one run of a backup."""
        assert "runs" in self.document, (self.document, self.said)
        (run,) = self.document["runs"]
        return run

    @property
    def errors(self) -> list[str]:
        """The names of what lowered the level of a backup, in order."""
        return [error["name"] for error in self.run["errors"]]

    @property
    def level(self) -> str | None:
        """The level of the backup's point."""
        point = self.run["point"]
        return None if point is None else point["consistency"]


class Protected:
    """One VM with a new vault; everything that quiesce keeps lies in *directory*."""

    def __init__(self, directory: Path, vm: Vm, *, agent: bool = True) -> None:
        self.vm = vm
        self.directory = directory
        self.state_dir = directory / "state"
        self.scratch = directory / "scratch"
        self._settings = directory / "quiesce.toml"
        self.set_agent(agent)
        made = self.quiesce("vault", "init", "--no-encryption")
        assert made.status == 0, made.said

    def set_agent(self, agent: bool, *, renew: bool = True) -> None:
        """Say in the settings whether the machine has an agent, and whether it may be renewed."""
        lines = (
            "[vault]",
            f'url = "{(self.directory / "vault").as_uri()}"',
            "[scratch]",
            f'directory = "{self.scratch}"',
            f"[machine.{NAME}]",
            f'qmp = "{self.vm.qmp}"',
            f'qga = "{self.vm.qga}"',
            f"agent = {str(agent).lower()}",
            f"renew = {str(renew).lower()}",
        )
        self._settings.write_text("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def started(self, *words: str, stop_at: str = "none") -> Iterator[subprocess.Popen[str]]:
        """A `quiesce` under way; it stops itself at *stop_at*, and ends with the context."""
        argv = [sys.executable, str(_PROGRAM), str(self.state_dir), stop_at]
        process = subprocess.Popen(
            [*argv, "--config", str(self._settings), *words, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def quiesce(self, *words: str) -> Ended:
        """Run `quiesce` to its end."""
        with self.started(*words) as process:
            return ended(process)

    def backup(self) -> Ended:
        """Run `quiesce backup` of the VM to its end."""
        return self.quiesce("backup", NAME)

    def restore(self, point: str) -> dict[str, Path]:
        """Restore *point* into new raw images; return them by the disks' names."""
        restored = self.quiesce("restore", point, "--to", str(self.directory / point))
        assert restored.status == 0, restored.said
        return {disk["name"]: Path(disk["path"]) for disk in restored.document["disks"]}

    def points(self) -> list[dict[str, Any]]:
        """What `quiesce points` lists."""
        return self.quiesce("points").document["points"]


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a `quiesce`."""
    stdout, stderr = process.communicate(timeout=_LIMIT_S)
    return Ended(process.returncode, json.loads(stdout) if stdout else {}, stderr)
