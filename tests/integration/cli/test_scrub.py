"""Check, scrub and stats through the real program, on a real directory with real damage."""

from __future__ import annotations

import json
import os
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from quiesce import config
from quiesce.cli.main import main
from quiesce.errors import ExitStatus
from vault_box import CHUNK, pattern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration

DISK = pattern(1, 3 * CHUNK) + b"text " * 100_000


class Program:
    """The program with a vault of its own, and a machine of one disk."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.disk = root / "root.img"
        self.disk.write_bytes(DISK)
        self._capsys = capsys
        self.run("vault", "init")
        self.back_up()

    def run(self, *arguments: str, status: ExitStatus = ExitStatus.DONE) -> str:
        found = main(["--vault", (self.root / "vault").as_uri(), *arguments])
        output = self._capsys.readouterr().out
        assert found == status, output
        return output

    def json(self, *arguments: str, **more: Any) -> dict[str, Any]:
        document = json.loads(self.run(*arguments, "--json", **more))
        name = document["schema"].partition(".")[2].partition("/")[0]
        schema = (resources.files("quiesce") / "schemas" / f"{name}.json").read_text()
        jsonschema.validate(document, json.loads(schema))
        return document

    def back_up(self) -> str:
        # Without a file system on it nobody can say that it was at rest.
        command = ("backup", "web1", "--disk", str(self.disk))
        runs = self.json(*command, status=ExitStatus.DEGRADED)["runs"]
        return str(runs[0]["point"]["id"])

    def pack(self, kind: str) -> Path:
        return min((self.root / "vault").glob(f"domains/web1/packs/*/{kind}-*"))


@pytest.fixture
def program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setattr(config, "state_directory", lambda: tmp_path / "state")
    return Program(tmp_path, capsys)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("verb", ["check", "scrub"])
def test_a_whole_vault_is_said_to_be_whole(program: Program, verb: str) -> None:
    document = program.json("vault", verb)
    (domain,) = document["domains"]

    assert document["whole"]
    assert domain["read"] == domain["packs"]["live"]
    assert domain["left"] == domain["packs"]["dead"] == {"packs": 0, "bytes": 0}
    assert "whole: 1 point," in program.run("vault", verb)


@pytest.mark.parametrize("verb", ["check", "scrub"])
@pytest.mark.parametrize("damage", [flip, cut, os.unlink])
def test_damage_is_told_and_healed_by_the_next_backup(
    program: Program, verb: str, damage: Callable[[Path], None]
) -> None:
    pack = program.pack("d")
    damage(pack)
    document = program.json("vault", verb, status=ExitStatus.VAULT)
    (damaged,) = document["domains"][0]["damaged_packs"]
    (point,) = document["domains"][0]["damaged_points"]

    assert damaged["pack"] == f"{pack.parent.name}/{pack.name}"
    assert [disk["name"] for disk in point["disks"]] == ["root.img"]
    assert "lost" in program.run("vault", verb, status=ExitStatus.VAULT)
    healed = program.back_up()
    program.run("restore", healed, "--to", str(program.root / "back"))
    assert (program.root / "back" / "root.img.raw").read_bytes() == DISK


def test_a_budget_of_bytes_reads_in_portions(program: Program) -> None:
    first = program.json("vault", "scrub", "--budget", "1KiB")["domains"][0]

    assert first["read"]["packs"] == 1
    assert first["left"]["packs"] > 0
    assert "left " in program.run("vault", "scrub", "--budget", "1KiB")


@pytest.mark.parametrize("wrong", ["7", "1 parsec", "-2h", "x", "1e9GiB"])
def test_a_wrong_budget_is_refused(program: Program, wrong: str) -> None:
    program.run("vault", "scrub", "--budget", wrong, status=ExitStatus.USAGE)


@pytest.mark.parametrize("right", ["1h", "90 min", "2.5GiB", "30s"])
def test_a_budget_is_time_or_bytes(program: Program, right: str) -> None:
    assert program.json("vault", "scrub", "--budget", right)["whole"]


def test_what_points_and_machines_take_is_told(program: Program) -> None:
    program.back_up()
    (domain,) = program.json("vault", "stats")["domains"]
    (machine,) = domain["machines"]
    told = program.run("vault", "stats")

    assert machine["unique_bytes"] == len(DISK)
    assert [point["size"]["unique_bytes"] for point in machine["points"]] == [len(DISK)] * 2
    assert machine["logical_bytes"] == 2 * len(DISK)
    assert 3 * CHUNK < machine["compressed_bytes"] < machine["stored_bytes"] < len(DISK)
    assert domain["dead_bytes"] == {"in_dead_packs": 0, "in_live_packs": 0}
    assert "together" in told
    assert "0 B of it dead" in told
