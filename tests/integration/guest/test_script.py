"""Running a script: real processes, as root."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.scripts import pipes
from quiesce.guest.scripts.script import ScriptResult, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

LONG = 600
LIMIT_S = 30.0


class Scripts:
    """A directory of root's with scripts in it, and files that they leave."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[int] = []

    def write(self, text: str, mode: int = 0o700) -> Path:
        path = self.home / "script"
        path.write_text(text.replace("HOME", str(self.home)))
        path.chmod(mode)
        return path

    def run(
        self,
        text: str,
        *params: str,
        retries: int = 0,
        timeout_s: float = LIMIT_S,
        phase: str = "pre",
        env: dict[str, str] | None = None,
    ) -> ScriptResult:
        path = self.write(text)
        return run_script(ScriptSpec(phase, str(path), params, retries, timeout_s), env=env or {})

    def left(self, name: str) -> str:
        return (self.home / name).read_text()

    def pid(self, name: str) -> int:
        wait_for(lambda: (self.home / name).exists() and self.left(name).endswith("\n"))
        self.started.append(int(self.left(name)))
        return self.started[-1]


@pytest.fixture
def scripts() -> Iterator[Scripts]:
    found = Scripts(Path(tempfile.mkdtemp(prefix="quiesce-script-", dir="/root")))
    yield found
    for pid in found.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(found.home)
    for group in Path("/sys/fs/cgroup").glob(f"**/quiesce-script-*-{os.getpid()}-*"):
        wait_for(lambda group=group: not (group / "cgroup.procs").read_text())
        group.rmdir()


def wait_for(state: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not state():
        assert time.monotonic() < until, "the state did not come"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def children() -> set[int]:
    return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}


