"""The supervisor: whoever dies, what is noted is undone, once and soon."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs.notes import note_files
from quiesce.jobs.undo import Supervisor, recover_left_behind, supervised
from quiesce.model.undo import UndoNote
from quiesce.system import ulid
from tools import recording_supervisor
from tools.recording_supervisor import Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.faults

LIMIT_S = 20.0


class Scene:
    """A state directory with one machine's backup."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.session = ulid.new()
        self.undo = Recording(state_dir / "undone")

    def note(self, machine: str = "web1") -> UndoNote:
        return UndoNote(
            session=self.session,
            machine=machine,
            qmp="/run/qmp",
            qga="/run/qga",
            prefix="bk-",
            scratch_dir="/scratch",
        )

    def supervised(self) -> AbstractContextManager[Supervisor]:
        program = str(recording_supervisor.__file__)
        arguments = ["--state-dir", str(self.state_dir), "--session", self.session]
        return supervised(
            self.note(),
            state_dir=self.state_dir,
            undo=self.undo,
            command=[sys.executable, program, *arguments],
        )

    def supervisor_pid(self) -> int:
        return int((self.state_dir / "pid").read_text())

    def undone(self) -> list[dict[str, Any]]:
        if not self.undo.path.exists():
            return []
        return [json.loads(line) for line in self.undo.path.read_text().splitlines()]

    def notes(self) -> list[str]:
        return [file.session for file in note_files(self.state_dir)]

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.state_dir / "undo").iterdir())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return Scene(tmp_path)


def wait_until(state: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not state():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fork(body: Callable[[], None]) -> int:
    """Run *body* in a child that ends without any clean-up."""
    child = os.fork()
    if child:
        return child
    try:
        body()
    finally:
        os._exit(70)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_after_a_good_end_nothing_is_undone_and_nothing_is_left(scene: Scene) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)
        pid = scene.supervisor_pid()
        noted = scene.notes()
        guard.note(at_rest=False)

    assert noted == [scene.session]
    assert scene.undone() == []
    assert scene.left() == []
    assert not is_running(pid)


def test_an_error_that_says_all_is_undone_is_believed(scene: Scene) -> None:
    with pytest.raises(QuiesceError, match="vault"), scene.supervised():
        raise QuiesceError("VaultFull", "the vault is full")

    assert scene.undone() == []
    assert scene.left() == []


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        RuntimeError("a bug"),
        QuiesceError("Interrupted", "interrupted"),
    ],
    ids=repr,
)
def test_any_other_end_is_undone_by_the_supervisor_before_it_is_passed_on(
    scene: Scene, error: BaseException
) -> None:
    with pytest.raises(type(error)), scene.supervised():
        raise error

    (undone,) = scene.undone()
    assert undone["pid"] == scene.supervisor_pid()
    assert scene.left() == []
    assert not is_running(undone["pid"])


def test_what_the_backup_could_not_undo_is_no_error_when_the_supervisor_could(
    scene: Scene,
) -> None:
    with scene.supervised():
        raise QuiesceError("UndoIncomplete", "a node is left")

    assert [undone["pid"] for undone in scene.undone()] == [scene.supervisor_pid()]
    assert scene.left() == []


def test_a_guest_that_is_still_at_rest_is_undone_at_a_good_end_too(scene: Scene) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)

    assert [undone["note"]["at_rest"] for undone in scene.undone()] == [True]
    assert scene.left() == []


def test_a_killed_backup_is_undone_with_the_last_note_and_the_socket_it_gave(scene: Scene) -> None:
    ours, theirs = socket.socketpair()

    def body() -> None:
        with scene.supervised() as guard:
            guard.hand_over(theirs.fileno())
            guard.note(was_running=True, readers=((1, 2),))
            die()

    child = fork(body)
    ours.sendall(b"from QEMU")
    os.waitpid(child, 0)
    wait_until(lambda: not scene.left(), "the note to go")
    ours.close()
    theirs.close()

    (undone,) = scene.undone()
    assert undone["note"]["was_running"] is True
    assert undone["note"]["readers"] == [[1, 2]]
    assert undone["said"] == "from QEMU"


