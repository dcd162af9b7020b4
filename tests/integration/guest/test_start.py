"""What starting the program takes: an agent waits for it, and with it the whole backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guest_box import PROGRAM, PYTHON

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration

# Each of them takes longer than many modules of ours together.
HEAVY = frozenset(
    {
        "asyncio",
        "dataclasses",
        "email",
        "http",
        "importlib.metadata",
        "importlib.resources",
        "inspect",
        "ipaddress",
        "logging",
        "pathlib",
        "random",
        "tempfile",
        "traceback",
        "unittest",
        "urllib.parse",
        "zipfile",
    }
)
OF_A_PARSER = frozenset({"argparse", "gettext"})


def imported(box: Box, *words: str) -> set[str]:
    """The modules that `quiesce-guest` with *words* imports; it must end well."""
    told = box.shell(f"{PYTHON} -X importtime {PROGRAM} {' '.join(words)}")
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_agents_hook_loads_nothing_heavy_and_no_parser(box: Box) -> None:
    box.mount("/mnt/a")

    found = imported(box, "hook", "qga", "freeze")

    assert "quiesce.guest.session.session" in found
    assert found & (HEAVY | OF_A_PARSER) == set()


def test_a_session_around_a_command_loads_nothing_heavy(box: Box) -> None:
    found = imported(box, "exec", "--no-freeze", "--", "true")

    assert "quiesce.guest.session.engine" in found
    assert found & HEAVY == set()
