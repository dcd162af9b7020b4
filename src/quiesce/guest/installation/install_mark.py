"""Remember which single file we were installed as: what a host may renew, and a hook verifies."""

from __future__ import annotations

from pathlib import Path

from quiesce.guest.installation.install_files import Change, put, remove

_MARK = "etc/quiesce/installed"


def install_mark(program: str, *, root: Path = Path("/")) -> list[Change]:
    """Put down that *program* is our single file; raises QuiesceError InstallRefused."""
    return [put(root, _MARK, f"{program}\n", mode=0o644)]


def uninstall_mark(*, root: Path = Path("/")) -> list[Change]:
    """Take back what `install_mark` did; raises as that."""
    return [remove(root, _MARK)]
