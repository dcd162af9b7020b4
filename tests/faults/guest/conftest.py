from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guest_box import Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    machine = Box(tmp_path / "box")
    try:
        yield machine
    finally:
        machine.close()
