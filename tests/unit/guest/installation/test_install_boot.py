from __future__ import annotations

import configparser
from typing import TYPE_CHECKING

import pytest

from quiesce.guest.installation.install_boot import install_boot, uninstall_boot

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "/usr/local/bin/quiesce-guest"
UNIT = "etc/systemd/system/quiesce-guest-recover.service"
WANTED = "etc/systemd/system/multi-user.target.wants/quiesce-guest-recover.service"
TMPFILES = "etc/tmpfiles.d/quiesce-guest.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    systemd = tmp_path / "usr/lib/systemd/systemd"
    systemd.parent.mkdir(parents=True)
    systemd.touch()
    return tmp_path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_the_boot_wants_the_unit_and_the_unit_calls_the_program(root: Path) -> None:
    changes = install_boot(PROGRAM, root=root)

    assert {change.action for change in changes} == {"wrote"}
    assert (root / WANTED).resolve() == root / UNIT
    unit = (root / UNIT).read_text()
    assert f"\nExecStart={PROGRAM} recover\n" in unit
    assert "@" not in unit
    assert "/run/quiesce 0700 root root" in (root / TMPFILES).read_text()


def test_the_unit_costs_a_boot_nothing_where_nothing_was_held(root: Path) -> None:
    install_boot(PROGRAM, root=root)
    unit = (root / UNIT).read_text()
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(unit)

    assert "ConditionPathExists=|/var/lib/quiesce/session.json\n" in unit
    assert parser["Service"]["Type"] == "oneshot"


@pytest.mark.parametrize(
    ("program", "quoted"),
    [("/opt/a place/q", '"/opt/a place/q"'), ("/opt/50%/q", '"/opt/50%%/q"')],
)
def test_a_program_with_an_odd_name_is_quoted_for_systemd(
    root: Path, program: str, quoted: str
) -> None:
    install_boot(program, root=root)

    assert f"\nExecStart={quoted} recover\n" in (root / UNIT).read_text()


def test_installing_again_changes_nothing_and_uninstalling_takes_all_back(root: Path) -> None:
    before = files(root)
    install_boot(PROGRAM, root=root)

    again = install_boot(PROGRAM, root=root)
    removed = uninstall_boot(root=root)

    assert {change.action for change in again} == {"unchanged"}
    assert {change.action for change in removed} == {"removed"}
    assert files(root) == before
    assert {change.action for change in uninstall_boot(root=root)} == {"unchanged"}


def test_where_there_is_no_systemd_nothing_is_written(tmp_path: Path) -> None:
    assert install_boot(PROGRAM, root=tmp_path) == []
    assert files(tmp_path) == set()
