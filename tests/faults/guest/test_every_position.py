"""Kill a process of a session anywhere on its way: all is thawed, released and reported.

The engine is killed at its system calls, by strace, which has listed them before; the watchdog, and
both at one instant, at moments spread over a session's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from guest_box import Box

pytestmark = pytest.mark.faults

EXEC = ("exec", "--json", "--disks", "2", "--", "sleep", "0.02")
WITH_A_WINDOW_TO_HIT = (*EXEC[:-1], "0.2")
DEATHS = {"Interrupted", "FreezeWindowExpired", "SnapshotFailed"}
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")


@pytest.fixture
def machine(box: Box) -> Box:
    box.mount("/mnt/a")
    box.mount("/mnt/b", "xfs")
    box.configure(pre="sleep 0.02", post="sleep 0.02")
    return box


def traced(machine: Box, *options: str) -> list[str]:
    return ["strace", "-qq", "-o", *options, *machine.argv(*EXEC)]


def calls(machine: Box, listing: Path) -> list[tuple[str, int, str]]:
    """Return the system calls of an engine as name, how many-eth of that name, and the line."""
    machine.run(*EXEC)  # which compiles: the next run has the calls that later ones have
    subprocess.run(
        traced(machine, str(listing)), check=True, capture_output=True, env=machine.environment()
    )
    (machine.root / "run/scripts.log").unlink()
    counts: Counter[str] = Counter()
    found = []
    for line in listing.read_text(errors="replace").splitlines():
        call = _CALL.match(line)
        if call is not None:
            counts[call["name"]] += 1
            found.append((call["name"], counts[call["name"]], line))
    return found


def positions(found: Sequence[tuple[str, int, str]]) -> list[tuple[str, int]]:
    """Return the calls of a session from when there is anything to be released or thawed."""
    first = next(at for at, call in enumerate(found) if "session.json.new" in call[2])
    return [call[:2] for call in found[first:] if call[0] != "exit_group"]


def spread(many: Sequence[Any], number: int) -> list[Any]:
    return [many[index * len(many) // number] for index in range(number)]


def assert_ended_well(machine: Box) -> None:
    """Fail unless all that was at rest is released, by the next command at the latest."""
    wait_until(lambda: machine.processes() == [])
    machine.run("thaw")
    machine.assert_at_peace()
    ran = machine.scripts_ran()
    (machine.root / "run/scripts.log").unlink(missing_ok=True)
    # Where it was killed right before the pre-script, nobody knows that this had not begun.
    post = ran[1:] if ran[:1] == ["pre  "] else ran
    assert bool(ran) == bool(post), "what was held was not released"
    assert all(one.startswith("post ") for one in post)
    if not ran:
        return
    report = machine.report()
    names = {error["name"] for error in report["errors"]}
    assert names <= DEATHS
    assert names or report["consistency"] == "application", report
    assert (report["consistency"] == "application") is (report["outcome"] == "complete")


def kill_at(machine: Box, name: str, count: int) -> None:
    inject = f"inject={name}:signal=KILL:when={count}"
    done = subprocess.run(
        traced(machine, "/dev/null", "-e", f"trace={name}", "-e", inject),
        capture_output=True,
        env=machine.environment(),
        check=False,
    )
    assert done.returncode in {-signal.SIGKILL, 0}, done.stderr


# Where it is killed: at the first or the last system call like this; what ran; what is reported.
NOT_BEGUN, NOT_HELD = ["post failed not-taken"], ["pre  ", "post failed not-taken"]
IN_WINDOW, DONE = ["pre  ", "post ok unknown"], ["pre  ", "post ok taken"]
IN_PRE = "in the pre-script"
POSITIONS = {
    "before anything is written": (0, r"openat.*/session\.json\.new", [], None),
    "right before the pre-script": (0, r"waitid\(", NOT_BEGUN, "Interrupted"),
    IN_PRE: (0, r"pidfd_open\(", NOT_HELD, "Interrupted"),
    "right after the pre-script": (0, r'sendto.*"open"', NOT_HELD, "Interrupted"),
    "held": (-1, r"openat.*rcu_expedited", IN_WINDOW, "FreezeWindowExpired"),
    "freezing": (0, r"sendto.*frozen", IN_WINDOW, "FreezeWindowExpired"),
    "frozen": (0, r'write\(\d+, "g"', IN_WINDOW, "FreezeWindowExpired"),
    "while the command runs": (0, r"wait4\(\d+, 0x", IN_WINDOW, "FreezeWindowExpired"),
    "thawing": (-1, r"ioctl.*FITHAW", IN_WINDOW, "FreezeWindowExpired"),
    "in the post-script": (-1, r"pidfd_open\(", [*DONE, DONE[1]], None),
    "released": (-1, r"rename.*/session\.json\.new", [*DONE, DONE[1]], None),
    "reporting": (-1, r"clone\(", DONE, None),
    "when all is over": (-1, r"unlink.*/run/quiesce/session\.json", DONE, None),
}


def test_an_engine_killed_at_a_position_is_replaced_and_leaves_nothing_at_rest(
    machine: Box, tmp_path: Path
) -> None:
    found = calls(machine, tmp_path / "listing")
    for position, (which, pattern, ran, error) in POSITIONS.items():
        name, count, _line = [call for call in found if re.match(pattern, call[2])][which]
        kill_at(machine, name, count)
        wait_until(lambda: machine.processes() == [])
        machine.run("thaw")
        told = machine.scripts_ran()
        # A pre-script that has only just begun may end before it logs that it runs.
        assert told == ran or (position == IN_PRE and told == NOT_BEGUN), position
        if ran:
            names = [one["name"] for one in machine.report()["errors"]]
            assert names == ([] if error is None else [error]), position
        assert_ended_well(machine)


def kill_at_positions(machine: Box, tmp_path: Path, number: int) -> int:
    """Kill the engine at *number* of its system calls; how often it had run a script by then."""
    had_run = 0
    found = positions(calls(machine, tmp_path / "listing"))
    for name, count in spread(found, number):
        assert_ended_well(machine)
        kill_at(machine, name, count)
        had_run += bool(machine.scripts_ran())
        assert_ended_well(machine)
    return had_run


def test_an_engine_killed_anywhere_leaves_nothing_at_rest(machine: Box, tmp_path: Path) -> None:
    assert kill_at_positions(machine, tmp_path, 8) > 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_an_engine_killed_at_hundreds_of_places_leaves_nothing_at_rest(
    machine: Box, tmp_path: Path
) -> None:
    assert kill_at_positions(machine, tmp_path, 400) > 100


def session_with_a_death(machine: Box, whom: slice, after_s: float) -> bool:
    """Run a session and kill guards of it; whether that ended it, or its window, early."""
    process = machine.start(*WITH_A_WINDOW_TO_HIT)
    wait_until(lambda: len(machine.guards()) == 2 or process.poll() is not None)
    victims = machine.guards()[whom]
    time.sleep(after_s)
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
    said, _ = process.communicate(timeout=60)
    if process.returncode < 0:
        return True
    report = json.loads(said)
    names = {error["name"] for error in report["errors"]}
    expected = (3, "crash") if names else (0, "application")
    if "SnapshotFailed" in names:  # the command was running, and was ended with the window
        expected = (5, "none")
    assert (process.returncode, report["consistency"]) == expected
    return bool(names)


def kill_at_moments(machine: Box, whom: slice, number: int) -> int:
    """Kill guards of a session at *number* moments; how many sessions that ended early."""
    randomly = random.Random(number)  # noqa: S311 - moments, not secrets
    hit = 0
    for _ in range(number):
        hit += session_with_a_death(machine, whom, randomly.uniform(0.0, 0.3))
        assert_ended_well(machine)
    return hit


@pytest.mark.parametrize("whom", [slice(1, 2), slice(0, 2)], ids=["watchdog", "both"])
def test_guards_killed_at_any_moment_leave_nothing_at_rest(machine: Box, whom: slice) -> None:
    assert kill_at_moments(machine, whom, 5) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("whom", [slice(1, 2), slice(0, 2)], ids=["watchdog", "both"])
def test_guards_killed_at_hundreds_of_moments_leave_nothing_at_rest(
    machine: Box, whom: slice
) -> None:
    assert kill_at_moments(machine, whom, 300) > 30
