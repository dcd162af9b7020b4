from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until
from quiesce.guest.logs import log_file, log_journald, log_lines

if TYPE_CHECKING:
    from pathlib import Path

    from guest_box import Box

pytestmark = pytest.mark.integration

LOG = "/var/log/quiesce/quiesce-guest.log"
LINE = re.compile(r"(?P<at>\S+Z) (?P<session>[0-9A-Z]{26}) (?P<step>[a-z-]+) +(?P<message>.*)")
JOURNAL = """
import socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
while True:
    sys.stdout.buffer.write(journal.recv(1 << 20) + b"\\0\\n")
    sys.stdout.flush()
"""


def steps(box: Box) -> list[str]:
    lines = [LINE.fullmatch(line) for line in box.read(LOG).splitlines() if line[0] != " "]
    assert all(lines), box.read(LOG)
    assert len({line["session"] for line in lines if line}) == 1
    return [line["step"] for line in lines if line]


def test_a_session_is_told_step_by_step_with_what_its_scripts_printed(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="echo hello; printf '\\033[2J' >&2", post="echo bye")

    assert box.run("exec", "--", "true").returncode == 0

    assert steps(box) == [
        *("begin", "pre-script", "freeze", "snapshot", "thaw", "post-script", "end")
    ]
    text = box.read(LOG)
    assert "    stdout | hello\n    stderr | \\x1b[2J\n" in text
    assert "    stdout | bye\n" in text
    assert re.search(r" freeze      ok [0-9.]+ ms: /mnt/a\n", text)
    modes = box.shell(f"stat -c %a /var/log/quiesce /var/log/quiesce/reports {LOG}").stdout
    assert modes.split() == ["700", "700", "600"]


