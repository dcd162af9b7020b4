"""The snapshot is a command of the user's, run inside the window (`snapshot.Snapshot`)."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.filesystems.blocked import blocked_in
from quiesce.guest.record.decision import Way
from quiesce.guest.session import command, home
from quiesce.guest.session.snapshot import Taken
from quiesce.guest.window.window import Ending
from quiesce.model.report import SnapshotFate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quiesce.guest.record.record import Record
    from quiesce.guest.session.snapshot import Ended
    from quiesce.guest.window.window import Window

_BLOCKED = (
    "it waits for a frozen file system: where the command freezes by itself (LVM, Btrfs, reflinks)"
    " use --command-freezes"
)
_REFUSED = (
    "see what it printed: where the command freezes by itself (LVM, Btrfs, reflinks) use"
    " --command-freezes"
)


class CommandSnapshot:
    """Forks the command's process at once, so that the window only has to let it go.

    Raises QuiesceError SnapshotFailed where there is no such command, or no process for it.
    """

    line = None

    def __init__(self, argv: Sequence[str], *, session: str, stdout: int) -> None:
        self._name = argv[0]
        program = command.find(argv[0])
        self._home: str | None = None
        own = {}
        with contextlib.suppress(OSError):  # nothing can be at rest then, and any directory will do
            self._home = home.make(session)
            own = {"HOME": self._home, "TMPDIR": self._home}
        try:
            self._command = command.prepare(program, argv, env={**os.environ, **own}, stdout=stdout)
        except QuiesceError:
            self._leave_home()
            raise

    @property
    def process_group(self) -> int | None:
        """The command's processes."""
        return self._command.pid

    def is_wanted(self, record: Record, way: Way) -> bool:
        """Say yes: the command runs unless the table forbids it."""
        del record, way
        return True

    def take(self, record: Record, way: Way, window: Window) -> Taken:
        """Run the command to its end, or to the window's."""
        ours = way is Way.FROZEN and record.frozen_by == "engine"
        if window.signals.interrupted:
            self._command.drop()
            return Taken(SnapshotFate(taken=False), Ending.INTERRUPTED)
        self._command.go()
        while (status := self._command.ended()) is None:
            ending = window.wait()
            if ending is not Ending.READY:
                return self._stopped(ending, window)
        ending = Ending.EXPIRED if window.has_expired() else Ending.READY
        if self._command.take_terminal_back() and status == -signal.SIGINT:
            ending = Ending.INTERRUPTED  # the key for it went there, and not to us
        if status == 0:
            return Taken(SnapshotFate(taken=True, exit_status=0), ending)
        error = QuiesceError(
            "SnapshotFailed",
            "{command} ended with status {status}",
            command=self._name,
            status=status,
            action=_REFUSED if ours else None,
        )
        return Taken(SnapshotFate(taken=False, exit_status=status), ending, error)

    def _stopped(self, ending: Ending, window: Window) -> Taken:
        is_blocked = window.blocked or blocked_in(self._command.pid)
        self._command.kill()
        self._command.take_terminal_back()
        error = QuiesceError(
            "SnapshotFailed",
            "{command} was killed: it had not ended",
            command=self._name,
            action=_BLOCKED if is_blocked else None,
        )
        return Taken(SnapshotFate(taken=False), ending, error)

    def drop(self) -> None:
        """Let the command's process end unstarted."""
        self._command.drop()
        self._leave_home()

    def tell(self, ended: Ended, sweep: Callable[[], bool]) -> None:
        """Take the command's own directory away; whoever called us hears of the end by itself."""
        del ended, sweep
        self._leave_home()

    def _leave_home(self) -> None:
        if self._home is not None:
            home.remove(self._home)
