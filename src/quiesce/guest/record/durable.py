"""What is to be released if the machine goes down: on the disk, before anything is held.

Everything else about a session lies on /run, which is gone with the machine; the applications that
were held may not be (a stopped service that was disabled, a lock file, a replica told to pause).
Written once, never while something is frozen, and taken away when everything is released. Both are
done aside: the disk may be one that somebody else has frozen, and a session does not wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from typing import TYPE_CHECKING

from quiesce.catalogue import mark, phrase
from quiesce.guest.configuration import trust
from quiesce.guest.processes import aside
from quiesce.guest.record import record
from quiesce.guest.record.record import Held
from quiesce.system.files import replace_durably
from quiesce.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.configuration.settings import Plugin
    from quiesce.guest.record.record import Record

FILE = "/var/lib/quiesce/session.json"

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOST_BYTES = 1024 * 1024
_ROOM_BYTES = 64 * 1024
_WRITE_S = 5.0
_CLEAR_S = 2.0
_NOT_ROOTS = mark("{place} is not root's alone")
_WARNING = mark(
    "{file}: {reason}; if the machine goes down while an application is held,"
    " nothing releases it at the next boot"
)


def provide(current: Record, plugins: Sequence[Plugin]) -> None:
    """Put down that all *plugins* are about to be held, in this order.

    A warning where that fails, or takes more than 5 s; what comes later is taken away again.
    """
    held = [Held(plugin.source, plugin.post, "failed") for plugin in plugins]
    document = {"record": replace(current, held=held).to_json()}
    data = json.dumps({**document, "boot_id": _boot_id()}).encode()
    try:
        losses = aside.ask(lambda: _losses(data), limit_s=_WRITE_S, take_back=_remove)
    except OSError as exc:
        losses = [str(exc.strerror)]
    current.warnings += [_warning(reason) for reason in losses]


def read() -> Record | None:
    """Return the record of a session that has died, from this boot or an earlier one.

    None where there is none, where its session lives, and where it is not to be trusted.
    """
    looked = trust.look(FILE, modes=trust.CONFIG_MODES, most_bytes=_MOST_BYTES)
    if looked.data is None or looked.objections:
        return None
    try:
        document = json.loads(looked.data)
        found = record.from_json(document["record"])
        is_of_this_boot = document["boot_id"] == _boot_id()
    except (ValueError, LookupError, TypeError, RecursionError):  # of another version of ours
        return None
    lives = is_of_this_boot and any(guard.is_alive() for guard in found.guards)
    return None if lives else found


def clear() -> None:
    """Say that everything is released; where that takes more than 2 s it is said later."""
    if os.path.lexists(FILE):
        with contextlib.suppress(OSError):  # at worst it is released once more
            aside.ask(_remove, limit_s=_CLEAR_S)


def obstacle() -> str | None:
    """Return the warning that a session would give now; writes nothing."""
    place = os.path.dirname(FILE)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.access(place, os.W_OK | os.X_OK):
        return _warning(phrase("{place} cannot be written", place=place))
    if not _is_roots_alone(place):
        return _warning(phrase(_NOT_ROOTS, place=place))
    space = os.statvfs(place)
    if space.f_bavail * space.f_frsize < _ROOM_BYTES:
        return _warning(phrase("{place} is full", place=place))
    return None


def _remove() -> list[str]:
    with contextlib.suppress(OSError):  # at worst it is released once more
        os.unlink(FILE)
    return []


def _losses(data: bytes) -> list[str]:
    try:
        _write(data)
    except OSError as exc:
        return [str(exc.strerror)]
    return []


def _write(data: bytes) -> None:
    directory = os.path.dirname(FILE)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    if not _is_roots_alone(directory):
        raise PermissionError(errno.EPERM, phrase(_NOT_ROOTS, place=directory))
    replace_durably(FILE, data)


def _warning(reason: str) -> str:
    return phrase(_WARNING, file=FILE, reason=reason)


def _is_roots_alone(place: str) -> bool:
    """Return whether what lies in *place* will be believed at the next boot."""
    status = os.stat(place)
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _boot_id() -> str:
    with open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()
