"""The guest set as one file: the same bytes every time, and all of it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from tools.guest_program import build

if TYPE_CHECKING:
    from pathlib import Path

    from guest_box import Box

pytestmark = pytest.mark.integration


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = build(tmp_path / "one"), build(tmp_path / "other")

    assert one.read_bytes() == other.read_bytes()


def test_it_holds_the_guest_set_and_nothing_of_the_host(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(tmp_path / "one")) as archive:
        names = set(archive.namelist())

    parts = {name.split("/")[1] for name in names if name.startswith("quiesce/")}
    assert "quiesce/guest/shipped/qga-hook.sh" in names
    assert {part for part in parts if "." not in part} == {"guest", "locale", "model", "system"}
    assert {part for part in parts if part.endswith(".py")} == {
        "__init__.py",
        "catalogue.py",
        "error_table.py",
        "errors.py",
        "values.py",
    }


def test_a_program_that_the_hook_could_not_call_is_not_installed(box: Box, tmp_path: Path) -> None:
    program = box.root / "usr/local/bin/quiesce-guest.pyz"
    program.write_bytes(build(tmp_path / "one").read_bytes())
    program.chmod(0o644)

    refused = box.shell("python3 /usr/local/bin/quiesce-guest.pyz install qga")

    assert refused.returncode == 4
    assert "InstallRefused" in refused.stderr
    assert not (box.root / "etc/quiesce/qga-hook").exists()


def test_it_installs_its_hook_and_the_hook_calls_it(box: Box, tmp_path: Path) -> None:
    box.mount("/mnt/a")
    program = box.root / "usr/local/bin/quiesce-guest"
    program.write_bytes(build(tmp_path / "one").read_bytes())

    assert box.run("install", "qga").returncode == 0
    frozen = box.shell("/etc/quiesce/qga-hook freeze")
    thawed = box.shell("/etc/quiesce/qga-hook thaw")

    assert (frozen.returncode, thawed.returncode) == (0, 0), frozen.stderr + thawed.stderr
    assert box.report()["reached"] == "filesystem"
