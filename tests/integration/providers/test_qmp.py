import os
import socket
import threading
from contextlib import closing

import pytest

from quiesce.errors import QuiesceError
from quiesce.providers.qmp import Command, CommandRefusedError, QmpConnection
from quiesce.system.deadline import Deadline
from tools.bare_qemu import bare_qemu

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def machine():
    with bare_qemu(paused=True) as running:
        yield running


def connect(path, limit_s=20.0):
    return closing(QmpConnection.connect(path, deadline=Deadline.after(limit_s)))


def test_a_command_is_answered(machine):
    with connect(machine.qmp) as connection:
        assert connection.execute("query-name") == {"name": "writer"}


def test_a_refused_command_says_why(machine):
    with connect(machine.qmp) as connection, pytest.raises(CommandRefusedError) as refused:
        connection.execute("qom-get", {"path": "/nowhere", "property": "x"})

    assert refused.value.name == "CommandRefused"
    assert refused.value.error_class == "DeviceNotFound"
    assert "/nowhere" in refused.value.message


def test_many_commands_are_worked_on_in_order_whatever_fails(machine):
    add = Command("object-add", {"qom-type": "secret", "id": "s0", "data": "x"})
    remove = Command("object-del", {"id": "s0"})
    with connect(machine.qmp) as connection:
        answers = connection.execute_all([add, add, remove, remove, Command("query-name")] * 5)

    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["dict", "CommandRefusedError", "dict", "CommandRefusedError", "dict"] * 5


def test_out_of_band_commands_were_negotiated(machine):
    with connect(machine.qmp) as connection:
        assert isinstance(connection.execute("query-yank", out_of_band=True), list)


def test_the_process_behind_the_socket_is_known(machine):
    with connect(machine.qmp) as connection:
        assert connection.peer() == (machine.pid, os.getuid())


def test_a_socket_that_serves_another_client_is_busy(machine):
    with connect(machine.qmp), pytest.raises(QuiesceError) as refused, connect(machine.qmp, 0.5):
        pytest.fail("two clients at once")

    assert refused.value.name == "SocketBusy"


def test_a_socket_with_a_full_queue_is_busy(machine):
    with connect(machine.qmp), socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(os.fspath(machine.qmp))
        with pytest.raises(QuiesceError) as refused, connect(machine.qmp, 0.5):
            pytest.fail("three clients at once")

    assert refused.value.name == "SocketBusy"


def test_a_missing_socket_is_unreachable(tmp_path):
    with pytest.raises(QuiesceError) as refused, connect(tmp_path / "missing"):
        pytest.fail("connected to nothing")

    assert refused.value.name == "MachineUnreachable"


def test_a_socket_that_nobody_listens_on_is_unreachable(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(QuiesceError) as refused, connect(tmp_path / "dead"):
        pytest.fail("connected to a dead socket")

    assert refused.value.name == "MachineUnreachable"


@pytest.mark.parametrize("greeting", [b"220 mail\r\n", b'{"hello": 1}\n', b""])
def test_what_is_no_qmp_is_unreachable(tmp_path, greeting):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "other"))
        listener.listen()

        def greet():
            client, _ = listener.accept()
            with client:
                client.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(QuiesceError) as refused, connect(tmp_path / "other"):
            pytest.fail("took it for a QMP")
        thread.join()

    assert refused.value.name == "MachineUnreachable"


def test_a_machine_that_ends_is_unreachable():
    with bare_qemu(paused=True) as machine, connect(machine.qmp) as connection:
        machine.process.kill()
        machine.process.wait()
        with pytest.raises(QuiesceError) as refused:
            connection.execute("query-name")

    assert refused.value.name == "MachineUnreachable"


def test_a_machine_that_does_not_answer_is_unreachable():
    with bare_qemu(paused=True) as machine, connect(machine.qmp) as connection:
        os.kill(machine.pid, 19)
        with pytest.raises(QuiesceError) as refused:
            connection.execute("query-name", limit_s=0.3)
        os.kill(machine.pid, 18)

        assert connection.execute("query-name") == {"name": "writer"}

    assert refused.value.name == "MachineUnreachable"


@pytest.mark.parametrize(
    "last_words",
    [
        b"",
        b'{"execute": "query-na',
        b'{"execute": "query-name", "arguments": {',
        b'{"execute": "query-name", "id": "__qmp#00000"}',
        b'{"execute": "query-named-block-nodes"}' * 20,
    ],
)
def test_a_dead_client_s_connection_goes_on(machine, last_words):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.settimeout(20)
        dead.connect(os.fspath(machine.qmp))
        assert b"QMP" in dead.recv(65536)
        dead.sendall(b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}')
        assert b"return" in dead.recv(65536)
        duplicate = os.dup(dead.fileno())
        dead.sendall(last_words)
    with closing(QmpConnection.resume(duplicate, deadline=Deadline.after(20))) as connection:
        assert connection.execute("query-name") == {"name": "writer"}
        assert isinstance(connection.execute("query-yank", out_of_band=True), list)


def test_the_connection_of_a_machine_that_has_ended_cannot_be_resumed():
    with bare_qemu(paused=True) as machine:
        with connect(machine.qmp) as connection:
            duplicate = os.dup(connection.fileno())
        machine.process.kill()
        machine.process.wait()
        with pytest.raises(QuiesceError) as refused:
            QmpConnection.resume(duplicate, deadline=Deadline.after(20))

    assert refused.value.name == "MachineUnreachable"


def test_the_socket_is_free_again_after_closing(machine):
    for _ in range(3):
        with connect(machine.qmp) as connection:
            connection.execute("query-name")
