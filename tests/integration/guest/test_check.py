from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from guest_box import SOURCE

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

PRE = "/etc/quiesce/scripts/pre"
HOOK = "/etc/quiesce/qga-hook"
NOEXEC = f"""
mkdir /opt/s
mount -t tmpfs -o noexec,mode=755 none /opt/s
cp -p {PRE} /opt/s
sed -i s,{PRE},/opt/s/pre, /etc/azure/VMSnapshotPluginConfig.json
"""


def check(box: Box, *options: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and document of `check`."""
    done = box.run("check", "--json", "--disks", "2", *options)
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((SOURCE / "schemas" / "check.json").read_text()))
    return done.returncode, document


def findings(box: Box) -> list[tuple[str, str]]:
    return [(each["severity"], each["what"]) for each in check(box)[1]["findings"]]


def test_a_machine_that_is_well_configured_has_no_findings(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    status, document = check(box)

    assert (status, document["expected"], document["findings"]) == (0, "application", [])
    assert box.scripts_ran() == []


@pytest.mark.parametrize(
    ("spoil", "level", "says", "mend"),
    [
        ("mount -t tmpfs -o ro none /run", "crash", "cannot use /run: /run/quiesce", None),
        (
            "mount -t tmpfs -o size=4k,mode=755 none /run; head -c 4096 /dev/zero >/run/full",
            *("crash", "No space left on device", None),
        ),
        ("rm -rf /run/quiesce; touch /run/quiesce", "crash", "Not a directory", None),
        (
            f"chmod 700 {PRE}; sed -i '1s/sh$/zsh-of-mine/' {PRE}",
            *("filesystem", "interpreter /bin/zsh-of-mine is not there", None),
        ),
        (f"sed -i 's/$/\\r/' {PRE}", "filesystem", "carriage return", f"sed -i 's/\\r$//' {PRE}"),
        (
            NOEXEC,
            *("filesystem", "mounted noexec", "mount -o remount,exec /opt/s"),
        ),
        (f"chmod 755 {PRE}", "filesystem", "it has mode 0755", f"chmod 700 {PRE}"),
    ],
)
def test_what_would_fail_is_said_before_it_does_and_a_run_comes_to_the_same(
    *, box: Box, spoil: str, level: str, says: str, mend: str | None
) -> None:
    box.mount("/mnt/a")
    box.configure()
    box.shell(spoil)

    status, document = check(box)
    told = box.run("check").stdout
    done = box.run("exec", "--json", "--disks", "2", "--", "true")

    errors = [finding["what"] for finding in document["findings"] if finding["lowers"]]
    assert (status, document["expected"], len(errors)) == (3, level, 1)
    assert says.partition(": /run/quiesce")[0] in errors[0]
    assert errors[0] in told
    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (3, level)
    assert [error["name"] for error in report["errors"]] == [
        error["name"] for error in document["errors"]
    ]
    if mend is not None:
        action = next(each["action"] for each in document["findings"] if each["lowers"])
        assert box.shell(action.rpartition(", or: ")[2]).returncode == 0
        assert check(box)[0] == 0
    box.shell("umount /run; umount /opt/s")


def test_a_session_at_rest_is_said_and_how_to_end_it(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    box.run("hold")

    status, document = check(box)

    [finding] = document["findings"]
    assert (status, finding["name"], finding["lowers"]) == (3, "AlreadyHeld", True)
    assert "quiesce-guest thaw" in finding["action"]
    box.run("release")
    assert check(box)[0] == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("mount -t tmpfs -o ro none /var/log", "/var/log: Read-only file system"),
        ("mkdir -m 777 /var/log/quiesce", "/var/log/quiesce: others can write in it"),
        ("touch /var/log/quiesce", "/var/log/quiesce: Not a directory"),
    ],
)
def test_a_log_that_cannot_be_kept_is_a_warning_and_lowers_nothing(
    box: Box, spoil: str, says: str
) -> None:
    box.mount("/mnt/a")
    box.shell(spoil)

    status, document = check(box)

    [finding] = document["findings"]
    assert (status, finding["severity"], finding["lowers"]) == (0, "warning", False)
    assert says in finding["what"]
    box.shell("umount /var/log")


def test_a_hook_that_is_configured_and_gone_lowers_what_is_to_be_expected(box: Box) -> None:
    box.mount("/mnt/a")
    assert box.run("install", "qga").returncode == 0
    assert check(box)[0] == 0

    box.shell(f"chmod -x {HOOK}")
    status, document = check(box)

    assert status == 3
    assert any("which is not there" in finding["what"] for finding in document["findings"])


def test_whoever_is_not_root_is_told_so(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()

    done = box.shell("setpriv --reuid 65534 --clear-groups /usr/local/bin/quiesce-guest check")

    assert done.returncode == 3, done.stderr
    assert "warning: this is not run as root" in done.stdout
    assert "next: sudo quiesce-guest check" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_fifo_in_place_of_a_script_does_not_hold_check_up(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    box.shell(f"rm {PRE}; mkfifo -m 700 {PRE}")

    assert "no regular file" in findings(box)[0][1]
