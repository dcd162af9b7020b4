"""An ordinary user races the check before a script, and never gets to be root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parents[2] / "tools" / "race_for_root.py"
KINDS = [
    *("Files", "HardLinks", "Shared", "Directories", "Links", "LinksOfRoot"),
    *("Sticky", "Contents", "Configs"),
]
TIMES = 300


def race(box: Box, kind: str, times: int, way: str, timeout: float = 60) -> dict[str, Any]:
    box.write("/opt/race.py", PROGRAM.read_text())
    done = box.shell(f"nice -n 5 python3 /opt/race.py {kind} {times} {way}", timeout=timeout)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def assert_he_never_wins(box: Box, kind: str, times: int, timeout: float = 60) -> None:
    told = race(box, kind, times, "ours", timeout)

    assert not told["won"], told
    assert told["ran"] == 0, told
    # It was a race: what was there changed hands, also while root was at it.
    assert min(told.get(each, 0) for each in ("his", "roots", "changed")) >= times / 20, told


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_who_swaps_what_he_can_never_gets_his_script_run(box: Box, kind: str) -> None:
    assert_he_never_wins(box, kind, TIMES)


@pytest.mark.parametrize("kind", KINDS)
def test_he_would_win_against_a_look_at_the_script_alone(box: Box, kind: str) -> None:
    assert race(box, kind, 5000, "naive")["won"]


def test_what_is_root_s_alone_runs_every_time_whatever_he_tries(box: Box) -> None:
    told = race(box, "Nothing", 100, "ours")

    assert (told["ran"], told["won"], told["roots"]) == (100, False, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_not_in_ten_thousand_times_either(box: Box, kind: str) -> None:
    assert_he_never_wins(box, kind, 10_000, timeout=3000)
