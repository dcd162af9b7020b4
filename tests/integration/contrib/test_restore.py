"""The stand-alone reader restores from real vaults, and its page can be followed word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golden import contents
from quiesce.model.disk import Disk
from quiesce.vault.format import names
from quiesce.vault.keys import slots
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, back_up, moved_twice, pattern, small_vault

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
READER = ROOT / "contrib" / "restore.py"
PAGE = ROOT / "docs" / "without-quiesce.md"
GOLDEN = ROOT / "tests" / "golden"


def run(*arguments: object, status: int = 0, secret: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "QUIESCE_PASSPHRASE": secret}
    done = subprocess.run(
        [sys.executable, "-I", READER, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def restored(vault: Path, target: Path, **more: str) -> dict[str, dict[str, bytes]]:
    """Return the disks of every point in *vault*, as the reader restores them."""
    found = {}
    for line in run(vault, **more).stdout.splitlines():
        sid = line.split()[0]
        directory = target / sid
        directory.mkdir(parents=True)
        run(vault, sid, directory, **more)
        found[sid] = {path.stem: path.read_bytes() for path in directory.iterdir()}
    return found


def test_it_is_short_and_has_nothing_of_ours() -> None:
    source = READER.read_text()

    assert len(source.splitlines()) <= 200
    modules = set(re.findall(r"^(?:from|import) ([a-z0-9_]+)", source, re.MULTILINE))
    assert modules - set(sys.stdlib_module_names) == {"blake3", "cryptography", "zstandard"}


def test_it_restores_the_golden_vault(tmp_path: Path) -> None:
    assert restored(GOLDEN / "vault-1", tmp_path) == contents.POINTS


def test_it_restores_the_golden_vault_with_encryption(tmp_path: Path) -> None:
    secret = slots.recovery_text(contents.RECOVERY)

    assert restored(GOLDEN / "vault-1-encrypted", tmp_path, secret=secret) == contents.POINTS


def test_a_passphrase_opens_it_too() -> None:
    told = run(GOLDEN / "vault-1-encrypted", secret=contents.PASSPHRASE).stdout

    assert [line.split()[0] for line in told.splitlines()] == [contents.FIRST, contents.SECOND]


def test_a_key_that_opens_nothing_is_refused() -> None:
    wrong = slots.recovery_text(bytes(32))
    told = run(GOLDEN / "vault-1-encrypted", secret=wrong, status=1).stderr

    assert "opens no slot" in told


def test_it_restores_sparsely(tmp_path: Path) -> None:
    run(GOLDEN / "vault-1", contents.FIRST, tmp_path)
    disk = (tmp_path / "vda.raw").stat()

    assert disk.st_size == len(contents.POINTS[contents.FIRST]["vda"])
    assert disk.st_blocks * 512 < 2 * disk.st_size // 100


def test_it_follows_what_was_moved(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "vault")
    vault = small_vault(store, encrypted=False)
    left = moved_twice(vault, store)

    assert restored(tmp_path / "vault", tmp_path / "out") == left


def test_it_takes_the_second_copy_and_tells_what_is_lost(tmp_path: Path) -> None:
    vault = small_vault(DirectoryStore(tmp_path / "vault"), encrypted=False)
    disks = {"vda": pattern(1, 9 * CHUNK) + bytes(300 * CHUNK) + b"end"}
    point = back_up(vault, disks)
    packs = tmp_path / "vault" / "domains" / "web1" / "packs" / point.id
    manifest = vault.read(point).manifest_ref.place.pack.text
    (packs / manifest.partition("/")[2]).write_bytes(b"damaged")
    pack = max(packs.glob("d-*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    told = run(tmp_path / "vault", point.id, tmp_path, status=1).stderr
    ((start, end),) = re.findall(r"LOST .*/vda.raw, bytes ([0-9]+) to ([0-9]+): ", told)
    whole = bytearray(disks["vda"])
    whole[int(start) : int(end)] = bytes(CHUNK)

    assert int(end) - int(start) == CHUNK
    assert (tmp_path / "vda.raw").read_bytes() == whole


def test_a_lost_leaf_is_told_as_a_range(tmp_path: Path) -> None:
    vault = small_vault(DirectoryStore(tmp_path / "vault"), encrypted=False)
    disks = {"vda": pattern(1, 2 * CHUNK) + bytes(300 * CHUNK) + b"end"}
    point = back_up(vault, disks)
    disk_map = vault.read(point).disk_map(Disk("vda", len(disks["vda"])))
    leaf = None if disk_map is None else disk_map.ref(0, 1)
    assert leaf is not None
    for pack in leaf.place.packs:
        (tmp_path / "vault" / names.pack_name("web1", pack)).unlink()
    told = run(tmp_path / "vault", point.id, tmp_path, status=1).stderr

    assert f"bytes {256 * CHUNK} to {len(disks['vda'])}:" in told


def test_a_point_that_is_not_there_is_no_success() -> None:
    run(GOLDEN / "vault-1", "01JDX000000000000000000000", status=1)


def test_an_unknown_feature_is_refused_by_name(tmp_path: Path) -> None:
    head = (GOLDEN / "vault-1" / "vault.json").read_text()
    (tmp_path / "vault.json").write_text(head.replace('"unencrypted"', '"sideways"'))

    assert "sideways" in run(tmp_path, status=1).stderr


def test_a_damaged_log_entry_is_told(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "vault-1", tmp_path / "vault")
    entry = tmp_path / "vault" / "domains" / contents.DOMAIN / "log" / "000000000002"
    entry.write_bytes(entry.read_bytes()[:-10])

    assert f"{entry} is damaged" in run(tmp_path / "vault").stderr


def test_the_page_can_be_followed_word_for_word(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "vault-1", tmp_path / "vault")
    shutil.copytree(GOLDEN / "vault-1-encrypted", tmp_path / "vault-encrypted")
    (tmp_path / "recovery-key").write_text(slots.recovery_text(contents.RECOVERY))
    shutil.copy(READER, tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command, expected in commands(PAGE.read_text()):
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.stdout == expected, command
        assert done.returncode == ("LOST" in expected), command


def commands(page: str) -> list[tuple[str, str]]:
    """Return the commands of *page* with what they are said to print."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found
