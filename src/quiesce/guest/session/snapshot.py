"""What is done inside the window: a command of ours, or a caller that takes the snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.errors import QuiesceError
    from quiesce.guest.record.decision import Decision, Way
    from quiesce.guest.record.record import Record
    from quiesce.guest.window.line import Line
    from quiesce.guest.window.window import Ending, Window
    from quiesce.model.report import Report, SnapshotFate


@dataclass(frozen=True)
class Taken:
    """What came of the snapshot, and why the waiting for it ended."""

    fate: SnapshotFate
    ending: Ending
    error: QuiesceError | None = None


class Snapshot(Protocol):
    """What is done inside the window: a command of ours, or a caller that takes the snapshot."""

    @property
    def line(self) -> Line | None:
        """The line on which somebody else ends the window, for the watchdog to hold too."""

    @property
    def process_group(self) -> int | None:
        """The processes to kill at the deadline."""

    def is_wanted(self, record: Record, way: Way) -> bool:
        """Return whether the window is to be opened; without it everything is released at once."""

    def take(self, record: Record, way: Way, window: Window) -> Taken:
        """Let the snapshot be taken, and return when it is or the window is over."""

    def drop(self) -> None:
        """Give up what was prepared: there is no snapshot."""

    def tell(self, ended: Ended, sweep: Callable[[], bool]) -> None:
        """Tell whoever waits how it ended; under a door whose thaw is overdue, wait for it.

        *sweep* thaws what the door may have frozen since; whether there was something.
        """


@dataclass(frozen=True)
class Ended:
    """How a session ended; the application is released and the report is written."""

    record: Record
    report: Report
    decision: Decision
