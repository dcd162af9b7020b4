"""Paths, files, umasks and numbers that nobody expects."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from guest_box import PROGRAM

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
DURABLE = "/var/lib/quiesce/session.json"
JOURNAL = "/run/quiesce/session.json"


@pytest.mark.parametrize("place", [JOURNAL, DURABLE])
def test_a_damaged_record_is_none(box: Box, place: str) -> None:
    box.configure()

    for text in ("", "[]", "{}", "{x", "[" * 5000):
        for words in ("status", "thaw", "release"):
            box.write(place, text)
            done = box.run(*words.split())
            assert "Traceback" not in done.stderr
            assert done.returncode == (10 if words == "release" else 0), (words, text)

    assert box.run("exec", "--no-freeze", "--", "true").returncode == 0
    assert box.scripts_ran() == ["pre  ", "post ok taken"]


@pytest.mark.parametrize("path", ["", ".", "data", "in/..", "/data/.."])
def test_what_is_no_absolute_path_of_a_mount_is_not_frozen(box: Box, path: str) -> None:
    box.mount("/data")

    done = box.shell(f"cd /data; {PROGRAM} exec --freeze '{path}' -- true")

    assert done.returncode == 2
    assert path in done.stderr


@pytest.mark.parametrize("target", ["/t/device", "/t/fifo", "/t/link", "/t/directory", "/t/", ""])
def test_a_report_takes_the_place_of_nothing_but_a_report(box: Box, target: str) -> None:
    box.shell(
        "mkdir -p /t/directory; mknod /t/device c 1 3; mkfifo /t/fifo; ln -s target /t/link;"
        " echo mine >/t/target"
    )
    before = box.shell("ls -lR /t").stdout

    done = box.run("exec", "--no-freeze", "--report", target, "--", "true")

    assert done.returncode == 2
    assert box.shell("ls -lR /t").stdout == before


def test_a_report_takes_the_place_of_an_older_one(box: Box) -> None:
    for _ in range(2):
        assert box.run("rehearse", "--no-freeze", "--report", "/run/report").returncode == 0
        assert json.loads(box.read("/run/report")) == box.report()


@pytest.mark.parametrize("name", ["a\rb", "a\nb\tc d", "a\x1cb\x85c\u2028d", "a\udcffb", "a'\"\\"])
def test_a_mount_point_may_have_any_name(box: Box, name: str) -> None:
    box.mount("/mnt/a")
    mount_at(box, f"/mnt/{name}")

    checked = box.run("check")
    done = box.run("exec", "--json", "--", "true")

    box.shell("umount -l /mnt/[!a]* /mnt/a?*")
    assert checked.returncode == 0, checked.stderr
    assert done.returncode == 0, done.stderr
    frozen = [mount["path"] for mount in json.loads(done.stdout)["mounts"] if mount["frozen"]]
    assert sorted(frozen) == sorted(["/mnt/a", f"/mnt/{name}"])


def mount_at(box: Box, path: str) -> None:
    """Mount a file system at a path that a shell would not take as it is."""
    done = subprocess.run(
        [
            *box.argv()[:-1],
            *("sh", "-c", 'mkdir "$1"; truncate -s 16M "$2"; mkfs.ext4 -q "$2"; mount "$2" "$1"'),
            *("sh", path, "/tmp/image"),
        ],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["/etc/azure", CONFIG, "/etc/quiesce/guest.conf"])
def test_a_configuration_that_cannot_be_looked_at_is_not_none(box: Box, place: str) -> None:
    box.shell(f"rm -rf {place}; ln -s {place} {place}")

    done = box.run("exec", "--no-freeze", "--json", "--", "true")

    assert done.returncode == 3
    assert json.loads(done.stdout)["errors"]


@pytest.mark.parametrize("umask", ["0777", "0377", "0000"])
def test_no_umask_makes_the_next_boot_disbelieve_us(box: Box, umask: str) -> None:
    box.configure(pre=f"stat -c '%a' {DURABLE} {JOURNAL} >/run/modes")
    box.shell("rm -rf /var/lib/quiesce")

    done = box.shell(f"umask {umask}; {PROGRAM} exec --no-freeze -- true")

    assert (done.returncode, done.stderr.count("warning")) == (0, 0), done.stderr
    assert box.read("/run/modes").split()[0] == "600"


def test_a_file_that_is_mounted_by_itself_stands_for_its_file_system(box: Box) -> None:
    box.mount("/m")
    box.shell(
        "mkdir /m/d /zzzzzz; touch /m/f /f; mount --bind /m/d /zzzzzz; mount --bind /m/f /f;"
        " umount -l /m"
    )
    box.mounts.remove("/m")

    done = box.run("exec", "--json", "--", "true")

    box.shell("umount /f /zzzzzz")
    assert done.returncode == 0, done.stderr
    assert [(one["path"], one["frozen"]) for one in json.loads(done.stdout)["mounts"]] == [
        ("/f", True)
    ]


@pytest.mark.parametrize("disks", ["0", "-3", "1025", "9" * 30, "x"])
def test_numbers_of_disks_that_cannot_be_are_not_announced(box: Box, disks: str) -> None:
    box.run("install", "qga")

    assert box.run("hook", "qga", "announce", f"--disks={disks}").returncode == 2


def test_an_announcement_that_is_deep_is_none(box: Box) -> None:
    box.mount("/mnt/a")
    box.write("/run/quiesce/announced.json", "[" * 4000)

    frozen = box.run("hook", "qga", "freeze")

    assert frozen.returncode == 0, frozen.stderr
    assert box.run("thaw").returncode == 0


def test_a_configuration_at_a_path_that_is_no_text_counts(box: Box) -> None:
    box.configure()
    box.shell(f"mv {CONFIG} \"/etc/quiesce/$(printf '\\377')\"")
    given = ("--plugin-config", "/etc/quiesce/\udcff")

    done = box.run("exec", "--no-freeze", *given, "--", "true")

    assert done.returncode == 0, done.stderr
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
