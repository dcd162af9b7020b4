"""Who may write a file that root is about to run or obey."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.guest.settings import ScriptSpec


def check_script(spec: ScriptSpec) -> None:
    """Return where only root can have written the script.

    Raises QuiesceError Pre-/Post-ScriptNotFound or InsufficientPermissionforPre-/Post-Script.
    """
    raise NotImplementedError
