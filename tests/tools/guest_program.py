"""The guest's single file, built from this checkout, and ways to damage it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from guest_box import PROGRAM, SOURCE

if TYPE_CHECKING:
    from pathlib import Path

    from guest_box import Box

TOOL = SOURCE.parent.parent / "tools" / "build_pyz.py"
# In a script that is only copied when a configuration is installed: the program runs as before.
_HARMLESS = b"# The pre-script: runs as root right before the snapshot"


def build(directory: Path) -> Path:
    """Build from a copy of the checkout's parts, so that the checkout's own file stays."""
    (directory / "tools").mkdir(parents=True)
    (directory / "tools/build_pyz.py").write_bytes(TOOL.read_bytes())
    (directory / "src").mkdir()
    (directory / "src/quiesce").symlink_to(SOURCE)
    subprocess.run(
        [sys.executable, str(directory / "tools/build_pyz.py")], check=True, capture_output=True
    )
    return directory / "build/quiesce-guest.pyz"


def put(box: Box, content: bytes) -> None:
    """Put a single file in the place of the box's program."""
    (box.root / PROGRAM.lstrip("/")).write_bytes(content)


def with_a_flipped_bit(content: bytes) -> bytes:
    """The program with one bit changed where it does no harm but to its checksum."""
    position = content.index(_HARMLESS) + len(_HARMLESS) // 2
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)
