"""The guest agent's hook in this machine, and whether it is what the installation wrote."""

from __future__ import annotations

import os

from quiesce.guest.shipped import text_of

HOOK = "/etc/quiesce/qga-hook"

# What an installation fills in, each in a line of its own.
_FILLED_IN = ("program=", "scripts=", "run=")


def is_damaged(*, root: str = "/") -> bool:
    """Return whether there is a hook below *root* that is not the one that we ship.

    What the installation fills in may be anything. Never raises for what it finds.
    """
    try:
        with open(os.path.join(root, HOOK.lstrip("/")), encoding="utf-8", errors="replace") as file:
            installed = file.read()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return _fixed(installed) != _fixed(text_of("qga-hook.sh"))


def _fixed(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    return [line.partition("=")[0] if line.startswith(_FILLED_IN) else line for line in lines]
