"""The guest agent's channel against a stand-in agent, and QEMU's sockets."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce.channel.agent import Agent, NoAnswerError, is_held
from quiesce.channel.qga import Qga
from quiesce.errors import QuiesceError
from quiesce.ports import FreezeAnswer, GuestOutlook, ThawAnswer
from quiesce.system import ulid
from quiesce.system.deadline import Deadline
from tools.standin_agent import PROGRAM, StandinAgent, standin_agent

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

LIMIT_S = 20.0


@pytest.fixture
def agent() -> Iterator[StandinAgent]:
    with standin_agent() as running:
        yield running


@pytest.fixture
def guest(agent: StandinAgent) -> Iterator[Qga]:
    with contextlib.closing(Qga(agent.path)) as channel:
        yield channel


def soon() -> Deadline:
    return Deadline.after(LIMIT_S)


def look(guest: Qga, session: str = "") -> GuestOutlook:
    return guest.look(session=session or ulid.new(), disks=2, deadline=soon())


def test_a_whole_session_is_announced_frozen_thawed_and_reported(
    agent: StandinAgent, guest: Qga
) -> None:
    session = ulid.new()
    outlook = look(guest, session)
    frozen = guest.freeze(outlook, deadline=soon())
    was_at_rest = agent.at_rest
    thawed = guest.thaw(deadline=soon())
    report = guest.report(session=session, deadline=soon())

    assert (outlook.agent, outlook.hook) == (True, True)
    assert (outlook.continue_on_failure, outlook.freeze_enabled) == (True, True)
    assert frozen == FreezeAnswer(2)
    assert was_at_rest
    assert thawed == ThawAnswer(2)
    assert not agent.at_rest
    assert report is not None
    assert report.session == session


def test_where_the_freeze_is_off_the_empty_list_is_frozen(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.check["settings"]["fsFreezeEnabled"] = False
    frozen = guest.freeze(look(guest), deadline=soon())

    assert frozen == FreezeAnswer(0)
    assert "guest-fsfreeze-freeze" not in agent.commands


def test_an_agent_without_our_program_has_no_hook(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.program = None
    outlook = look(guest)

    assert (outlook.agent, outlook.hook) == (True, False)


def test_a_program_that_the_agent_does_not_call_is_no_hook(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.check_status = 3
    agent.behaviour.check = {"error": {"name": "HookMissing", "message": "", "action": ""}}
    outlook = look(guest)

    assert (outlook.agent, outlook.hook, outlook.freeze_enabled) == (True, False, None)


def test_the_program_is_found_by_the_path_too(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.program = "quiesce-guest"

    assert look(guest).hook is True


@pytest.mark.parametrize("status", [0, 3, 4])
def test_a_check_that_expects_less_is_an_announcement_all_the_same(
    agent: StandinAgent, guest: Qga, status: int
) -> None:
    agent.behaviour.check_status = status

    assert look(guest).hook is True


def test_a_program_that_cannot_announce_is_said(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.check_status = 1
    outlook = look(guest)

    assert outlook.hook is None
    assert outlook.warnings


def test_without_guest_exec_the_session_is_announced_by_a_file_and_the_report_read_from_one(
    agent: StandinAgent, guest: Qga
) -> None:
    agent.behaviour.forbidden = {"guest-exec"}
    session = ulid.new()
    outlook = look(guest, session)
    guest.freeze(outlook, deadline=soon())
    guest.thaw(deadline=soon())
    report = guest.report(session=session, deadline=soon())

    assert (outlook.agent, outlook.hook) == (True, None)
    assert report is not None
    assert report.session == session


def test_without_exec_and_files_nothing_is_known_and_no_report_is_had(
    agent: StandinAgent, guest: Qga
) -> None:
    agent.behaviour.forbidden = {"guest-exec", "guest-file-open"}
    session = ulid.new()
    outlook = look(guest, session)
    frozen = guest.freeze(outlook, deadline=soon())
    guest.thaw(deadline=soon())

    assert (outlook.agent, outlook.hook) == (True, None)
    assert frozen == FreezeAnswer(2)
    assert guest.report(session=session, deadline=soon()) is None


def test_an_agent_that_does_not_answer_is_none(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.silent = {"guest-sync-delimited"}
    outlook = guest.look(session=ulid.new(), disks=2, deadline=Deadline.after(0.3))

    assert outlook == GuestOutlook(agent=False)


@pytest.mark.parametrize("status", [3, 4, 7])
def test_the_hooks_status_is_read_from_the_agents_error(
    agent: StandinAgent, guest: Qga, status: int
) -> None:
    agent.behaviour.freeze_status = status
    frozen = guest.freeze(look(guest), deadline=soon())

    assert (frozen.frozen, frozen.hook_status) == (None, status)


@pytest.mark.parametrize("status", [3, 4, 5])
def test_the_thaw_hooks_status_is_read_too(agent: StandinAgent, guest: Qga, status: int) -> None:
    agent.behaviour.thaw_status = status
    guest.freeze(look(guest), deadline=soon())
    thawed = guest.thaw(deadline=soon())

    assert (thawed.thawed, thawed.hook_status) == (None, status)


def test_a_freeze_that_fails_has_the_agents_words(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.freeze_error = "failed to freeze /: Input/output error"
    frozen = guest.freeze(look(guest), deadline=soon())

    assert (frozen.frozen, frozen.hook_status) == (None, None)
    assert frozen.message == "failed to freeze /: Input/output error"


def test_a_freeze_without_an_answer_ends_in_time_and_the_thaw_is_answered_all_the_same(
    agent: StandinAgent, guest: Qga
) -> None:
    agent.behaviour.silent = {"guest-fsfreeze-freeze"}
    frozen = guest.freeze(look(guest), deadline=Deadline.after(0.3))
    thawed = guest.thaw(deadline=soon())

    assert frozen.timed_out
    assert thawed == ThawAnswer(2)
    assert not agent.at_rest


def test_a_thaw_that_a_dying_agent_swallowed_is_sent_again(
    agent: StandinAgent, guest: Qga, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.channel.agent._PROBE_S", 0.1)
    guest.freeze(look(guest), deadline=soon())
    agent.behaviour.lost = {"guest-fsfreeze-thaw"}

    assert guest.thaw(deadline=soon()) == ThawAnswer(2)


def test_a_freeze_that_a_dying_agent_swallowed_does_not_wait_for_its_limit(
    agent: StandinAgent, guest: Qga, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.channel.agent._PROBE_S", 0.1)
    outlook = look(guest)
    agent.behaviour.lost = {"guest-fsfreeze-freeze"}
    frozen = guest.freeze(outlook, deadline=Deadline.after(3600))

    assert (frozen.frozen, frozen.timed_out) == (None, False)
    assert frozen.message == "the agent was restarted"


def test_a_slow_answer_is_waited_for_and_not_mistaken(
    agent: StandinAgent, guest: Qga, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.channel.agent._PROBE_S", 0.1)
    agent.behaviour.late_s = {"guest-fsfreeze-freeze": 0.5, "guest-fsfreeze-thaw": 0.5}
    session = ulid.new()
    frozen = guest.freeze(look(guest, session), deadline=soon())
    thawed = guest.thaw(deadline=soon())

    assert (frozen, thawed) == (FreezeAnswer(2), ThawAnswer(2))
    assert guest.report(session=session, deadline=soon()) is not None


def test_after_an_interrupted_freeze_the_thaw_has_its_own_answer(
    agent: StandinAgent, guest: Qga
) -> None:
    outlook = look(guest)
    agent.behaviour.frozen = 7
    agent.behaviour.thawed = 5
    agent.behaviour.late_s = {"guest-fsfreeze-freeze": 0.5}
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            guest.freeze(outlook, deadline=soon())
    finally:
        signal.signal(signal.SIGALRM, before)

    assert guest.thaw(deadline=soon()) == ThawAnswer(5)
    assert not agent.at_rest


def test_thawing_twice_is_harmless(guest: Qga) -> None:
    guest.freeze(look(guest), deadline=soon())
    guest.thaw(deadline=soon())

    assert guest.thaw(deadline=soon()) == ThawAnswer(0)


def test_what_a_dead_client_left_half_said_is_dropped(agent: StandinAgent, guest: Qga) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.connect(str(agent.path))
        dead.sendall(b'{"execute": "guest-fsfr')

    assert look(guest).agent


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"schema": "quiesce.report/2"}',
        b"[" * 100_000,
    ],
)
def test_a_hostile_report_is_none(agent: StandinAgent, guest: Qga, output: bytes) -> None:
    agent.behaviour.report_output = output
    session = ulid.new()
    guest.freeze(look(guest, session), deadline=soon())
    guest.thaw(deadline=soon())

    assert guest.report(session=session, deadline=soon()) is None


def test_the_report_of_another_session_is_none(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.report_changes = {"session": ulid.new()}
    session = ulid.new()
    guest.freeze(look(guest, session), deadline=soon())
    guest.thaw(deadline=soon())

    assert guest.report(session=session, deadline=soon()) is None


def test_a_report_that_is_a_moment_late_is_waited_for(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.report_late = 2
    session = ulid.new()
    guest.freeze(look(guest, session), deadline=soon())
    guest.thaw(deadline=soon())

    assert guest.report(session=session, deadline=soon()) is not None


def test_an_answer_without_end_is_cut_off(agent: StandinAgent, guest: Qga) -> None:
    agent.behaviour.report_output = b'{"a": "' + b"x" * (13 * 1024 * 1024) + b'"}'
    session = ulid.new()
    guest.freeze(look(guest, session), deadline=soon())
    guest.thaw(deadline=soon())
    none = guest.report(session=session, deadline=soon())
    guest.close()
    with contextlib.closing(Agent.connect(agent.path, deadline=soon())) as connection:
        connection.synchronize(deadline=soon())

        with pytest.raises(NoAnswerError, match="too large"):
            connection.run([PROGRAM, "report", "--session", session, "--json"], deadline=soon())

    assert none is None


def test_a_missing_socket_is_an_unreachable_machine() -> None:
    guest = Qga(Path("/nonexistent/qga"))

    with pytest.raises(QuiesceError) as caught:
        look(guest)

    assert caught.value.name == "MachineUnreachable"


def test_a_socket_that_refuses_is_an_unreachable_machine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "qga"))

        with pytest.raises(QuiesceError) as caught:
            look(Qga(tmp_path / "qga"))

    assert caught.value.name == "MachineUnreachable"


def test_a_socket_held_by_another_client_is_busy(agent: StandinAgent, guest: Qga) -> None:
    with contextlib.closing(Qga(agent.path)) as other:
        look(other)

        with pytest.raises(QuiesceError) as caught:
            look(guest)

    assert caught.value.name == "SocketBusy"
    assert look(guest).agent


@pytest.fixture
def qemu_socket() -> Iterator[Path]:
    """A QEMU whose guest has an agent's port, and no agent."""
    with tempfile.TemporaryDirectory(prefix="qga-qemu-") as directory:
        path = Path(directory) / "qga"
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "pc",
            "-accel", "tcg", "-S", "-chardev", f"socket,id=qga,path={path},server=on,wait=off",
            "-device", "virtio-serial", "-device",
            "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
        process = subprocess.Popen(argv)
        try:
            end = time.monotonic() + LIMIT_S
            while not path.exists():
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            yield path
        finally:
            process.kill()
            process.wait()


