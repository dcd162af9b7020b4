"""A file system that is soon full."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def tmpfs(directory: Path, size_mib: int) -> Iterator[Path]:
    """Mount a tmpfs of *size_mib* on the new *directory*."""
    directory.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", directory], check=True
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
