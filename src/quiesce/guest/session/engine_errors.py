"""What is said of a session that does not go as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.catalogue import mark
from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from quiesce.guest.filesystems.mounts import Mount

INTERRUPTED_AFTER = mark("a signal came after the snapshot; everything was released first")

_EXPIRED = "FreezeWindowExpired"


def unwritable(exc: OSError) -> QuiesceError:
    """Return that what the guards need cannot be written down."""
    return QuiesceError("GuardUnavailable", "cannot use /run: {reason}", reason=exc.strerror)


def replaced(mount: Mount) -> QuiesceError:
    """Return that another file system is mounted where *mount* was."""
    message = "{path} is another file system now, but {device} is mounted"
    return QuiesceError("UnableToOpenMount", message, path=mount.path, device=mount.device)


def watchdog_dead() -> QuiesceError:
    """Return that nobody guarded the window."""
    return QuiesceError(_EXPIRED, "the watchdog process was dead")


def released_before() -> QuiesceError:
    """Return that there was no window."""
    return QuiesceError(_EXPIRED, "everything is released before the snapshot")


def over_too_early() -> QuiesceError:
    """Return that the window ended before the snapshot was complete."""
    return QuiesceError(_EXPIRED, "the window was over too early")


def thawed_before(paths: str) -> QuiesceError:
    """Return that somebody else thawed *paths*, which this session froze."""
    return QuiesceError(_EXPIRED, "{paths} had been thawed already", paths=paths)


def interrupted_before() -> QuiesceError:
    """Return that a signal came before the snapshot."""
    return QuiesceError("Interrupted", "interrupted before the snapshot")


def interrupted_inside() -> QuiesceError:
    """Return that a signal came inside the window."""
    return QuiesceError("Interrupted", "interrupted inside the window")
