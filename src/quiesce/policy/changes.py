"""Whether a change list may be used: a wrong one would leave changes out of the backup."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.model.changes import ChangeList


def reason_against(changes: ChangeList, *, base: str, created_at: str) -> str | None:
    """Return why *changes* do not count from the point *base*, None where they do.

    *created_at* is the point's, ISO 8601. A list that names no point is believed where it was made
    after the newest one: an old one that is handed over again is found out.
    """
    if changes.since is not None:
        if changes.since.upper() == base:
            return None
        return f"the change list counts from {changes.since}, the newest point is {base}"
    try:
        taken_at_s = datetime.fromisoformat(created_at).timestamp()
    except ValueError:
        return f"it is not known when the newest point {base} was taken"
    if changes.made_at_s < taken_at_s:
        return f"the change list is older than the newest point {base}"
    return None
