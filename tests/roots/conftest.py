"""Machines with the root directory of another Debian, and so with its Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from debian_roots import PYTHONS, root_of
from guest_box import PROGRAM, Box
from quiesce.demo.image import guest_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", params=PYTHONS)
def suite(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def root(suite: str) -> Path:
    return root_of(suite)


@pytest.fixture
def source_box(root: Path, tmp_path: Path) -> Iterator[Box]:
    """A machine that runs the guest set from its sources."""
    machine = Box(tmp_path / "box", lower=root)
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def box(source_box: Box) -> Box:
    """A machine that runs the guest set as the one file that is shipped."""
    program = source_box.root / PROGRAM.lstrip("/")
    program.write_bytes(guest_program().read_bytes())
    return source_box
