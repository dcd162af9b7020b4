"""The supervisor: what must be undone when the backup dies.

Before anything is at rest the backup starts a second process and tells it, over a socket, which
descriptors it may need. The end of that socket is the end of the backup, however it came. What to
undo is read from the note, which the backup writes before it does what the note undoes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.jobs.notes import NoteFile, note_directory, note_files
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.model.undo import UndoNote
    from quiesce.ports import Undo

# Exists where systemd runs, sd_booted(3).
_SYSTEMD = Path("/run/systemd/system")
_START_S = 20.0
_LOOK_AGAIN_S = 0.1
_UNDO_S = 60.0
# A guest whose scripts still run answers no thaw; its own deadline may be an hour after them.
_AT_REST_S = 7200.0
_AGAIN_S = 1.0
_NOT_SETTLED = ("UndoIncomplete", "Interrupted")
_MESSAGE_BYTES = 64


@dataclass(frozen=True)
class Recovered:
    """What a dead backup left, and whether it could be undone: *error* is None where it was."""

    session: str
    machine: str
    error: QuiesceError | None


def supervisor_command(state_dir: Path, session: str) -> list[str]:
    """Return the command line that ends in `supervise` for *session*."""
    arguments = ["--state-dir", str(state_dir.absolute()), "--session", session]
    return [sys.executable, "-m", "quiesce", "supervise", *arguments]


# --- the backup's side -------------------------------------------------------------------------


class Supervisor:
    """A live supervisor as its backup sees it; implements `ports.Guard`."""

    def __init__(self, file: NoteFile, note: UndoNote, line: _Line) -> None:
        self._file = file
        self._note = note
        self._line = line

    @property
    def at_rest(self) -> bool:
        """Whether the guest has been asked to come to rest and not yet answered a thaw."""
        return self._note.at_rest

    def note(self, **facts: object) -> None:
        """Change the note; durable when this returns.

        Raises QuiesceError SupervisorUnavailable where it cannot be written, and where the guest
        is to be at rest and the supervisor is dead; the note is as before then.
        """
        if facts.get("at_rest") and not self._line.is_alive():
            raise QuiesceError("SupervisorUnavailable", "the supervisor has died")
        changed = self._note.with_facts(**facts)
        try:
            self._file.write(changed)
        except OSError as exc:
            message = f"cannot write {self._file.path}: {exc.strerror}"
            raise QuiesceError("SupervisorUnavailable", message) from exc
        self._note = changed

    def hand_over(self, descriptor: int) -> None:
        """Give the supervisor a duplicate; raises QuiesceError SupervisorUnavailable."""
        self._line.send(b"descriptor", descriptor)

    def dismiss(self) -> None:
        """Nothing is left to undo: remove the note and let the supervisor go."""
        self._file.remove()
        with contextlib.suppress(QuiesceError):
            self._line.send(b"done")
        self._line.wait_for_end()

    def let_undo(self, undo: Undo) -> None:
        """Return when what is noted is undone, by the supervisor or, where that is dead, by us.

        Raises QuiesceError UndoIncomplete; the note stays then, for the next command.
        """
        self._line.hang_up()
        self._line.wait_for_end()
        if self._file.read() is not None:
            undo(self._note, None)
            self._file.remove()


@contextlib.contextmanager
def supervised(
    note: UndoNote, *, state_dir: Path, undo: Undo, command: Sequence[str]
) -> Iterator[Supervisor]:
    """Run the body under a supervisor, started with *command*, that undoes *note* if we die.

    On leaving normally, or with an error that says that all is undone, the note is gone and the
    supervisor has ended. On leaving in any other way (interrupted, UndoIncomplete, the guest still
    at rest) what is noted has been undone, and UndoIncomplete is no error any more. Raises
    QuiesceError AlreadyRunning where a backup of the machine is under way, SupervisorUnavailable
    before the body, UndoIncomplete where something is left.
    """
    refuse_second_run(state_dir, note.machine)
    with _started(note, state_dir, command) as supervisor:
        settled = False
        try:
            yield supervisor
            settled = True
        except QuiesceError as exc:
            settled = exc.name not in _NOT_SETTLED
            if exc.name != "UndoIncomplete":
                raise
        finally:
            if settled and not supervisor.at_rest:
                supervisor.dismiss()
            else:
                supervisor.let_undo(undo)


def refuse_second_run(state_dir: Path, machine: str) -> None:
    """Raise QuiesceError AlreadyRunning where a backup of *machine* is under way."""
    for file in note_files(state_dir):
        lock = file.try_lock()
        if lock is not None:
            os.close(lock)
            continue
        with contextlib.suppress(ValueError):
            other = file.read()
            if other is not None and other.machine == machine:
                raise QuiesceError("AlreadyRunning", f"a backup of {machine} is under way")


@contextlib.contextmanager
def _started(note: UndoNote, state_dir: Path, command: Sequence[str]) -> Iterator[Supervisor]:
    with contextlib.ExitStack() as stack:
        try:
            file = NoteFile(note_directory(state_dir), note.session)
            lock = file.lock()
            stack.callback(os.close, lock)
            file.write(note)
        except OSError as exc:
            raise QuiesceError("SupervisorUnavailable", f"{state_dir}: {exc.strerror}") from exc
        try:
            line = _called(file, command)
            stack.callback(line.close)
            line.send(b"lock", lock)
            line.expect_ready()
        except BaseException:
            file.remove()
            raise
        yield Supervisor(file, note, line)


class _Line:
    """The socket to the supervisor, and its process where we started it ourselves."""

    def __init__(self, control: socket.socket, started: process.Started | None) -> None:
        self._control = control
        self._started = started

    def send(self, message: bytes, *descriptors: int) -> None:
        self._control.settimeout(_START_S)
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError as exc:
            raise QuiesceError("SupervisorUnavailable", "the supervisor has died") from exc

    def expect_ready(self) -> None:
        self._control.settimeout(_START_S)
        with contextlib.suppress(OSError):
            if self._control.recv(_MESSAGE_BYTES) == b"ready":
                return
        raise QuiesceError("SupervisorUnavailable", "the supervisor ended at its start")

    def is_alive(self) -> bool:
        self._control.settimeout(0)
        try:
            return self._control.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def wait_for_end(self) -> None:
        """Return when the supervisor has ended; it is killed where it stands still."""
        self._control.settimeout(_UNDO_S + _AGAIN_S)
        with contextlib.suppress(OSError):
            while self._control.recv(_MESSAGE_BYTES):
                pass
        if self._started is not None:
            process.kill_group(self._started)

    def close(self) -> None:
        """Close our end; a supervisor that is still at work goes on."""
        self._control.close()


def _called(file: NoteFile, command: Sequence[str]) -> _Line:
    """Start the supervisor and return the line to it; raises QuiesceError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            with _short_path(file.socket_path) as address:
                listener.bind(address)
            listener.listen(1)
            listener.settimeout(_LOOK_AGAIN_S)
        except OSError as exc:
            raise QuiesceError("SupervisorUnavailable", f"{file.socket_path}: {exc}") from exc
        started = None
        try:
            started = _launch(file.session, command)
            control = _accepted(listener, started)
        except BaseException:
            if started is not None:
                process.kill_group(started)
            raise
        finally:
            file.socket_path.unlink()
    return _Line(control, started)