def test_nothing_is_written_to_the_log_while_anything_is_at_rest(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure(pre="echo said in the window")

    done = box.run("exec", "--", "cp", LOG, "/run/seen")

    assert done.returncode == 0, done.stderr
    seen = (box.root / "run/seen").read_text()
    assert len(seen.splitlines()) == 1
    assert "begin" in seen


def test_errors_and_their_actions_are_in_the_log(box: Box) -> None:
    box.configure(pre="echo broken >&2; exit 3")

    assert box.run("exec", "--no-freeze", "--", "true").returncode == 3

    text = box.read(LOG)
    assert "error       Pre-ScriptExecutionFailed: " in text
    assert "    next: " in text
    assert "    stderr | broken" in text


def test_a_session_whose_engine_was_killed_is_in_the_log(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    assert box.run("hold").returncode == 0

    os.kill(box.guards()[0], 9)
    wait_until(lambda: box.record() is None)

    assert steps(box) == ["begin", "pre-script", "post-script", "error", "end"]
    assert "FreezeWindowExpired" in box.read(LOG)


def test_a_session_that_the_next_command_ended_is_in_the_log(box: Box) -> None:
    box.mount("/mnt/a")
    box.configure()
    assert box.run("hold").returncode == 0
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in box.guards():
            os.kill(pid, number)

    assert box.run("thaw").returncode == 0

    assert steps(box)[-3:] == ["post-script", "error", "end"]


@pytest.mark.parametrize(
    "trouble",
    [
        "mount -t tmpfs -o ro none /var/log",
        "mount -t tmpfs -o size=4k,mode=755 none /var/log; echo full >/var/log/full",
        "rm -rf /var/log; touch /var/log",
        "mkdir -m 777 /var/log/quiesce",
        "ln -s /tmp /var/log/quiesce",
    ],
)
def test_a_log_that_cannot_be_written_is_a_warning_and_nothing_more(box: Box, trouble: str) -> None:
    box.mount("/mnt/a")
    box.configure()
    box.shell(trouble)

    done = box.run("exec", "--json", "--", "true")

    report = json.loads(done.stdout)
    assert (done.returncode, report["consistency"]) == (0, "application"), done.stderr
    assert [warning for warning in report["warnings"] if LOG in warning]
    assert [warning for warning in report["warnings"] if "the report is not in" in warning]
    assert box.report()["warnings"] == report["warnings"]
    box.shell("umount /var/log")


def test_a_log_on_a_file_system_that_somebody_else_froze_does_not_hold_a_session_up(
    box: Box,
) -> None:
    box.mount("/var/log")
    box.configure()
    box.freeze("/var/log")

    done = box.run("exec", "--json", "--no-freeze", "--", "true")
    kept = json.loads(box.run("report", "--json").stdout)
    box.thaw("/var/log")

    report = json.loads(done.stdout)
    assert kept == report
    assert (done.returncode, report["consistency"]) == (0, "application"), done.stderr
    assert box.scripts_ran()[-1].startswith("post")
    assert any("not within" in warning for warning in report["warnings"])
    # What was left behind writes it now, and lets the file system go.
    wait_until((box.root / f"var/log/quiesce/reports/{report['session']}.json").exists)


def test_only_the_last_hundred_reports_are_kept(box: Box) -> None:
    box.shell(
        "mkdir -m 700 /var/log/quiesce /var/log/quiesce/reports; cd /var/log/quiesce/reports;"
        " for n in $(seq 100 220); do echo '{}' >$n.json; touch -d @$n $n.json; done"
    )

    assert box.run("exec", "--no-freeze", "--", "true").returncode == 0

    kept = sorted(path.stem for path in (box.root / "var/log/quiesce/reports").iterdir())
    assert len(kept) == 100
    assert kept[0] == box.report()["session"]
    assert kept[1:] == [str(number) for number in range(122, 221)]


def test_the_journal_gets_each_entry_with_its_fields(box: Box) -> None:
    box.configure(pre="echo hello")
    box.shell("mkdir -p /run/systemd/journal")
    box.write("/tmp/journal.py", JOURNAL)
    listening = box.shell("python3 /tmp/journal.py >/tmp/heard 2>&1 & echo $!")
    wait_until((box.root / "run/systemd/journal/socket").exists)

    done = box.run("exec", "--no-freeze", "--json", "--", "true")

    session = json.loads(done.stdout)["session"]
    heard = (box.root / "tmp/heard").read_bytes()
    wait_until(lambda: b"QUIESCE_STEP\n\x03" in (box.root / "tmp/heard").read_bytes())
    box.shell(f"kill {listening.stdout}")
    entries = [fields(data) for data in heard.split(b"\0\n")[:-1] if data]
    assert [entry["QUIESCE_STEP"] for entry in entries] == [
        *("begin", "pre-script", "snapshot", "post-script", "end")
    ]
    assert {entry["QUIESCE_SESSION"] for entry in entries} == {session}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"quiesce-guest"}
    assert {entry["PRIORITY"] for entry in entries} == {"6"}
    assert entries[1]["MESSAGE"].endswith("\n    stdout | hello")


def fields(data: bytes) -> dict[str, str]:
    found = {}
    while data:
        name, _, rest = data.partition(b"\n")
        (size,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + size].decode()
        data = rest[8 + size + 1 :]
    return found


def entry(message: str) -> log_lines.Entry:
    return log_lines.Entry("2026-11-23T10:00:00.000Z", "01J", "step", log_lines.INFO, message)


def test_a_journal_that_does_not_listen_is_a_loss_and_never_waited_for(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(address)

        with pytest.raises(BlockingIOError):
            log_journald.send([entry("x")] * 100_000, address=address)


def test_where_there_is_no_journal_nothing_is_said(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")

    log_journald.send([entry("x")], address=address)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(address)
    log_journald.send([entry("x")], address=address)


def test_an_entry_too_large_for_a_datagram_comes_as_a_sealed_file(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(address)
        log_journald.send([entry("x" * 1_000_000)], address=address)
        _data, [descriptor], _flags, _address = socket.recv_fds(journal, 10, 1)
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        assert fields(file.read())["MESSAGE"] == "step: " + "x" * 1_000_000


def _append_many(directory: str, word: str) -> None:
    for number in range(300):
        log_file.append(f"{word} {number} {word * 3000}\n", directory=directory)


def test_two_processes_that_log_at_once_lose_nothing_and_mix_nothing(tmp_path: Path) -> None:
    directory = str(tmp_path / "quiesce")
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_append_many, args=(directory, word)) for word in ("aa", "bb")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    lines = [
        line for path in (tmp_path / "quiesce").iterdir() for line in path.read_text().splitlines()
    ]
    assert sorted(lines) == sorted(
        f"{word} {number} {word * 3000}" for word in ("aa", "bb") for number in range(300)
    )
