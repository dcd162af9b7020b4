"""The tests of the guest set, run by each Debian's own Python in that Debian."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from debian_roots import PACKAGES, PYTHONS

if TYPE_CHECKING:
    from guest_box import Box

TESTS = Path(__file__).resolve().parent.parent
INI = """
[pytest]
addopts = --strict-markers --import-mode=importlib -p no:cacheprovider -m "not soak"
pythonpath = src tests
filterwarnings = error
timeout = 120
markers =
    integration: real tools
    soak: large counts
"""
# There can be no machine within a machine.
CONFTEST = """
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "box" not in item.fixturenames]
"""
UNIT = (
    *("unit/guest", "unit/model", "unit/system"),
    *("unit/test_catalogue.py", "unit/test_errors.py", "unit/test_values.py"),
)
REAL = ("test_script.py", "test_settings.py", "test_trust.py")


def run_tests(box: Box, *tests: str) -> str:
    """Run tests of this checkout with the Python of the machine; what pytest printed."""
    checkout = box.root / "root/checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TESTS, checkout / "tests", ignore=ignored)
    (checkout / "src").mkdir()
    (checkout / "src/quiesce").symlink_to("/opt/guest-set/quiesce")
    (checkout / "pytest.ini").write_text(INI)
    (checkout / "conftest.py").write_text(CONFTEST)
    named = " ".join(f"tests/{test}" for test in tests)
    done = box.shell(
        f"cd /root/checkout && PYTHONPATH={PACKAGES} python3 -m pytest -q {named}", timeout=240
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def test_it_is_the_python_that_is_meant(source_box: Box, suite: str) -> None:
    told = source_box.shell("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'")

    assert told.stdout.strip() == PYTHONS[suite]


def test_the_unit_tests_pass(source_box: Box) -> None:
    assert " passed" in run_tests(source_box, *UNIT)


@pytest.mark.parametrize("module", REAL)
def test_the_tests_with_real_files_and_processes_pass(source_box: Box, module: str) -> None:
    assert " passed" in run_tests(source_box, f"integration/guest/{module}")