def test_a_client_on_qemus_socket_is_seen_and_its_end_too(qemu_socket: Path) -> None:
    before = is_held(qemu_socket)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(qemu_socket))
        end = time.monotonic() + LIMIT_S
        while not is_held(qemu_socket):
            assert time.monotonic() < end
            time.sleep(0.02)

        with pytest.raises(QuiesceError) as caught:
            look(Qga(qemu_socket))
    end = time.monotonic() + LIMIT_S
    while is_held(qemu_socket):
        assert time.monotonic() < end
        time.sleep(0.02)

    assert not before
    assert caught.value.name == "SocketBusy"


def test_a_machine_without_an_agent_is_no_agent(qemu_socket: Path) -> None:
    guest = Qga(qemu_socket)
    outlook = guest.look(session=ulid.new(), disks=2, deadline=Deadline.after(0.5))

    assert outlook == GuestOutlook(agent=False)


def test_a_thaw_waits_for_the_socket_to_be_free(
    agent: StandinAgent, guest: Qga, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.channel.agent._BUSY_S", 0.1)
    holder = socket.socket(socket.AF_UNIX)
    holder.connect(str(agent.path))
    timer = threading.Timer(0.5, holder.close)
    timer.start()
    try:
        assert guest.thaw(deadline=soon()) == ThawAnswer(0)
    finally:
        timer.join()


def test_a_machine_that_is_gone_has_nothing_to_thaw(tmp_path: Path) -> None:
    thawed = Qga(tmp_path / "qga").thaw(deadline=soon())

    assert thawed.thawed is None
    assert thawed.message is not None
