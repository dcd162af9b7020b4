from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.installation.install import install_qga, uninstall_qga

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "/opt/a place/quiesce-guest"
CONFIG = "etc/qemu/qemu-ga.conf"
SYSCONFIG = "etc/sysconfig/qemu-ga"
HOOK = "etc/quiesce/qga-hook"
MEMORY = "etc/quiesce/qga-installed.json"


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


BEFORE = {
    "nothing": None,
    "empty": "",
    "another group": "[blacklist]\nfsfreeze-hook = elsewhere\n",
    "the group without a hook": "# ours\n[general]\nverbose=1\n[other]\nx=1\n",
    "another hook": "[general]\nfsfreeze-hook = /etc/qemu/fsfreeze-hook\nverbose=1\n",
    "the hook twice": "[general]\nfsfreeze-hook=/a\nfsfreeze-hook=/b\n",
    "no line end": "[general]\nverbose=1",
}


@pytest.mark.parametrize("before", sorted(BEFORE))
def test_the_hook_is_set_and_everything_else_stays_and_comes_back(
    tmp_path: Path, before: str
) -> None:
    text = BEFORE[before]
    if text is not None:
        put(tmp_path, CONFIG, text)
    old = tree(tmp_path)

    install_qga(PROGRAM, root=tmp_path)
    installed = (tmp_path / CONFIG).read_text()
    uninstall_qga(root=tmp_path)

    general = installed.partition("[general]")[2].partition("\n[")[0]
    assert general.count("fsfreeze-hook") == 1
    assert "fsfreeze-hook=/etc/quiesce/qga-hook\n" in general
    for line in (text or "").splitlines():
        assert line in installed or "fsfreeze-hook" in line
    assert tree(tmp_path) == old


def test_on_the_red_hat_family_the_agents_environment_names_the_hook(tmp_path: Path) -> None:
    text = 'BLACKLIST_RPC=x\n# FSFREEZE\nFSFREEZE_HOOK_PATHNAME="/etc/qemu-ga/fsfreeze-hook"\n'
    put(tmp_path, SYSCONFIG, text)

    install_qga(PROGRAM, root=tmp_path)

    installed = (tmp_path / SYSCONFIG).read_text()
    assert installed == text.replace('"/etc/qemu-ga/fsfreeze-hook"', "/etc/quiesce/qga-hook")
    assert "scripts=/etc/qemu-ga/fsfreeze-hook.d" in (tmp_path / HOOK).read_text()
    uninstall_qga(root=tmp_path)
    assert tree(tmp_path) == {SYSCONFIG: text}


def test_the_hook_is_executable_and_calls_the_program_that_installed_it(tmp_path: Path) -> None:
    install_qga(PROGRAM, root=tmp_path)

    hook = tmp_path / HOOK
    assert hook.stat().st_mode & 0o777 == 0o755
    assert "program='/opt/a place/quiesce-guest'\n" in hook.read_text()
    assert "@" not in hook.read_text().replace('"$@"', "")


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, CONFIG, BEFORE["another hook"] or "")
    install_qga(PROGRAM, root=tmp_path)
    old = tree(tmp_path)

    changes = install_qga(PROGRAM, root=tmp_path)

    assert {change.action for change in changes} == {"unchanged"}
    assert tree(tmp_path) == old
    uninstall_qga(root=tmp_path)
    assert tree(tmp_path) == {CONFIG: BEFORE["another hook"]}


def test_what_others_changed_after_the_installation_stays(tmp_path: Path) -> None:
    put(tmp_path, CONFIG, "[general]\nfsfreeze-hook=/old\n")
    install_qga(PROGRAM, root=tmp_path)
    put(tmp_path, CONFIG, (tmp_path / CONFIG).read_text() + "verbose=1\n")

    uninstall_qga(root=tmp_path)

    assert (tmp_path / CONFIG).read_text() == "[general]\nfsfreeze-hook=/old\nverbose=1\n"


def test_a_hook_that_others_set_after_ours_is_left_to_them(tmp_path: Path) -> None:
    install_qga(PROGRAM, root=tmp_path)
    put(tmp_path, CONFIG, "[general]\nfsfreeze-hook=/theirs\n")

    uninstall_qga(root=tmp_path)

    assert tree(tmp_path) == {CONFIG: "[general]\nfsfreeze-hook=/theirs\n"}


def test_uninstalling_what_is_not_installed_changes_nothing(tmp_path: Path) -> None:
    assert {change.action for change in uninstall_qga(root=tmp_path)} == {"unchanged"}


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    put(tmp_path, "etc/quiesce", "in the way")

    with pytest.raises(QuiesceError, match="etc/quiesce") as caught:
        install_qga(PROGRAM, root=tmp_path)

    assert caught.value.name == "InstallRefused"


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory"])
def test_what_is_no_regular_file_is_refused_and_left(tmp_path: Path, kind: str) -> None:
    config = tmp_path / CONFIG
    config.parent.mkdir(parents=True)
    target = tmp_path / "target"
    if kind == "fifo":
        os.mkfifo(config)
    elif kind == "directory":
        config.mkdir()
    else:
        config.symlink_to(target)
    if kind == "link":
        target.write_text("[general]\n")
    before = config.lstat()

    for change in (
        lambda: install_qga(PROGRAM, root=tmp_path),
        lambda: uninstall_qga(root=tmp_path),
    ):
        with pytest.raises(QuiesceError, match="is no regular file") as refused:
            change()
        assert refused.value.name == "InstallRefused"

    assert config.lstat() == before
    assert not (tmp_path / HOOK).exists()


@pytest.mark.parametrize("memory", ["", "{", "[]", "null", "{}", '{"before": 1, "after": []}'])
def test_where_what_was_before_is_forgotten_our_hook_goes_all_the_same(
    tmp_path: Path, memory: str
) -> None:
    put(tmp_path, CONFIG, "[general]\nverbose=1\n")
    install_qga(PROGRAM, root=tmp_path)
    (tmp_path / MEMORY).write_text(memory)

    uninstall_qga(root=tmp_path)

    assert (tmp_path / CONFIG).read_text() == "[general]\nverbose=1\n"
    assert not (tmp_path / HOOK).exists()


def test_lines_that_end_as_in_windows_stay_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / CONFIG
    config.parent.mkdir(parents=True)
    before = b"[general]\r\nverbose=1\r\n"
    config.write_bytes(before)

    install_qga(PROGRAM, root=tmp_path)
    installed = config.read_bytes()
    uninstall_qga(root=tmp_path)

    assert installed == b"[general]\r\n" + f"fsfreeze-hook=/{HOOK}\n".encode() + b"verbose=1\r\n"
    assert config.read_bytes() == before
