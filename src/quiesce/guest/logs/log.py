"""The log of sessions: a file and, where there is one, the systemd journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.guest.logs import log_file, log_journald

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quiesce.guest.logs.log_lines import Entry


def write(entries: Sequence[Entry]) -> list[str]:
    """Log *entries*, and return what was lost, for people; never raises OSError."""
    text = "".join(entry.text() for entry in entries)
    file = f"{log_file.DIRECTORY}/{log_file.NAME}"
    return [
        *_losses(file, lambda: log_file.append(text)),
        *_losses(phrase("the systemd journal"), lambda: log_journald.send(entries)),
    ]


def lost(where: str, exc: OSError) -> str:
    """Return the warning of a session that is not, or not wholly, *where* it should be."""
    template = "this session is not wholly in {where}: {reason}"
    return phrase(template, where=where, reason=exc.strerror)


def _losses(where: str, write_there: Callable[[], None]) -> list[str]:
    try:
        write_there()
    except OSError as exc:
        return [lost(where, exc)]
    return []