def test_what_cannot_be_undone_at_once_is_tried_again_without_the_socket(scene: Scene) -> None:
    ours, theirs = socket.socketpair()
    scene.undo.path.with_suffix(".fail").write_text("")

    def body() -> None:
        with scene.supervised() as guard:
            guard.hand_over(theirs.fileno())
            die()

    child = fork(body)
    ours.sendall(b"from QEMU")
    os.waitpid(child, 0)
    wait_until(lambda: not scene.left(), "the note to go")
    ours.close()
    theirs.close()

    assert [undone["said"] for undone in scene.undone()] == ["from QEMU", None]


def test_signals_do_not_end_a_supervisor(scene: Scene) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(scene.supervisor_pid(), number)

    assert [undone["pid"] for undone in scene.undone()] == [scene.supervisor_pid()]


def test_a_killed_supervisor_is_found_out_before_the_guest_is_at_rest(scene: Scene) -> None:
    with scene.supervised() as guard:
        os.kill(scene.supervisor_pid(), signal.SIGKILL)
        wait_until(lambda: not is_running(scene.supervisor_pid()), "the supervisor to die")
        with pytest.raises(QuiesceError) as caught:
            guard.note(at_rest=True)

    assert caught.value.name == "SupervisorUnavailable"
    assert scene.left() == []


def test_a_killed_supervisor_does_not_stop_a_backup_that_is_past_the_freeze(scene: Scene) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)
        os.kill(scene.supervisor_pid(), signal.SIGKILL)
        guard.note(at_rest=False)

    assert scene.undone() == []
    assert scene.left() == []


def test_with_a_killed_supervisor_the_backup_undoes_by_itself(scene: Scene) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)
        os.kill(scene.supervisor_pid(), signal.SIGKILL)

    assert [undone["pid"] for undone in scene.undone()] == [os.getpid()]
    assert scene.left() == []


def test_when_both_are_killed_the_next_command_undoes(scene: Scene) -> None:
    def body() -> None:
        with scene.supervised() as guard:
            guard.note(at_rest=True)
            os.kill(scene.supervisor_pid(), signal.SIGKILL)
            die()

    os.waitpid(fork(body), 0)
    wait_until(lambda: not is_running(scene.supervisor_pid()), "the supervisor to die")
    before = scene.undone()
    recovered = recover_left_behind(scene.state_dir, scene.undo)

    assert before == []
    assert [(one.session, one.machine, one.error) for one in recovered] == [
        (scene.session, "web1", None)
    ]
    assert [undone["note"]["at_rest"] for undone in scene.undone()] == [True]
    assert scene.left() == []


def test_the_next_command_leaves_a_backup_alone_that_is_under_way(scene: Scene) -> None:
    with scene.supervised():
        assert recover_left_behind(scene.state_dir, scene.undo) == ()
        os.kill(scene.supervisor_pid(), signal.SIGKILL)
        assert recover_left_behind(scene.state_dir, scene.undo) == ()

    assert scene.undone() == []


def test_the_next_command_leaves_a_supervisor_alone_that_is_at_work(scene: Scene) -> None:
    ours, theirs = socket.socketpair()

    def body() -> None:
        with scene.supervised() as guard:
            # Undoing reads from this socket first, and so waits for us.
            guard.hand_over(theirs.fileno())
            die()

    os.waitpid(fork(body), 0)
    meanwhile = recover_left_behind(scene.state_dir, scene.undo)
    ours.sendall(b"from QEMU")
    wait_until(lambda: not scene.left(), "the note to go")
    ours.close()
    theirs.close()

    assert meanwhile == ()
    assert [undone["said"] for undone in scene.undone()] == ["from QEMU"]


def test_the_next_command_keeps_the_note_of_what_it_cannot_undo(scene: Scene) -> None:
    def body() -> None:
        with scene.supervised():
            os.kill(scene.supervisor_pid(), signal.SIGKILL)
            die()

    os.waitpid(fork(body), 0)
    wait_until(lambda: not is_running(scene.supervisor_pid()), "the supervisor to die")
    scene.undo.path.with_suffix(".fail").write_text("")
    (first,) = recover_left_behind(scene.state_dir, scene.undo)
    (second,) = recover_left_behind(scene.state_dir, scene.undo)

    assert first.error is not None
    assert first.error.name == "UndoIncomplete"
    assert second.error is None
    assert scene.left() == []