def _accepted(listener: socket.socket, started: process.Started | None) -> socket.socket:
    deadline = Deadline.after(_START_S)
    while not deadline.passed():
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
        if started is not None and started.poll() is not None:
            break
    raise QuiesceError("SupervisorUnavailable", "the supervisor did not start")


def _launch(session: str, command: Sequence[str]) -> process.Started | None:
    if _SYSTEMD.is_dir():
        with contextlib.suppress(QuiesceError):
            process.run(_unit(session, command), deadline=Deadline.after(_START_S))
            return None
    return process.start(command)


def _unit(session: str, command: Sequence[str]) -> list[str]:
    """Return the command line that runs *command* as a transient unit of its own."""
    manager = [] if os.geteuid() == 0 else ["--user"]
    return [
        "systemd-run",
        *manager,
        "--quiet",
        "--collect",
        f"--unit=quiesce-undo-{session}",
        "--property=Restart=on-failure",
        "--property=RestartSec=100ms",
        "--",
        *command,
    ]


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """Yield an address of *path* that fits into a socket address however long the path is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


# --- the supervisor's side ---------------------------------------------------------------------


def supervise(*, state_dir: Path, session: str, undo: Undo) -> None:
    """Wait for the end of the backup of *session*, and undo what it left where it died.

    The body of the supervisor's process. When this returns nothing is left to undo. Raises
    QuiesceError UndoIncomplete after a minute of trying, two hours where the guest may be at rest;
    the note stays then.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    file = NoteFile(note_directory(state_dir), session)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        try:
            with _short_path(file.socket_path) as address:
                control.connect(address)
        except OSError:
            # The backup has died already, or we are its second supervisor.
            file.lock()
            descriptor = None
        else:
            descriptor = _wait_for_death(control)
        _undo_until_done(file, descriptor, undo)


def _wait_for_death(control: socket.socket) -> int | None:
    """Return when the backup has ended, with the QMP socket it gave, where it gave one."""
    descriptor: int | None = None
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        except OSError:
            return descriptor
        if message == b"lock":
            # The lock comes with it, and is held as long as this process lives.
            control.send(b"ready")
        elif message == b"descriptor":
            descriptor = descriptors[0]
        else:
            return descriptor


def _undo_until_done(file: NoteFile, descriptor: int | None, undo: Undo) -> None:
    begun_s = time.monotonic()
    while (note := file.read()) is not None:
        deadline = Deadline(begun_s + (_AT_REST_S if note.at_rest else _UNDO_S))
        if _is_undone(note, descriptor, undo, deadline):
            break
        descriptor = None
        time.sleep(_AGAIN_S)
    file.remove()


def _is_undone(note: UndoNote, descriptor: int | None, undo: Undo, deadline: Deadline) -> bool:
    try:
        undo(note, descriptor)
    except QuiesceError:
        if deadline.passed():
            raise
        return False
    return True


# --- the next command --------------------------------------------------------------------------


def recover_left_behind(state_dir: Path, undo: Undo) -> tuple[Recovered, ...]:
    """Undo what backups left whose supervisor died as well; return what was found.

    Notes of backups that are under way are left alone. A note that cannot be undone stays.
    """
    found = []
    for file in note_files(state_dir):
        lock = file.try_lock()
        if lock is None:
            continue
        try:
            recovered = _recover(file, undo)
        finally:
            os.close(lock)
        if recovered is not None:
            found.append(recovered)
    return tuple(found)


def _recover(file: NoteFile, undo: Undo) -> Recovered | None:
    try:
        note = file.read()
    except ValueError as exc:
        error = QuiesceError("UndoIncomplete", f"{file.path}: {exc}")
        return Recovered(file.session, "", error)
    if note is None:
        # Its backup ended just now, or died before it had begun.
        file.remove()
        return None
    try:
        undo(note, None)
    except QuiesceError as exc:
        return Recovered(file.session, note.machine, exc)
    file.remove()
    return Recovered(file.session, note.machine, None)
