"""The control groups of scripts: real ones of this machine, as root."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guest_box import state_of, wait_until
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.scripts import script_cgroup
from quiesce.guest.scripts.launch import prepare
from quiesce.guest.scripts.script import run_script
from quiesce.guest.scripts.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

BOMB = (
    "#!/usr/bin/env python3\n"
    "import os, signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "while True:\n"
    "    try:\n"
    "        if os.fork() == 0:\n"
    "            os.setsid()\n"
    "    except OSError:\n"
    "        open('HOME/bounded', 'w').close()\n"
)
# Never many at a time, but gone before anybody has looked: each goes on in a child of its own.
RUNNERS = (
    "#!/usr/bin/env python3\n"
    "import os, signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "for _ in range(20):\n"
    "    if os.fork() == 0:\n"
    "        while True:\n"
    "            os.setsid()\n"
    "            if os.fork():\n"
    "                os._exit(0)\n"
    "signal.pause()\n"
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="quiesce-cgroup-", dir="/root"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def session() -> Iterator[str]:
    name = f"test{os.getpid()}x{time.monotonic_ns()}"
    yield name
    for group in groups(name):
        script_cgroup.ScriptCgroup((str(group),)).kill()
        group.rmdir()


def spec_of(home: Path, text: str, *, timeout_s: float = 30.0, phase: str = "pre") -> ScriptSpec:
    path = home / "script"
    path.write_text(text.replace("HOME", str(home)))
    path.chmod(0o700)
    return ScriptSpec(phase, str(path), (), 0, timeout_s)


def groups(session: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/quiesce-script-{session}-*"))


def test_a_script_runs_in_control_groups_of_its_own_that_bound_it(home: Path, session: str) -> None:
    spec = spec_of(
        home,
        "#!/bin/sh\ncat /proc/self/cgroup; cat $(find /sys/fs/cgroup -maxdepth 3"
        f" -path '*quiesce-script-{session}-pre*/pids.max')\n",
    )

    result = run_script(spec, env={"QUIESCE_SESSION": session})

    said = result.attempts[0].stdout.splitlines()
    assert any(f"/quiesce-script-{session}-pre-" in line for line in said)
    assert said[-1] == "4096"
    assert groups(session) == []


def test_who_forks_for_ever_is_bounded_and_ended_to_the_last_process(
    home: Path, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_cgroup, "MOST_PROCESSES", 300)
    spec = spec_of(home, BOMB, timeout_s=1.5)

    result = run_script(spec, env={"QUIESCE_SESSION": session})

    assert result.status == "timeout"
    assert (home / "bounded").exists(), "the bomb was never stopped from forking"
    script_cgroup.sweep()
    assert groups(session) == []


def test_the_control_group_alone_ends_it_too(home: Path, session: str) -> None:
    """As where an engine is dead: nobody is the parent of what it left."""
    spec = spec_of(home, BOMB)
    starter = prepare(spec, session=session)
    starter.go({"PATH": os.environ["PATH"]})
    wait_until(lambda: len(starter.cgroup.members()) > 50)

    assert script_cgroup.running(session, "pre").kill() == 0

    assert starter.cgroup.members() == set()
    starter.drop()


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_script_leaves_behind_keeps_the_control_group_without_a_bound(
    home: Path, session: str, status: int
) -> None:
    spec = spec_of(home, f"#!/bin/sh\nsetsid sleep 600 >/dev/null 2>&1 &\nexit {status}\n")

    run_script(spec, env={"QUIESCE_SESSION": session})

    [daemon] = script_cgroup.left_behind(session).members()
    assert all(
        bound.read_text() == "max\n" for path in groups(session) for bound in path.glob("pids.max")
    )
    assert script_cgroup.running(session, "pre").members() == set()
    script_cgroup.sweep()
    assert state_of(daemon) != "Z"
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: state_of(daemon) == "Z")
    script_cgroup.sweep()
    assert groups(session) == []


def test_a_prepared_script_runs_when_it_is_told_and_is_bounded_from_its_first_moment(
    home: Path, session: str
) -> None:
    spec = spec_of(home, "#!/bin/sh\necho too early\n", phase="post")
    scripts = Scripts(session)
    scripts.prepare([spec])
    assert len(script_cgroup.running(session, "post").members()) == 1
    spec_of(home, "#!/bin/sh\necho $QUIESCE_SNAPSHOT $QUIESCE_SESSION\n")

    result = scripts.run(spec, {"QUIESCE_SNAPSHOT": "taken"})

    assert result.attempts[0].stdout == f"taken {session}\n"
    assert groups(session) == []


def test_a_prepared_script_that_is_not_wanted_never_runs(home: Path, session: str) -> None:
    spec = spec_of(home, "#!/bin/sh\ntouch HOME/ran\n")
    scripts = Scripts(session)
    scripts.prepare([spec])
    [waiting] = script_cgroup.running(session, "pre").members()

    scripts.close()

    assert state_of(waiting) == "Z"
    assert not (home / "ran").exists()
    assert groups(session) == []


def test_a_prepared_script_whose_process_was_killed_runs_in_another(
    home: Path, session: str
) -> None:
    spec = spec_of(home, "#!/bin/sh\nexit 0\n")
    scripts = Scripts(session)
    scripts.prepare([spec])
    [waiting] = script_cgroup.running(session, "pre").members()
    os.kill(waiting, signal.SIGKILL)
    wait_until(lambda: state_of(waiting) == "Z")

    assert scripts.run(spec, {}).status == "ok"


def test_a_prepared_script_ends_unstarted_where_the_one_who_prepared_it_dies(
    home: Path, session: str
) -> None:
    spec = spec_of(home, "#!/bin/sh\ntouch HOME/ran\n")
    pid = os.fork()
    if pid == 0:
        try:
            Scripts(session).prepare([spec])
        finally:
            os._exit(0)
    os.waitpid(pid, 0)

    wait_until(lambda: script_cgroup.running(session, "pre").members() == set())
    assert not (home / "ran").exists()


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_cgroup, "HIERARCHIES", str(tmp_path))


@pytest.mark.usefixtures("without")
def test_without_control_groups_a_script_is_ended_by_its_descent(home: Path, session: str) -> None:
    spec = spec_of(
        home,
        "#!/bin/sh\ntrap '' TERM\n(setsid sleep 600 & echo $! >HOME/pid)\nsleep 600\n",
        timeout_s=0.5,
    )

    result = run_script(spec, env={"QUIESCE_SESSION": session})

    assert result.status == "timeout"
    assert state_of(int((home / "pid").read_text())) == "Z"


@pytest.mark.parametrize("only", ["unified", "pids", "systemd"])
def test_one_hierarchy_is_enough(
    home: Path, session: str, only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this machine has it: on others the one at /sys/fs/cgroup is all there is."""
    root = Path("/sys/fs/cgroup")
    places = (root / only, root / "unified", root)
    here = tmp_path / only
    here.symlink_to(next(each for each in places if (each / "cgroup.procs").exists()))
    monkeypatch.setattr(script_cgroup, "HIERARCHIES", str(tmp_path))
    spec = spec_of(home, RUNNERS, timeout_s=0.5)

    result = run_script(spec, env={"QUIESCE_SESSION": session})

    assert result.status == "timeout"
    assert groups(session) == []
