"""Reports that somebody else has put there: they are none, and nobody is misled or held up."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

REPORTS = "/var/log/quiesce/reports"
AS_NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups"


def put_by_nobody(box: Box, command: str) -> None:
    """Let a user who may write /var/log, as a group may, put another log directory there."""
    box.write("/tmp/put", f"mv /var/log/quiesce /var/log/old; mkdir -p {REPORTS}; {command}", 0o644)
    done = box.shell(f"chmod 757 /var/log; {AS_NOBODY} sh /tmp/put")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("forged", ["report", "list", "fifo"])
def test_a_forged_report_keeps_nothing_from_being_released(box: Box, forged: str) -> None:
    box.configure()
    assert box.run("exec", "--no-freeze", "--", "true").returncode == 0
    like_a_real_one = box.report()
    box.run("hold", "--no-freeze")
    record = box.record()
    assert record is not None
    path = f"{REPORTS}/{record['session']}.json"
    started = {"session": record["session"], "started_at": record["started_at"]}
    document = json.dumps({**like_a_real_one, **started})
    commands = {
        "report": f"echo '{document}' >{path}",
        "list": f"echo '[]' >{path}",
        "fifo": f"mkfifo {path}",
    }
    put_by_nobody(box, commands[forged])

    os.kill(box.guards()[0], signal.SIGKILL)
    wait_until(lambda: box.record() is None and not box.processes())

    assert box.scripts_ran()[-2:] == ["pre  ", "post ok unknown"]
    told = box.run("report", "--session", record["session"], "--json", timeout=20)
    assert [error["name"] for error in json.loads(told.stdout)["errors"]] == ["FreezeWindowExpired"]


@pytest.mark.parametrize(
    "damage", ["echo '[]' >{}", "echo '{{}}' >{}", "rm {0}; mkfifo {0}", "chmod 666 {}", ": >{}"]
)
def test_what_is_no_report_is_not_shown_as_one(box: Box, damage: str) -> None:
    for _ in range(2):
        assert box.run("exec", "--no-freeze", "--", "true").returncode == 0
    first, last = box.shell(f"ls -tr {REPORTS}").stdout.split()
    box.shell(damage.format(f"{REPORTS}/{last}"))

    told = box.run("report", "--session", last.partition(".")[0], timeout=20)

    assert (told.returncode, "Traceback" in told.stderr) == (10, False)
    assert f"{box.report()['session']}.json" == first