def test_exit_status_0_is_success(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\necho out\necho err >&2\n")

    assert (result.status, result.error) == ("ok", None)
    [attempt] = result.attempts
    assert (attempt.exit_status, attempt.signal, attempt.timed_out) == (0, None, False)
    assert (attempt.stdout, attempt.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize("status", [1, 2, 3, 126, 127, 255])
@pytest.mark.parametrize("phase", ["pre", "post"])
def test_every_other_exit_status_is_a_failure(scripts: Scripts, status: int, phase: str) -> None:
    result = scripts.run(f"#!/bin/sh\necho sorry >&2; exit {status}\n", phase=phase)

    assert result.status == "failed"
    assert result.error is not None
    assert result.error.name == f"{phase.capitalize()}-ScriptExecutionFailed"
    assert result.error.message.endswith(f"ended with status {status}: sorry")
    assert result.attempts[0].exit_status == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_death_by_a_signal_is_a_failure(scripts: Scripts, number: signal.Signals) -> None:
    result = scripts.run(f"#!/bin/sh\nkill -{int(number)} $$\n")

    assert result.status == "failed"
    assert (result.attempts[0].exit_status, result.attempts[0].signal) == (None, number)


def test_the_first_line_says_who_runs_it(scripts: Scripts) -> None:
    result = scripts.run(
        "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n", "a b", "$HOME"
    )

    assert result.attempts[0].stdout == "['a b', '$HOME']\n"


def test_a_script_without_a_first_line_runs_under_the_shell(scripts: Scripts) -> None:
    result = scripts.run('echo "$0 $1 $2"\n', "one", "two words")

    assert result.attempts[0].stdout == f"{scripts.home}/script one two words\n"


def test_a_script_sees_its_configured_path(scripts: Scripts) -> None:
    (scripts.home / "real").mkdir()
    (scripts.home / "link").symlink_to("real")
    path = scripts.home / "link" / "script"
    path.write_text('#!/bin/sh\necho "$0"\n')
    path.chmod(0o700)

    result = run_script(ScriptSpec("pre", str(path), (), 0, LIMIT_S), env={})

    assert result.attempts[0].stdout == f"{path}\n"


@pytest.mark.parametrize("first", ["#!/no/such/interpreter\n", "#!/\n"])
def test_a_script_that_cannot_be_started_is_a_failed_attempt(scripts: Scripts, first: str) -> None:
    result = scripts.run(first)

    assert result.status == "failed"
    assert "cannot be started" in result.attempts[0].stderr


def test_the_world_of_a_script_is_clean(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    text = (
        "#!/usr/bin/env python3\n"
        "import json, os, signal, sys\n"
        "mask = os.umask(0)\n"
        "ignored = [n for n in range(1, 32) if signal.getsignal(n) is signal.SIG_IGN]\n"
        "blocked = [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])]\n"
        "fds = sorted(os.listdir('/proc/self/fd'))\n"
        "print(json.dumps([dict(os.environ), os.getcwd(), mask, ignored, blocked, fds,\n"
        "    os.getsid(0) == os.getpgid(0) == os.getpid(), sys.stdin.read(), os.getuid()]))\n"
    )
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    descriptor = os.open("/", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        result = scripts.run(text, env={"QUIESCE_SESSION": "s", "QUIESCE_PHASE": "pre"})
        assert os.umask(before) == 0o022
        assert Path.cwd() == tmp_path
    finally:
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, ignored)

    env, cwd, mask, ignoring, blocking, fds, leads, stdin, uid = json.loads(
        result.attempts[0].stdout
    )
    env.pop("LC_CTYPE", None)
    assert env.pop("QUIESCE_TIMEOUT_S") in {"29", "30"}  # whole seconds of what is left
    assert env == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "QUIESCE_SESSION": "s",
        "QUIESCE_PHASE": "pre",
        "QUIESCE_ATTEMPT": "1",
    }
    assert (cwd, mask, stdin, uid) == ("/", 0o077, "", 0)
    assert signal.SIGHUP not in ignoring
    assert blocking == []
    assert fds == ["0", "1", "2", "3"]  # the third is the listing's own
    assert leads is True


@pytest.mark.parametrize("good", [1, 2, 3, 4, None])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_failed_attempt_is_followed_by_another_until_the_retries_are_used_up(
    scripts: Scripts, retries: int, good: int | None
) -> None:
    result = scripts.run(
        "#!/bin/sh\necho attempt $QUIESCE_ATTEMPT\n"
        f'echo x >>HOME/count; [ "$QUIESCE_ATTEMPT" = "{good}" ]\n',
        retries=retries,
    )
    runs = min(retries + 1, good or retries + 1)

    assert scripts.left("count") == "x\n" * runs
    assert [attempt.stdout for attempt in result.attempts] == [
        f"attempt {number}\n" for number in range(1, runs + 1)
    ]
    assert result.status == ("ok" if good is not None and good <= retries + 1 else "failed")


def test_all_attempts_share_one_deadline(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\necho x >>HOME/count; exit 1\n", retries=1000, timeout_s=2.5)

    assert result.status == "failed"
    assert len(result.attempts) == 3  # pauses of 0, 1 and 2 s; the last one is too long
    assert scripts.left("count") == "x\n" * 3


def test_the_time_left_is_told_to_each_attempt(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\necho $QUIESCE_TIMEOUT_S; exit 1\n", retries=2, timeout_s=20)
    first, second, third = (int(attempt.stdout) for attempt in result.attempts)

    assert first in {19, 20}
    assert second <= first
    assert third < second


@pytest.mark.parametrize("position", [1, 2, 3])
def test_trust_is_checked_again_before_each_attempt(scripts: Scripts, position: int) -> None:
    path = scripts.write("#!/bin/sh\necho x >>HOME/count; exit 1\n")
    checks = itertools.count(1)

    def check(spec: ScriptSpec) -> None:
        if next(checks) == position:
            raise QuiesceError("InsufficientPermissionforPre-Script", "no longer root's alone")

    result = run_script(ScriptSpec("pre", str(path), (), 5, LIMIT_S), env={}, check=check)

    assert result.status == "refused"
    assert len(result.attempts) == position - 1
    assert result.error is not None
    refused, failed = "InsufficientPermissionforPre-Script", "Pre-ScriptExecutionFailed"
    assert result.error.name == (refused if position == 1 else failed)
    assert (scripts.home / "count").exists() is (position > 1)


def test_a_script_that_spoils_its_own_mode_is_not_run_again(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\nchmod 777 HOME/script; exit 1\n", retries=3)

    assert result.status == "refused"
    assert len(result.attempts) == 1


@pytest.mark.parametrize("phase", ["pre", "post"])
def test_a_script_that_takes_too_long_is_ended_and_counts_as_timed_out(
    scripts: Scripts, phase: str
) -> None:
    result = scripts.run(
        f"#!/bin/sh\necho $$ >HOME/pid; echo begun; exec sleep {LONG}\n",
        retries=5,
        timeout_s=0.5,
        phase=phase,
    )

    assert result.status == "timeout"
    assert result.error is not None
    assert result.error.name == f"{phase.capitalize()}-ScriptTimeout"
    [attempt] = result.attempts
    assert (attempt.timed_out, attempt.signal, attempt.stdout) == (True, signal.SIGTERM, "begun\n")
    assert not is_alive(scripts.pid("pid"))


def test_a_script_may_clean_up_in_the_grace_and_still_counts_as_timed_out(
    scripts: Scripts,
) -> None:
    result = scripts.run(
        f"#!/bin/sh\ntrap 'echo cleaned; exit 0' TERM\nsleep {LONG} & echo $! >HOME/pid; wait\n",
        timeout_s=0.5,
    )

    assert result.status == "timeout"
    assert result.attempts[0].stdout == "cleaned\n"
    assert result.attempts[0].exit_status == 0
    assert not is_alive(scripts.pid("pid"))


STUBBORN = {
    "a child": f"sh -c \"trap '' TERM; echo \\$\\$ >HOME/pid; sleep {LONG}; sleep {LONG}\"\n",
    "in its own session": (
        f"setsid sh -c \"trap '' TERM; echo \\$\\$ >HOME/pid; sleep {LONG}; :\" &\nwait\n"
    ),
    "an orphan in its own session": (
        f"(setsid sh -c \"trap '' TERM; echo \\$\\$ >HOME/pid; sleep {LONG}\" &)\nsleep {LONG}\n"
    ),
    "a grandchild of an orphan": (
        f"(setsid sh -c \"trap '' TERM; (sh -c 'echo \\$\\$ >HOME/pid; exec sleep {LONG}' &);"
        f' sleep {LONG}" &)\nsleep {LONG}\n'
    ),
    "stopped": f"sleep {LONG} & echo $! >HOME/pid; kill -STOP $!; kill -STOP $$\n",
}


@pytest.mark.parametrize("kind", sorted(STUBBORN))
def test_no_process_of_a_script_that_timed_out_is_left(scripts: Scripts, kind: str) -> None:
    before = children()
    result = scripts.run("#!/bin/sh\ntrap '' TERM\n" + STUBBORN[kind], timeout_s=1.0)

    assert result.status == "timeout"
    assert not is_alive(scripts.pid("pid"))
    assert children() == before


def test_processes_that_breed_are_all_ended(scripts: Scripts) -> None:
    before = children()
    result = scripts.run(
        "#!/bin/sh\ntrap '' TERM\nbreed() { sleep 0.05; (breed &); (sleep 600 &); }\n"
        f"breed; sleep {LONG}\n",
        timeout_s=1.0,
    )

    assert result.status == "timeout"
    assert children() == before


@pytest.mark.parametrize("leave", ["sleep 600 &", "(setsid sleep 600 &)", "nohup sleep 600 &"])
def test_a_daemon_that_a_successful_script_leaves_lives_on_and_is_not_waited_for(
    scripts: Scripts, leave: str
) -> None:
    leave = leave.replace("sleep", "sh -c 'echo $$ >HOME/pid; exec sleep 600'").replace(
        " 600 ", " "
    )
    result = scripts.run(f"#!/bin/sh\n{leave}\n")

    assert result.status == "ok"
    assert is_alive(scripts.pid("pid"))


def test_a_daemon_may_go_on_writing_to_the_output_that_it_inherited(scripts: Scripts) -> None:
    result = scripts.run(
        "#!/bin/sh\n"
        "(while [ ! -e HOME/end ]; do head -c 100000 /dev/zero; echo x >>HOME/written; done\n"
        " echo done >HOME/ended) &\n"
    )
    wait_for((scripts.home / "written").exists)
    size = len(scripts.left("written"))
    wait_for(lambda: len(scripts.left("written")) > size + 20)
    (scripts.home / "end").touch()
    wait_for((scripts.home / "ended").exists)

    assert result.status == "ok"


def test_a_daemon_of_an_earlier_script_survives_the_timeout_of_a_later_one(
    scripts: Scripts,
) -> None:
    scripts.run("#!/bin/sh\nsetsid sleep 600 >/dev/null 2>&1 &\necho $! >HOME/pid\n")
    daemon = scripts.pid("pid")
    result = scripts.run(f"#!/bin/sh\nsleep {LONG}\n", timeout_s=0.3)

    assert result.status == "timeout"
    assert is_alive(daemon)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_all_that_a_script_prints_is_drained_and_the_last_64_kib_are_kept(
    scripts: Scripts, stream: str
) -> None:
    redirect = " >&2" if stream == "stderr" else ""
    result = scripts.run(
        f"#!/bin/sh\nhead -c 5000000 /dev/zero | tr '\\0' x{redirect}\necho end{redirect}\n"
    )
    kept = getattr(result.attempts[0], stream)

    assert result.status == "ok"
    assert len(kept) == 64 * 1024
    assert kept.endswith("xxxend\n")


def test_a_script_that_floods_its_output_is_still_ended_in_time(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\nexec cat /dev/zero\n", timeout_s=0.5)

    assert result.status == "timeout"


def test_output_that_is_not_utf_8_is_kept_as_well_as_it_can_be(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\nprintf 'a\\377b'\n")

    assert result.attempts[0].stdout == "a\ufffdb"


def test_a_script_that_closes_its_output_is_waited_for_all_the_same(scripts: Scripts) -> None:
    result = scripts.run("#!/bin/sh\nexec >&- 2>&-\nsleep 0.3\necho x >HOME/end\nexit 4\n")

    assert result.attempts[0].exit_status == 4
    assert scripts.left("end") == "x\n"


class StopError(BaseException):
    """What the handler of a signal raises."""


@pytest.mark.parametrize("wait", ["running", "pausing"])
def test_where_a_signal_handler_raises_the_script_is_killed_first(
    scripts: Scripts, wait: str
) -> None:
    def stop(_number: int, _frame: object) -> None:
        raise StopError

    text = (
        f"#!/bin/sh\necho $$ >HOME/pid\n(setsid sleep {LONG} & echo $! >HOME/second)\nsleep 600\n"
        if wait == "running"
        else "#!/bin/sh\necho $$ >HOME/pid; echo $$ >HOME/second; exit $((QUIESCE_ATTEMPT < 9))\n"
    )
    before, was = children(), signal.signal(signal.SIGUSR1, stop)
    me = threading.get_ident()

    def interrupt() -> None:
        scripts.pid("second")
        if wait == "pausing":
            wait_for(lambda: len(set(scripts.started)) > 0 and not is_alive(scripts.pid("pid")))
        signal.pthread_kill(me, signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(StopError):
            scripts.run(text, retries=100)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, was)

    assert not is_alive(scripts.pid("pid"))
    assert not is_alive(scripts.pid("second"))
    assert children() == before


def test_running_scripts_leaves_no_descriptor_and_no_child(scripts: Scripts) -> None:
    before, family = sorted(os.listdir("/proc/self/fd")), children()
    scripts.run("#!/bin/sh\nexit 0\n")
    scripts.run("#!/bin/sh\nexit 1\n", retries=1)
    scripts.run("#!/no/such\n")
    scripts.run(f"#!/bin/sh\nsleep {LONG}\n", timeout_s=0.2)

    assert sorted(os.listdir("/proc/self/fd")) == before
    assert children() == family


@pytest.mark.parametrize("watch", [pipes.watch, pipes.watch_by_thread])
def test_the_end_of_a_child_is_noticed_and_the_child_is_left_to_be_reaped(
    watch: Callable[[int], int],
) -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
    end = watch(pid)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        assert poll.poll(LIMIT_S * 1000) != []
    finally:
        os.close(end)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
