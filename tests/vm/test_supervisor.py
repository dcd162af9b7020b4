"""The supervisor under a real systemd: a unit of its own, and started again when it dies."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import quiesce
from quiesce.system import ulid
from vm.inside import wait_until

if TYPE_CHECKING:
    from vm.inside import Inside
    from vm.scene import Scene

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

_PLACE = "/run/host-set"
_PROGRAM = f"{_PLACE}/tools/supervised_backup.py"


class Supervised:
    """A backup in the guest that stands still, and its supervisor."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self.session = ulid.new()
        self.unit = f"quiesce-undo-{self.session}.service"
        self._state_dir = f"/run/state-{self.session}"
        inside.sh(
            f"mkdir {self._state_dir} && cd / && PYTHONPATH={_PLACE} setsid python3 {_PROGRAM}"
            f" --state-dir {self._state_dir} --session {self.session}"
            f" </dev/null >{self._state_dir}/said 2>&1 &"
        )
        wait_until(lambda: self.read("backup"), "the backup to stand still")

    def read(self, name: str) -> str | None:
        return self._inside.read(f"{self._state_dir}/{name}")

    def backup(self) -> int:
        return int(self.read("backup") or 0)

    def supervisor(self) -> int:
        """The unit's process as systemd knows it, 0 where there is none."""
        return int(self._inside.run("/usr/bin/systemctl", "show", "-P", "MainPID", self.unit))

    def undone(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.read("undone") or "").splitlines()]

    def expect_undone(self) -> int:
        """Wait until it is undone and nothing is left; return the pid of who undid it."""
        wait_until(lambda: self._notes() == "", "the note to be gone")
        wait_until(lambda: self.supervisor() == 0, "the unit to end")
        (undone,) = self.undone()
        assert undone["note"]["session"] == self.session
        return int(undone["pid"])

    def _notes(self) -> str:
        return self._inside.run("/bin/ls", f"{self._state_dir}/undo")


def _host_set() -> str:
    """What of the host's program the supervisor needs, with the tests' tools, as text."""
    packed = io.BytesIO()
    source, tools = Path(quiesce.__path__[0]), Path(__file__).parents[1] / "tools"
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for part in (*source.glob("*.py"), *map(source.joinpath, ("system", "model", "jobs"))):
            archive.add(part, f"quiesce/{part.name}")
        for name in ("recording_supervisor.py", "supervised_backup.py"):
            archive.add(tools / name, f"tools/{name}")
    return base64.b64encode(packed.getvalue()).decode()


@pytest.fixture(scope="module")
def inside(postgresql_scene: Scene) -> Inside:
    inside = postgresql_scene.inside
    unpack = f"mkdir -p {_PLACE} && base64 -d | tar xz -C {_PLACE}"
    inside.run("/bin/sh", "-c", unpack, stdin=_host_set())
    return inside


@pytest.fixture
def supervised(inside: Inside) -> Supervised:
    return Supervised(inside)


def test_it_is_a_unit_of_its_own(inside: Inside, supervised: Supervised) -> None:
    supervisor = supervised.supervisor()

    assert (inside.read(f"/proc/{supervisor}/cgroup") or "").strip().endswith(supervised.unit)
    inside.kill(supervised.backup())
    assert supervised.expect_undone() == supervisor


def test_killed_it_is_started_again_and_undoes_when_the_backup_dies(
    inside: Inside, supervised: Supervised
) -> None:
    first = supervised.supervisor()

    inside.kill(first)
    wait_until(lambda: supervised.supervisor() not in {0, first}, "a second supervisor")
    assert supervised.undone() == []
    inside.kill(supervised.backup())

    assert supervised.expect_undone() != first


def test_when_both_are_killed_nobody_has_to_run_another_command(
    inside: Inside, supervised: Supervised
) -> None:
    first = supervised.supervisor()

    inside.sh(f"kill -9 {supervised.backup()} {first}")

    assert supervised.expect_undone() != first
