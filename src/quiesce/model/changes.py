"""What somebody says has changed on a disk since a recovery point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.model.extent import Extent


@dataclass(frozen=True)
class ChangeList:
    """Everything outside *extents* is as it was in the point *since*.

    *extents* are in order and do not overlap; they may pass the disk's end. *since* None: the
    newest point, which must then be older than the list, made at *made_at_s* (seconds since 1970).
    """

    extents: tuple[Extent, ...]
    since: str | None
    made_at_s: float
