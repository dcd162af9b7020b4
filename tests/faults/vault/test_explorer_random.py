"""Random schedules of many actors with faults, each from a seed that repeats it."""

from __future__ import annotations

import pytest

import explorer
from explorer import explore_seed, interrupted, mostly_dead, prepared
from quiesce.vault import collecting, repacking

pytestmark = pytest.mark.faults

BLOCK = 1000


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer.without_threads(monkeypatch)


def explore_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explore a thousand seeds; in odd blocks without what only saves work."""
    if block % 2:
        monkeypatch.setattr(collecting, "_may_purge", lambda state, sid: not state.is_held(sid))
        monkeypatch.setattr(repacking, "_packs_of_bases", lambda state: set())
    starts = [prepared(), interrupted(), mostly_dead()]
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        explore_seed(starts, seed)


@pytest.mark.parametrize("block", range(13))
def test_random_schedules_are_safe(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    explore_block(block, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(13, 1013))
def test_a_million_random_schedules_are_safe(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    explore_block(block, monkeypatch)
