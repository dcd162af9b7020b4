"""The machine goes down while an application is held: the next boot, or command, releases it."""

from __future__ import annotations

import json
import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

RECORD = "/var/lib/quiesce/session.json"
NOTHING_HELD = "nothing releases it at the next boot"


def put_down(box: Box) -> dict[str, Any] | None:
    """What is on the disk for the next boot."""
    path = box.root / RECORD.lstrip("/")
    return json.loads(path.read_text()) if path.exists() else None


def change_record(box: Box, **changes: object) -> None:
    document = put_down(box)
    assert document is not None
    box.write(RECORD, json.dumps({**document, **changes}))


def crash(box: Box) -> str:
    """Hold, and let the machine go down with everything on /run; the session's id."""
    assert box.run("hold", "--no-freeze", "--disks", "2").returncode == 0
    record = box.record()
    assert record is not None
    engine, watchdog = box.guards()
    os.kill(watchdog, signal.SIGSTOP)  # so that neither sees the other die
    for pid in (engine, watchdog):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not box.processes())
    assert box.shell("rm -r /run/quiesce").returncode == 0
    if record["hurried"]:  # a machine's own kernel goes down with it
        box.shell("echo 0 >/sys/kernel/rcu_expedited")
    change_record(box, boot_id=str(uuid.uuid4()))
    session: str = record["session"]
    return session


def test_while_an_application_is_held_the_disk_says_so_and_afterwards_no_more(box: Box) -> None:
    box.configure()
    box.run("hold", "--no-freeze")
    held = put_down(box)
    mode = (box.root / RECORD.lstrip("/")).stat().st_mode & 0o777
    box.run("release", "--snapshot", "taken")

    assert held is not None
    assert [one["post"]["path"] for one in held["record"]["held"]] == ["/etc/quiesce/scripts/post"]
    assert mode == 0o600
    assert put_down(box) is None


def test_where_no_application_is_held_nothing_is_put_down(box: Box) -> None:
    box.mount("/mnt/a")
    box.run("hold")

    assert put_down(box) is None
    assert box.run("release").returncode == 0


def test_the_boot_releases_what_was_held_and_reports_it(box: Box) -> None:
    box.configure()
    session = crash(box)

    status = box.run("status")
    recovered = box.run("recover")
    report = box.report()

    assert f"session {session} held" in status.stdout
    assert recovered.returncode == 0, recovered.stderr
    assert f"ended session {session}" in recovered.stdout
    assert box.scripts_ran() == ["pre  ", "post failed unknown"]
    assert report["session"] == session
    assert [error["name"] for error in report["errors"]] == ["FreezeWindowExpired"]
    assert report["snapshot"]["taken"] is None
    assert put_down(box) is None
    assert box.run("recover").stdout == "nothing was at rest\n"
    assert box.scripts_ran() == ["pre  ", "post failed unknown"]


def test_the_next_session_does_so_too_before_it_holds(box: Box) -> None:
    box.configure()
    crash(box)

    done = box.run("exec", "--no-freeze", "--", "true")

    assert done.returncode == 0
    assert box.scripts_ran() == ["pre  ", "post failed unknown", "pre  ", "post ok taken"]
    assert put_down(box) is None


def test_several_applications_are_released_in_reverse(box: Box) -> None:
    config = {"pluginName": "ScriptRunner"}
    lines = ["[pre_post]", "numberOfPlugins = 2"]
    for number in range(2):
        for phase in ("pre", "post"):
            path = f"/etc/quiesce/scripts/{phase}{number}"
            box.write(path, f"#!/bin/sh\necho {phase}{number} >>/run/scripts.log\n", 0o700)
            config[f"{phase}ScriptLocation"] = path
        box.write(f"/etc/azure/plugin{number}.json", json.dumps(config))
        lines += [f"pluginName{number} = ScriptRunner", f"pluginPath{number} = /x"]
        lines.append(f"pluginConfigPath{number} = /etc/azure/plugin{number}.json")
    box.write("/etc/azure/VMSnapshotPluginHost.conf", "\n".join(lines), 0o644)
    crash(box)

    box.run("recover")

    assert box.scripts_ran() == ["pre0", "pre1", "post1", "post0"]


def test_a_session_that_lives_is_left_alone(box: Box) -> None:
    box.configure()
    box.run("hold", "--no-freeze")

    refused = box.run("recover")

    assert refused.returncode == 9
    assert box.scripts_ran() == ["pre  "]
    assert box.run("release").returncode == 0


def test_a_record_of_this_boot_whose_processes_live_is_theirs(box: Box) -> None:
    box.configure()
    box.run("hold", "--no-freeze")
    record = put_down(box)
    box.run("release")
    mine = {**record["record"], "guards": [{"pid": 1, "started": 0}]} if record else {}
    started = (box.root / "proc/1/stat").read_text().rpartition(")")[2].split()[19]
    mine["guards"][0]["started"] = int(started)
    box.write(RECORD, json.dumps({**(record or {}), "record": mine}))

    assert box.run("recover").stdout == "nothing was at rest\n"
    assert put_down(box) is not None
    change_record(box, boot_id=str(uuid.uuid4()))  # the same numbers, by chance, of another boot
    assert "ended session" in box.run("recover").stdout
    assert put_down(box) is None


@pytest.mark.parametrize("spoil", ["mode", "owner", "content", "version"])
def test_a_record_that_is_not_roots_alone_or_not_whole_runs_nothing(box: Box, spoil: str) -> None:
    box.configure()
    crash(box)
    path = box.root / RECORD.lstrip("/")
    if spoil == "mode":
        path.chmod(0o666)
    elif spoil == "owner":
        os.chown(path, 65534, 65534)
    elif spoil == "content":
        path.write_text(path.read_text()[:-20])
    else:
        change_record(box, record={"session": "x"})

    assert box.run("recover").returncode == 0
    assert box.scripts_ran() == ["pre  "]


def test_a_post_script_that_is_not_roots_alone_any_more_is_not_run(box: Box) -> None:
    box.configure()
    crash(box)
    (box.root / "etc/quiesce/scripts/post").chmod(0o777)

    recovered = box.run("recover")

    assert recovered.returncode == 3
    assert box.scripts_ran() == ["pre  "]
    assert "InsufficientPermissionforPost-Script" in [one["name"] for one in box.report()["errors"]]


@pytest.mark.parametrize(
    "prepare",
    [
        "mount -t tmpfs -o ro none /var/lib",
        "mount -t tmpfs -o size=4k none /var/lib; echo >/var/lib/fill",
        "mkdir -p /var/lib/quiesce; chmod 775 /var/lib/quiesce",
    ],
    ids=["read-only", "full", "not root's"],
)
def test_where_nothing_can_be_put_down_the_session_goes_on_with_a_warning(
    box: Box, prepare: str
) -> None:
    box.configure()
    box.shell(prepare)

    checked = box.run("check", "--json", "--disks", "2")
    done = box.run("exec", "--json", "--no-freeze", "--disks", "2", "--", "true")
    left = list((box.root / "var/lib/quiesce").glob("*session*"))

    for told in (checked, done):
        assert any(NOTHING_HELD in one for one in json.loads(told.stdout)["warnings"]), told.stdout
    assert done.returncode == 0
    assert left == []
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
