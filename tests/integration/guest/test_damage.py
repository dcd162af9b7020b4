"""A damaged installation: nothing is held, the file systems are frozen, and everybody is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import PROGRAM
from tools.guest_program import build, put, with_a_flipped_bit

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

HOOK = "/etc/quiesce/qga-hook"
CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
APPLICATION = (0, "application", "complete", [])
FILESYSTEM = (3, "filesystem", "degraded", ["IncorrectPluginhostFile"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build(tmp_path_factory.mktemp("program") / "one").read_bytes()


@pytest.fixture
def installed(box: Box, whole: bytes) -> Box:
    """A machine in which the program is a single file, with its hook and an application."""
    box.mount("/mnt/a")
    put(box, whole)
    assert box.run("install", "qga").returncode == 0
    box.configure()
    return box


def run(box: Box, *options: str) -> tuple[int, str, str, list[str]]:
    done = box.run("exec", "--json", *(options or ("--disks", "2")), "--", "true")
    report: dict[str, Any] = json.loads(done.stdout)
    names = [error["name"] for error in report["errors"]]
    return done.returncode, report["consistency"], report["outcome"], names


def test_one_bit_changes_the_level_and_the_whole_file_changes_it_back(
    installed: Box, whole: bytes
) -> None:
    put(installed, with_a_flipped_bit(whole))
    damaged, ran = run(installed), installed.scripts_ran()
    put(installed, whole)

    assert damaged == FILESYSTEM
    assert ran == []
    assert run(installed) == APPLICATION
    assert installed.scripts_ran() == ["pre  ", "post ok taken"]


@pytest.mark.parametrize(
    ("disks", "settings", "expected"),
    [
        ("2", {"fsFreezeEnabled": False}, (3, "crash", "degraded")),
        ("2", {"continueBackupOnFailure": False}, (4, "none", "aborted")),
        ("1", {"continueBackupOnFailure": False}, (3, "crash", "degraded")),
    ],
)
def test_the_owner_s_wishes_count_in_a_damaged_installation_too(
    installed: Box, whole: bytes, disks: str, settings: dict[str, bool], expected: tuple[Any, ...]
) -> None:
    installed.configure(**settings)
    put(installed, with_a_flipped_bit(whole))

    assert run(installed, "--disks", disks)[:3] == expected
    assert installed.scripts_ran() == []


def test_check_says_it_with_the_command_that_mends_it(installed: Box, whole: bytes) -> None:
    put(installed, with_a_flipped_bit(whole))
    checked = installed.run("check", "--disks", "2")
    document = json.loads(installed.run("check", "--json", "--disks", "2").stdout)

    assert checked.returncode == 3
    assert f"IncorrectPluginhostFile: {PROGRAM} is damaged" in checked.stdout
    assert f"{PROGRAM} install qga" in checked.stdout
    assert (document["damaged"], document["expected"]) == (True, "filesystem")


def test_a_hook_of_another_version_is_half_an_installation(installed: Box) -> None:
    installed.write(HOOK, installed.read(HOOK).replace("thaw_scripts", "thaw_all"), 0o755)
    damaged = run(installed)
    installed.run("install", "qga")

    assert damaged == FILESYSTEM
    assert run(installed) == APPLICATION


def test_a_hook_that_calls_a_program_elsewhere_is_whole(installed: Box) -> None:
    installed.shell(f"cp {PROGRAM} /opt/quiesce-guest && /opt/quiesce-guest install qga")

    assert "program=/opt/quiesce-guest\n" in installed.read(HOOK)
    assert run(installed) == APPLICATION


@pytest.mark.parametrize(
    ("settings", "mode", "status"),
    [
        ({}, 0o600, 0),
        ({"fsFreezeEnabled": False}, 0o600, 3),
        ({"continueBackupOnFailure": False}, 0o600, 4),
        ({"continueBackupOnFailure": False, "fsFreezeEnabled": False}, 0o600, 4),
        ({"continueBackupOnFailure": False}, 0o644, 4),
        ({"continueBackupOnFailure": False}, 0o666, 0),
    ],
)
def test_where_the_program_cannot_even_start_the_hook_falls_back(
    installed: Box, whole: bytes, settings: dict[str, bool], mode: int, status: int
) -> None:
    installed.configure(**settings)
    (installed.root / CONFIG.lstrip("/")).chmod(mode)
    put(installed, whole[: len(whole) // 2])

    frozen = installed.shell(f"{HOOK} freeze")
    thawed = installed.shell(f"{HOOK} thaw")

    assert frozen.returncode == status, frozen.stderr
    assert "IncorrectPluginhostFile" in frozen.stderr
    assert thawed.returncode == 0
    assert installed.scripts_ran() == []


def test_a_program_that_is_gone_is_a_damaged_one(installed: Box) -> None:
    (installed.root / PROGRAM.lstrip("/")).unlink()

    assert installed.shell(f"{HOOK} freeze").returncode == 0


def test_a_whole_program_that_refuses_still_vetoes(installed: Box) -> None:
    assert installed.run("hold", "--no-freeze").returncode == 0

    assert installed.shell(f"{HOOK} freeze").returncode == 9
    assert installed.run("release").returncode == 0


@pytest.mark.parametrize(
    "damaged", ["guest/session/stack.py", "error_table.py", "locale/it/LC_MESSAGES/quiesce.mo"]
)
def test_a_list_of_the_installer_is_compared_too(box: Box, damaged: str) -> None:
    box.mount("/mnt/a")
    box.configure()
    record = "/opt/guest-set/quiesce-0.1.0.dist-info/RECORD"
    program = (
        "import base64, hashlib, pathlib\n"
        "for path in pathlib.Path('quiesce').rglob('*.[mp][oy]'):\n"
        "    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())\n"
        "    print(f'{path},sha256={digest.decode().rstrip(chr(61))},{path.stat().st_size}')\n"
    )
    box.write("/tmp/list.py", program)
    box.shell(
        f"mkdir {record.rpartition('/')[0]}; cd /opt/guest-set; python3 /tmp/list.py >{record}"
    )
    before = run(box)
    box.shell(f"echo '# a line more' >>/opt/guest-set/quiesce/{damaged}")

    assert before == APPLICATION
    assert run(box) == FILESYSTEM


def test_code_that_fails_because_it_is_damaged_says_so(installed: Box, whole: bytes) -> None:
    name = b"quiesce/guest/cli/status.pyc"
    at = whole.index(name) + len(name) + 40
    put(installed, whole[:at] + bytes(64) + whole[at + 64 :])

    failed = installed.run("status", "--json")

    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"]["name"] == "IncorrectPluginhostFile"
