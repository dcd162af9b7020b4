"""A machine that is only disks: nobody is asked to come to rest, so what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiesce.model.report import Report


@dataclass(frozen=True)
class Alone:
    """*report* is that of the session in which the disks were taken, handed over with them.

    Without one *unclean* says of every file system why it is not known to be cleanly unmounted;
    it is empty where all are.
    """

    report: Report | None
    unclean: tuple[str, ...] = ()
