"""Encrypted vaults through the program: what opens them, what does not, and what never shows."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from quiesce import config
from quiesce.cli.main import main
from quiesce.errors import ExitStatus
from quiesce.vault.keys import slots
from vault_box import CHUNK, pattern

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

DISK = pattern(1, 2 * CHUNK) + b"text " * 10_000
PASSPHRASE, SECOND = "correct horse", "battery staple"


class Host:
    """One host with a state directory of its own; *said* is everything it ever printed."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.state = world.root / name
        self.settings = world.root / f"{name}.toml"
        self.settings.write_text("")

    def run(self, *arguments: object, status: ExitStatus = ExitStatus.DONE) -> str:
        self._world.monkeypatch.setattr(config, "state_directory", lambda: self.state)
        options = ["--config", str(self.settings), "--vault", self._world.url]
        found = main([*options, *map(str, arguments)])
        out, err = self._world.capsys.readouterr()
        self._world.said += out + err
        assert found == status, out + err
        return out + err

    def json(self, *arguments: object, **more: Any) -> dict[str, Any]:
        self._world.monkeypatch.setattr(config, "state_directory", lambda: self.state)
        text = self.run(*arguments, "--json", "--quiet", **more)
        return json.JSONDecoder().raw_decode(text)[0]

    def back_up(self) -> dict[str, Any]:
        disk = self._world.root / "root.img"
        command = ("backup", "web1", "--disk", disk)
        return self.json(*command, status=ExitStatus.DEGRADED)["runs"][0]

    def key_files(self) -> dict[str, Path]:
        return {path.suffix: path for path in (self.state / "keys").iterdir()}