def test_the_next_command_sweeps_up_after_a_backup_that_died_before_its_note(
    scene: Scene,
) -> None:
    undo_directory = scene.state_dir / "undo"
    undo_directory.mkdir()
    (undo_directory / f"{scene.session}.lock").touch()
    (undo_directory / f".{scene.session}.json.0123abcd").touch()

    assert recover_left_behind(scene.state_dir, scene.undo) == ()
    assert scene.left() == []


def test_a_note_that_cannot_be_written_is_an_error_before_what_it_undoes(scene: Scene) -> None:
    with scene.supervised() as guard:
        directory = scene.state_dir / "undo"
        directory.rename(scene.state_dir / "away")
        with pytest.raises(QuiesceError) as caught:
            guard.note(at_rest=True)
        (scene.state_dir / "away").rename(directory)

    assert caught.value.name == "SupervisorUnavailable"
    assert scene.undone() == []


def test_a_second_supervisor_waits_for_the_backups_end(scene: Scene) -> None:
    """As systemd starts one when the first was killed."""
    with scene.supervised():
        os.kill(scene.supervisor_pid(), signal.SIGKILL)
        program = str(recording_supervisor.__file__)
        arguments = ["--state-dir", str(scene.state_dir), "--session", scene.session]
        second = os.posix_spawn(
            sys.executable, [sys.executable, program, *arguments], dict(os.environ)
        )
        wait_until(lambda: scene.supervisor_pid() == second, "the second supervisor")
        assert is_running(second)
    os.waitpid(second, 0)

    assert scene.undone() == []
    assert scene.left() == []


@pytest.fixture
def systemd_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemd-run that starts the command in the background; its arguments' file."""
    monkeypatch.setattr("quiesce.jobs.undo._SYSTEMD", tmp_path)
    program = tmp_path / "bin" / "systemd-run"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
echo "$@" >{tmp_path}/arguments
while [ "$1" != -- ]; do shift; done
shift
setsid "$@" </dev/null >/dev/null 2>&1 &
"""
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "arguments"


def test_where_systemd_runs_the_supervisor_is_a_unit_that_is_restarted(
    scene: Scene, systemd_run: Path
) -> None:
    with scene.supervised() as guard:
        guard.note(at_rest=True)
        pid = scene.supervisor_pid()
    arguments = systemd_run.read_text().split()

    assert "--property=Restart=on-failure" in arguments
    assert f"--unit=quiesce-undo-{scene.session}" in arguments
    assert [undone["pid"] for undone in scene.undone()] == [pid]
    assert scene.left() == []
    wait_until(lambda: not is_running(pid), "the supervisor to end")


def test_where_no_unit_can_be_made_the_supervisor_is_a_process(
    scene: Scene, systemd_run: Path
) -> None:
    (systemd_run.parent / "bin" / "systemd-run").write_text("#!/bin/sh\nexit 1\n")
    with scene.supervised() as guard:
        guard.note(at_rest=True)

    assert [undone["pid"] for undone in scene.undone()] == [scene.supervisor_pid()]
    assert scene.left() == []


def test_a_second_backup_of_the_machine_is_refused(scene: Scene) -> None:
    other = Scene(scene.state_dir)
    with scene.supervised(), pytest.raises(QuiesceError) as caught, other.supervised():
        pass

    assert caught.value.name == "AlreadyRunning"
    assert scene.left() == []


def test_a_supervisor_that_does_not_start_is_said_before_anything_is_done(scene: Scene) -> None:
    with (
        pytest.raises(QuiesceError) as caught,
        supervised(
            scene.note(), state_dir=scene.state_dir, undo=scene.undo, command=["/bin/false"]
        ),
    ):
        pass

    assert caught.value.name == "SupervisorUnavailable"
    assert scene.left() == []
