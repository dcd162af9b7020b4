"""A session without a snapshot, to see how long an application stands still (`snapshot.Snapshot`).

In the record it counts as one whose snapshot was taken, so that the decision table says what a
backup would have come to; scripts and report are told the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.guest.session.snapshot import Taken
from quiesce.guest.window.window import Ending
from quiesce.model.report import SnapshotFate

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.guest.record.decision import Way
    from quiesce.guest.record.record import Record
    from quiesce.guest.session.snapshot import Ended
    from quiesce.guest.window.window import Window


class RehearsedSnapshot:
    """Takes no time and leaves nothing."""

    line = None
    process_group = None

    def is_wanted(self, record: Record, way: Way) -> bool:
        """Say yes: the window is opened unless the table forbids it."""
        del record, way
        return True

    def take(self, record: Record, way: Way, window: Window) -> Taken:
        """Return at once."""
        del record, way
        if window.signals.interrupted:
            return Taken(SnapshotFate(taken=False), Ending.INTERRUPTED)
        ending = Ending.EXPIRED if window.has_expired() else Ending.READY
        return Taken(SnapshotFate(taken=True), ending)

    def drop(self) -> None:
        """Nothing is prepared that would have to be given up."""

    def tell(self, ended: Ended, sweep: Callable[[], bool]) -> None:
        """Whoever called us hears of the end by itself."""
