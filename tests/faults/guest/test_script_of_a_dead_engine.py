"""Kill the engine while a script runs: the script must not go on and hold what was released."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

WORK = "echo \\$\\$ >>/run/pids; exec sleep 600"
WAYS = {
    "itself": "echo $$ >>/run/pids; echo $$ >>/run/pids; exec sleep 600",
    "a child": f'echo $$ >>/run/pids; sh -c "{WORK}"; true',
    "in its own session": f'echo $$ >>/run/pids; setsid -w sh -c "{WORK}"; true',
    "without our variables": f'echo $$ >>/run/pids; env -i PATH=$PATH sh -c "{WORK}"; true',
    "an orphan without our variables": (
        f'echo $$ >>/run/pids; (env -i PATH=$PATH sh -c "{WORK}" &); sleep 600'
    ),
    "an orphan in its own session without our variables": (
        f'echo $$ >>/run/pids; (env -i PATH=$PATH setsid sh -c "{WORK}" &); sleep 600'
    ),
}


def is_alive(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("phase", ["pre", "post"])
def test_a_script_of_a_killed_engine_is_ended_before_its_application_is_released(
    box: Box, way: str, phase: str
) -> None:
    alive_at_release = "for pid in $(cat /run/pids); do grep '^State:.[^Z]' /proc/$pid/status; done"
    body = f"[ -e /run/once ] || {{ touch /run/once; {WAYS[way]}; }}\n"
    bodies = {"post": f"[ -e /run/pids ] && {{ {alive_at_release}; }} >/run/alive 2>/dev/null\n"}
    bodies[phase] = bodies.get(phase, "") + body
    box.mount("/mnt/a")
    box.configure(**bodies)
    process = box.start("exec", "--", "true")
    pids = box.root / "run/pids"
    wait_until(lambda: pids.exists() and pids.read_text().count("\n") == 2)

    os.kill(box.guards()[0], signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: box.record() is None)

    assert box.scripts_ran()[-1].startswith("post")
    assert box.read("/run/alive") == ""
    assert [pid for pid in pids.read_text().split() if is_alive(pid)] == []
