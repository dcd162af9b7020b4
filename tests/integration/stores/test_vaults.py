"""A disk goes into a bucket through the real program, and comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from quiesce import config
from quiesce.cli.main import main
from vault_box import pattern

if TYPE_CHECKING:
    from pathlib import Path

    from object_stores import ObjectStoreServer

pytestmark = pytest.mark.integration

MIB = 1 << 20


class Program:
    """The program with a vault in a bucket that is still empty."""

    def __init__(self, root: Path, url: str, capfd: pytest.CaptureFixture[str]) -> None:
        self._settings = root / "quiesce.toml"
        self._settings.write_text("[retention]\nkeep_last = 1\nundelete_days = 0\n")
        self._root = root
        self.url = url
        self._capfd = capfd
        self.said = ""

    def run(self, *arguments: str, status: int = 0, vault: str = "") -> dict[str, Any]:
        common = ("--config", str(self._settings), "--vault", vault or self.url, "--json")
        found = main([*common, *arguments])
        said = self._capfd.readouterr()
        self.said += said.out + said.err
        assert found == status, said.out + said.err
        document = json.loads(said.out)
        if document.get("schema") in {"quiesce.mirror/1", "quiesce.doctor/1"}:
            name = document["schema"].partition(".")[2].partition("/")[0]
            schema = (resources.files("quiesce") / "schemas" / f"{name}.json").read_text()
            jsonschema.validate(document, json.loads(schema))
        return document

    def back_up(self, disk: Path, **more: Any) -> dict[str, Any]:
        (run,) = self.run("backup", "old1", "--disk", str(disk), **more)["runs"]
        return run

    def restore(self, point: str, **more: Any) -> bytes:
        target = self._root / f"out-{len(self.said)}"
        self.run("restore", point, "--to", str(target), **more)
        (restored,) = target.iterdir()
        return restored.read_bytes()


@pytest.fixture(params=["s3_server", "azure_server"])
def program(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Program:
    server: ObjectStoreServer = request.getfixturevalue(request.param)
    for name, value in {**server.environment, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(config, "state_directory", lambda: tmp_path / "state")
    return Program(tmp_path, server.url(), capfd)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with a file system that was unmounted cleanly."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(12):
        (files / f"{number}.bin").write_bytes(pattern(number, MIB))
    path = tmp_path / "old1.img"
    command = ["mkfs.ext4", "-q", "-d", files, path, "40M"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_disk_is_backed_up_to_a_bucket_and_restored_from_it(program: Program, disk: Path) -> None:
    made = program.run("vault", "init", "--no-encryption")
    assert made["store"] == {
        "conditional_create": True,
        "list_after_write": True,
        "may_delete": True,
    }
    assert program.run("vault", "init", "--no-encryption", status=6)["error"]["name"] == (
        "VaultExists"
    )
    first = program.back_up(disk)
    before = disk.read_bytes()
    with disk.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(pattern(99, 3 * MIB))
    second = program.back_up(disk)

    found = program.run("doctor")
    assert found["vault"] == {"url": program.url, "may_delete": True}
    assert (found["bucket_policy"] is not None) == program.url.startswith("s3:")
    assert second["disks"][0]["new_bytes"] < 5 * MIB < first["disks"][0]["new_bytes"]
    assert program.restore(first["point"]["id"]) == before
    assert program.restore("old1@latest") == disk.read_bytes()
    program.run("prune", "--limit", "100")
    program.run("prune")
    assert [point["id"] for point in program.run("points")["points"]] == [second["point"]["id"]]
    assert program.restore("old1@latest") == disk.read_bytes()
    assert not any(secret in program.said for secret in ("keeper-secret", "Eby8vdM02x"))


def test_a_point_is_restored_from_the_mirror_alone_and_from_the_mirror_of_the_mirror(
    program: Program, disk: Path, tmp_path: Path
) -> None:
    here, back = ((tmp_path / name).as_uri() for name in ("here", "back"))
    program.run("vault", "init", "--no-encryption", vault=here)
    first = program.back_up(disk, vault=here)
    before = disk.read_bytes()
    everything = program.run("vault", "mirror", program.url, vault=here)
    with disk.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(pattern(99, MIB))
    program.back_up(disk, vault=here)
    more = program.run("vault", "mirror", program.url, vault=here)

    assert everything["domains"][0]["bytes"] > 10 * MIB > more["domains"][0]["bytes"] > MIB
    shutil.rmtree(tmp_path / "here")
    assert program.restore(first["point"]["id"]) == before
    assert program.restore("old1@latest") == disk.read_bytes()
    program.run("vault", "mirror", back)
    assert program.restore("old1@latest", vault=back) == disk.read_bytes()
    assert program.run("vault", "check", vault=back)["whole"]

    # Who backs up to the mirror has made it a vault of its own.
    program.back_up(disk, vault=back)
    refused = program.run("vault", "mirror", back, status=6)
    assert refused["error"]["name"] == "MirrorDiverged"
