"""What can be wrong with a vault, a point or a target ends with its name and its exit status."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, back_up, lay_key_files, pattern, small_vault

pytestmark = pytest.mark.integration

DISKS = {"vda": pattern(1, 9 * CHUNK) + bytes(CHUNK), "vdb": b"small".ljust(4096, b"\0")}
SID = "01JD7Z9K{:018d}"


@dataclass
class Program:
    """`python -m quiesce` with settings and a vault of its own."""

    settings: str
    vault: str

    def run(self, *arguments):
        options = ["--config", self.settings, "--vault", f"file://{self.vault}"]
        return subprocess.run(
            [sys.executable, "-m", "quiesce", *options, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def expect(self, status, name, *arguments):
        """Run it twice, for a person and for a program; return the error's document."""
        told = self.run(*arguments)
        assert told.returncode == status, told.stderr
        assert f"{name}: " in told.stderr
        assert "next: " in told.stderr
        assert "Traceback" not in told.stderr
        answered = self.run(*arguments, "--json")
        assert answered.returncode == status, answered.stderr
        error = json.loads(answered.stdout)["error"]
        assert (error["name"], error["exit_status"]) == (name, status)
        assert error["action"]
        return error


@pytest.fixture
def program(tmp_path):
    settings = tmp_path / "quiesce.toml"
    keys = tmp_path / "keys"
    settings.write_text(f'[vault]\nkeys = "{keys}"\n')
    return Program(str(settings), str(tmp_path / "vault"))


@pytest.fixture
def filled(program):
    """A vault with two points of web1, whose ids begin alike."""
    vault = small_vault(DirectoryStore(_path(program)))
    lay_key_files(_path(program).parent / "keys", f"file://{program.vault}")
    for number in range(2):
        back_up(vault, DISKS, sid=SID.format(number))
    return program


def _path(program):
    return Path(program.vault)


@contextmanager
def small_disk(directory, size="64k", *, full=False):
    """Mount a file system of *size* at *directory*; where it is *full* nothing fits any more."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        if full:
            with (
                pytest.raises(OSError, match="No space"),
                (directory / "filler").open("wb") as file,
            ):
                while True:
                    file.write(bytes(4096))
                    file.flush()
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_right_input_restores_every_disk(filled, tmp_path):
    done = filled.run("restore", "web1@latest", "--to", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    found = {path.stem: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == DISKS


@pytest.mark.parametrize("verb", [["points"], ["restore", "web1@latest", "--to", "/nowhere"]])
def test_a_vault_that_is_missing(program, verb):
    program.expect(6, "VaultNotFound", *verb)
    assert not os.path.exists(program.vault)
    assert not os.path.exists("/nowhere")


def test_a_backup_to_a_vault_that_is_missing(program, tmp_path):
    arguments = ["backup", "web1", "--qmp", tmp_path / "qmp"]
    told = program.run(*arguments)
    answered = program.run(*arguments, "--json")

    assert (told.returncode, answered.returncode) == (6, 6)
    assert "VaultNotFound" in told.stdout + told.stderr
    (run,) = json.loads(answered.stdout)["runs"]
    assert run["error"]["name"] == "VaultNotFound"


@pytest.mark.parametrize("verb", [["points"], ["restore", "web1@latest", "--to", "/nowhere"]])
def test_a_directory_that_is_no_vault(program, verb):
    os.mkdir(program.vault)
    (_path(program) / "letter.txt").write_text("dear reader")

    program.expect(6, "VaultNotFound", *verb)
    assert os.listdir(program.vault) == ["letter.txt"]


def test_a_vault_that_is_no_directory(program):
    _path(program).write_text("dear reader")

    program.expect(6, "VaultUnavailable", "vault", "init", "--no-encryption")
    assert _path(program).read_text() == "dear reader"


def test_a_header_that_is_none(program):
    os.mkdir(program.vault)
    (_path(program) / "vault.json").write_text("dear reader")

    program.expect(6, "VaultDamaged", "points")


def test_a_vault_in_a_place_of_another_kind(program):
    assert program.run("--vault", "ftp://host/vault", "points").returncode == 6
    program.expect(6, "VaultUnsupported", "points", "--vault", "ftp://host/vault")


def test_a_vault_is_made_once(program):
    made = program.run("vault", "init", "--no-encryption")
    assert made.returncode == 0, made.stderr
    before = (_path(program) / "vault.json").read_bytes()

    program.expect(6, "VaultExists", "vault", "init", "--no-encryption")
    assert (_path(program) / "vault.json").read_bytes() == before


def test_a_full_disk_under_a_new_vault(program):
    with small_disk(_path(program), full=True):
        program.expect(6, "VaultFull", "vault", "init", "--no-encryption")
        assert os.listdir(program.vault) == ["filler"]


@pytest.mark.parametrize("selector", ["db1@latest", "01JD7Z9X", "01JD", "web1@1999-12-31", "web1"])
def test_a_point_that_is_not_there(filled, tmp_path, selector):
    filled.expect(10, "PointNotFound", "restore", selector, "--to", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_point_that_may_be_one_of_two(filled, tmp_path):
    filled.expect(10, "PointAmbiguous", "restore", "01JD7Z9K", "--to", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_target_that_exists(filled, tmp_path, image_format):
    out = tmp_path / "out"
    out.mkdir()
    (out / f"vdb.{image_format}").write_bytes(b"precious")

    arguments = ["restore", "web1@latest", "--to", out, "--format", image_format]
    filled.expect(7, "TargetExists", *arguments)
    assert os.listdir(out) == [f"vdb.{image_format}"]
    assert (out / f"vdb.{image_format}").read_bytes() == b"precious"


def test_a_target_directory_that_is_a_file(filled, tmp_path):
    (tmp_path / "out").write_bytes(b"precious")

    filled.expect(7, "RestoreFailed", "restore", "web1@latest", "--to", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"precious"


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_full_disk_under_a_target(filled, tmp_path, image_format):
    out = tmp_path / "out"
    with small_disk(out, "1m"):
        arguments = ["restore", "web1@latest", "--to", out, "--format", image_format]
        filled.expect(7, "RestoreNoSpace", *arguments)
        assert os.listdir(out) == []


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_disk_under_a_target_that_was_full_before(filled, tmp_path, image_format):
    out = tmp_path / "out"
    with small_disk(out, full=True):
        told = filled.run("restore", "web1@latest", "--to", out, "--format", image_format)

        assert told.returncode == 7, told.stderr
        assert "Restore" in told.stderr
        assert os.listdir(out) == ["filler"]


def test_a_pack_that_is_gone_leaves_no_disk(filled, tmp_path):
    for pack in _path(filled).glob("domains/web1/packs/*/d-*"):
        pack.unlink()

    error = filled.expect(6, "VaultDamaged", "restore", "web1@latest", "--to", tmp_path / "out")
    assert "/d-" in error["message"]
    assert os.listdir(tmp_path / "out") == []