class World:
    """A vault with a passphrase in a file, and hosts that use it."""

    def __init__(
        self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.root, self.capsys, self.monkeypatch = root, capsys, monkeypatch
        self.vault = root / "vault"
        self.url = self.vault.as_uri()
        self.said = ""
        (root / "root.img").write_bytes(DISK)
        self.first, self.second = root / "passphrase", root / "second"
        self.first.write_text(PASSPHRASE + "\n")
        self.second.write_text(SECOND + "\n")
        self.one, self.other = Host(self, "one"), Host(self, "other")


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr(slots, "MEMORY_KIB", 64)
    world = World(tmp_path, capsys, monkeypatch)
    world.one.run("vault", "init", "--passphrase-file", world.first)
    return world


def restored(host: Host, directory: Path, *arguments: object) -> bytes:
    host.run("restore", "web1@latest", "--to", directory, *arguments)
    return (directory / "root.img.raw").read_bytes()


def test_a_host_with_its_key_file_asks_nobody(world: World) -> None:
    world.first.unlink()
    world.one.back_up()

    assert restored(world.one, world.root / "out") == DISK
    for path in world.one.key_files().values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((world.one.state / "keys").stat().st_mode) == 0o700
    assert b"text text" not in b"".join(p.read_bytes() for p in world.vault.rglob("?-*"))


def test_elsewhere_a_passphrase_opens_it_from_a_file_the_environment_or_a_command(
    world: World,
) -> None:
    world.one.back_up()
    assert "VaultLocked" in world.other.run("points", status=ExitStatus.VAULT)

    assert restored(world.other, world.root / "1", "--passphrase-file", world.first) == DISK
    world.monkeypatch.setenv("QUIESCE_PASSPHRASE", PASSPHRASE)
    assert restored(world.other, world.root / "2") == DISK
    assert "QUIESCE_PASSPHRASE" not in os.environ
    world.other.settings.write_text(f'[vault]\npassphrase_command = ["cat", "{world.first}"]\n')
    assert restored(world.other, world.root / "3") == DISK
    world.other.settings.write_text('[vault]\npassphrase_command = ["false"]\n')
    assert "PassphraseUnavailable" in world.other.run("points", status=ExitStatus.USAGE)


def test_the_printed_recovery_key_opens_it(world: World) -> None:
    key = world.root / "recovery-key"
    world.one.run(
        "vault", "key", "add", "recovery", "--passphrase-file", world.first, "--recovery-file", key
    )
    world.one.back_up()

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert restored(world.other, world.root / "out", "--passphrase-file", key) == DISK
    key.write_text(key.read_text().replace("A", "B").replace("C", "D"))
    wrong = world.other.run("points", "--passphrase-file", key, status=ExitStatus.VAULT)
    assert "WrongKey" in wrong


def test_a_wrong_passphrase_a_damaged_slot_and_no_key_are_told_apart(world: World) -> None:
    world.one.back_up()
    points = ("points", "--passphrase-file", world.second)
    assert "WrongKey" in world.other.run(*points, status=ExitStatus.VAULT)
    for slot in (world.vault / "keys").glob("*-????????"):
        slot.write_bytes(slot.read_bytes().replace(b'"wrapped":"', b'"wrapped":"0'))
    damaged = world.other.run(*points, status=ExitStatus.VAULT)
    assert "VaultDamaged" in damaged
    assert "WrongKey" not in damaged


def test_another_vault_at_the_place_gets_nothing(world: World) -> None:
    world.vault.rename(world.root / "old")
    world.other.run("vault", "init", "--no-encryption")

    assert "VaultReplaced" in world.one.run("points", status=ExitStatus.VAULT)
    run = world.one.json(
        "backup", "web1", "--disk", world.root / "root.img", status=ExitStatus.VAULT
    )["runs"][0]
    assert run["error"]["name"] == "VaultReplaced"
    assert not (world.vault / "domains").exists()


def test_a_key_file_that_others_can_read_is_not_used(world: World) -> None:
    path = world.one.key_files()[".host"]
    path.chmod(0o640)
    assert "KeyFileUnusable" in world.one.run("points", status=ExitStatus.VAULT)
    path.chmod(0o600)
    path.write_text("{}")
    assert "KeyFileUnusable" in world.one.run("points", status=ExitStatus.VAULT)


def test_keys_are_added_shared_rotated_and_removed(world: World) -> None:
    world.one.back_up()
    add = ("vault", "key", "add")
    world.one.run(
        *add, "passphrase", "--passphrase-file", world.first, "--new-passphrase-file", world.second
    )
    added = (*add, "host", "--passphrase-file", world.second, "--machine", "web1")
    other = world.other.json(*added)["name"]
    assert restored(world.other, world.root / "out") == DISK
    assert world.one.json("vault", "key", "rotate")["generations"] == {"web1": 2}
    world.other.back_up()
    listed = world.one.json("vault", "key", "list")
    assert listed["problems"] == []
    hosts = [host["id"] for host in listed["hosts"]]
    assert sorted(listed["domains"][0]["opened_by"]) == sorted([*hosts, "root"])

    for slot in listed["slots"][:2]:
        world.one.run("vault", "key", "remove", slot["name"])
    last = listed["slots"][2]["name"]
    kept = world.one.run("vault", "key", "remove", last, status=ExitStatus.ABORTED)
    assert "KeyNeeded" in kept
    keeperless = world.other.run("forget", "web1@latest", status=ExitStatus.ABORTED)
    assert "KeeperKeyMissing" in keeperless

    world.one.run("vault", "key", "remove", other)
    world.one.run("vault", "key", "rotate", "web1", "--new-ids")
    disk = world.root / "root.img"
    run = world.other.json("backup", "web1", "--disk", disk, status=ExitStatus.VAULT)["runs"][0]
    assert run["error"]["name"] == "VaultLocked"
    world.one.back_up()
    assert restored(world.one, world.root / "again") == DISK


def test_a_vault_without_encryption_has_no_keys_and_says_so_loudly(world: World) -> None:
    world.vault.rename(world.root / "old")
    said = world.other.run("vault", "init", "--no-encryption")

    assert "NOT encrypted" in said
    listed = world.other.run("vault", "key", "list", status=ExitStatus.USAGE)
    assert "VaultNotEncrypted" in listed


def test_no_key_shows_in_what_is_printed_reported_or_stored(world: World) -> None:
    keys = {path: json.loads(path.read_text())["secret"] for path in world.one.key_files().values()}
    world.said = ""
    run = world.one.back_up()
    world.one.run("points")
    world.one.json("show", "web1@latest")
    world.one.run("vault", "key", "list")
    world.one.run("prune", "--dry-run")
    world.other.run("points", "--passphrase-file", world.second, status=ExitStatus.VAULT)
    world.other.run("points", "--passphrase-file", world.first)
    stored = b"".join(path.read_bytes() for path in world.vault.rglob("*") if path.is_file())

    assert run["point"] is not None
    for secret in (PASSPHRASE, SECOND, *keys.values()):
        assert secret not in world.said
        assert secret.encode() not in stored
    others = [
        path
        for path in (*world.one.state.rglob("*"), *world.other.state.rglob("*"))
        if path.is_file() and path not in keys
    ]
    for path in others:
        assert not any(secret in path.read_text() for secret in (PASSPHRASE, *keys.values()))
