"""Somebody stops the process that waits to become a script: the script runs all the same."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import state_of, wait_until

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults


def waiting_for(box: Box, phase: str) -> list[int]:
    """The processes that wait to become the script of *phase*."""
    groups = [each for cgroup in box.cgroups for each in cgroup.glob(f"quiesce-script-*-{phase}-*")]
    texts = [(group / "cgroup.procs").read_text() for group in groups]
    return [int(pid) for text in texts for pid in text.split() if pid != "0"]


@pytest.mark.parametrize("timeout_s", [5, 30])
def test_a_post_script_runs_though_the_process_that_waited_for_it_is_stopped(
    box: Box, timeout_s: float
) -> None:
    box.mount("/mnt/a")
    box.configure(pre="while [ ! -e /run/go-on ]; do sleep 0.02; done", timeoutInSeconds=timeout_s)
    session = box.start("exec", "--json", "--", "true")
    wait_until(lambda: box.scripts_ran() != [])

    [waiting] = set(waiting_for(box, "post"))
    os.kill(waiting, signal.SIGSTOP)
    wait_until(lambda: state_of(waiting) == "T")
    box.write("/run/go-on", "")
    told, _said = session.communicate(timeout=60)

    report = json.loads(told)
    assert (session.returncode, report["consistency"]) == (0, "application")
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    assert state_of(waiting) == "Z"
    box.assert_at_peace()
