"""What an installation puts into the machine, as it is shipped."""

from __future__ import annotations

import os

from quiesce.errors import QuiesceError


def text_of(name: str) -> str:
    """Return the text of the shipped file *name*; raises QuiesceError InstallRefused."""
    path = os.path.join(os.path.dirname(__file__), name)
    try:
        # Also where we lie in an archive; pkgutil would take longer to load than this takes.
        data: bytes = globals()["__loader__"].get_data(path)
    except OSError as exc:
        message = "{name} is missing in this installation"
        raise QuiesceError("InstallRefused", message, name=name) from exc
    return data.decode()
