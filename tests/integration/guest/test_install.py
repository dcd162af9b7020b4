"""What an installation writes, and that it serves at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
PRE = "/etc/quiesce/scripts/pre"
UNIT = "/etc/systemd/system/quiesce-guest-recover.service"


def test_what_install_config_writes_is_shown_and_serves_at_once(box: Box) -> None:
    box.mount("/mnt/a")
    box.shell("rm -r /etc/azure /etc/quiesce")

    installed = box.run("install", "config")
    checked = box.run("check", "--json", "--disks", "2")
    done = box.run("exec", "--json", "--disks", "2", "--", "true")

    assert installed.returncode == 0, installed.stderr
    assert f"wrote {CONFIG}" in installed.stdout
    assert '    "preScriptLocation": "/etc/quiesce/scripts/pre"' in installed.stdout
    document = json.loads(checked.stdout)
    assert (checked.returncode, document["expected"]) == (0, "application"), checked.stdout
    assert (done.returncode, json.loads(done.stdout)["consistency"]) == (0, "application")


def test_install_config_leaves_what_is_there_and_says_so(box: Box) -> None:
    box.write(CONFIG, "{}")

    installed = box.run("install", "config")

    assert installed.returncode == 3
    assert f"left {CONFIG}" in installed.stdout
    assert f"{CONFIG} was there already" in installed.stderr
    assert box.read(CONFIG) == "{}"
    assert f"wrote {PRE}" in installed.stdout


def test_install_config_wants_no_restart(box: Box) -> None:
    refused = box.run("install", "config", "--restart")

    assert refused.returncode == 2
    assert box.shell(f"ls {PRE}").returncode != 0


@pytest.mark.parametrize("door", ["config", "qga"])
def test_every_installation_has_the_boot_release_what_was_held(box: Box, door: str) -> None:
    box.run("install", door)
    enabled = box.shell("systemctl is-enabled quiesce-guest-recover.service")

    assert box.read(UNIT).count("ExecStart=/usr/local/bin/quiesce-guest recover\n") == 1
    assert enabled.stdout.strip() == "enabled"
    assert box.shell(f"systemd-analyze verify {UNIT}").stderr == ""


def test_uninstalling_takes_the_unit_back(box: Box) -> None:
    before = box.shell("find /etc | sort").stdout
    box.run("install", "qga")
    installed = box.shell("find /etc | sort").stdout
    removed = box.run("uninstall", "qga")

    assert f"removed {UNIT}" in removed.stdout
    assert installed != before
    assert set(box.shell("find /etc | sort").stdout.split()) <= set(before.split())
