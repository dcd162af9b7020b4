"""The demo, once, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def made_by_demos() -> set[Path]:
    return set(Path("/var/tmp").glob("quiesce-demo-*"))


def test_the_demo_proves_an_application_consistent_backup_and_leaves_nothing(image) -> None:
    before = made_by_demos()
    done = subprocess.run(
        [sys.executable, "-m", "quiesce", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)

    assert story["schema"] == "quiesce.demo/1"
    assert [check for check in story["checks"] if not check["passed"]] == []
    assert len(story["checks"]) >= 7
    assert story["kept"] is None
    assert made_by_demos() <= before
