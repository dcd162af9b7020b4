"""Scripts that misbehave in every way: the level is what the table says, and all is released."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

HANG = "sleep 600; sleep 600"
FORKS_FOR_EVER = """exec python3 -c '
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        open("/run/bounded", "w").close()
        signal.pause()
'"""
MOST = 500
GOOD = {
    "closes its pipes": "exec >&- 2>&-; exit 0",
    "prints 1 GiB": "head -c 1G /dev/zero",
    "removes itself": 'rm "$0"',
    "changes its own mode": 'chmod 666 "$0"',
    "makes itself another's": 'chown 65534 "$0"',
    "hands over what nobody can read": "rm $QUIESCE_FACTS; mkfifo $QUIESCE_FACTS",
    "makes a directory of what it hands over": "rm $QUIESCE_FACTS; mkdir $QUIESCE_FACTS",
    "hands over without end": "head -c 1M /dev/zero >>$QUIESCE_FACTS",
    "leaves a process behind": "setsid sleep 600 &",
}
ENDLESS = {
    "ignores SIGTERM": f"trap '' TERM; {HANG}",
    "closes its pipes and hangs": f"exec >&- 2>&-; {HANG}",
    "stops itself": "kill -STOP $$",
    "prints for ever": "exec cat /dev/zero",
    "hides what it starts": f"trap '' TERM; (setsid sh -c \"trap '' TERM; {HANG}\" &); {HANG}",
    "forks for ever": FORKS_FOR_EVER,
}
SPOILT = {
    "removes itself": ('rm "$0"', "there is no"),
    "changes its own mode": ('chmod 777 "$0"', "it has mode 0777"),
    "makes itself another's": ('chown 65534 "$0"', "it belongs to uid 65534"),
}


def run(box: Box) -> tuple[int, dict[str, Any]]:
    done = box.run("exec", "--json", "--disks", "2", "--", "true")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def names(report: dict[str, Any]) -> list[str]:
    return [error["name"] for error in report["errors"]]


@pytest.mark.parametrize(
    ("kind", "phase"),
    [(kind, "pre") for kind in sorted(GOOD)]
    + [("removes itself", "post"), ("closes its pipes", "post")],
)
def test_whatever_a_script_does_if_it_ends_with_0_the_session_is_complete(
    box: Box, kind: str, phase: str
) -> None:
    box.mount("/mnt/a")
    box.configure(**{phase: GOOD[kind]})

    status, report = run(box)

    assert (status, report["consistency"], report["outcome"]) == (0, "application", "complete")
    assert names(report) == []
    assert box.scripts_ran() == ["pre  ", "post ok taken"]
    if "process" in kind:
        left = [path for each in box.cgroups for path in each.glob("quiesce-script-*")]
        assert any((path / "cgroup.procs").read_text() for path in left), "it was ended"
        box.shell(
            "kill $(cat /sys/fs/cgroup/quiesce-script-*/cgroup.procs"
            " /sys/fs/cgroup/*/quiesce-script-*/cgroup.procs)"
        )
    box.assert_at_peace()


@pytest.mark.parametrize(
    ("kind", "phase"),
    [(kind, "pre") for kind in sorted(ENDLESS)]
    + [("forks for ever", "post"), ("ignores SIGTERM", "post")],
)
def test_a_script_that_does_not_end_is_ended_with_all_that_came_from_it(
    box: Box, kind: str, phase: str
) -> None:
    for cgroup in box.cgroups:
        if (cgroup / "pids.max").exists():
            (cgroup / "pids.max").write_text(str(MOST))
    box.mount("/mnt/a")
    box.configure(**{phase: ENDLESS[kind]}, timeoutInSeconds=0.5)

    status, report = run(box)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == [f"{phase.capitalize()}-ScriptTimeout"]
    pre = "timeout" if phase == "pre" else "ok"
    assert box.scripts_ran() == ["pre  ", f"post {pre} taken"]
    assert (box.root / "run/bounded").exists() is ("forks" in kind)
    box.assert_at_peace()


@pytest.mark.parametrize(
    ("kind", "phase"),
    [(kind, "pre") for kind in sorted(SPOILT)] + [("changes its own mode", "post")],
)
def test_a_script_that_spoils_itself_and_fails_is_not_run_again(
    box: Box, kind: str, phase: str
) -> None:
    body, why = SPOILT[kind]
    box.mount("/mnt/a")
    box.configure(**{phase: f"{body}; exit 1", f"{phase}ScriptNoOfRetries": 3})

    status, report = run(box)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == [f"{phase.capitalize()}-ScriptExecutionFailed"]
    assert "it was not run again" in report["errors"][0]["message"]
    assert why in report["errors"][0]["message"]
    pre = "failed" if phase == "pre" else "ok"
    assert box.scripts_ran() == ["pre  ", f"post {pre} taken"]
    box.assert_at_peace()


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        ("chmod 777 /etc/quiesce/scripts/post", "InsufficientPermissionforPost-Script"),
        ("chown 65534 /etc/quiesce/scripts", "InsufficientPermissionforPost-Script"),
        ("rm /etc/quiesce/scripts/post", "Post-ScriptNotFound"),
    ],
)
def test_row_17_a_pre_script_that_spoils_the_post_script_keeps_it_from_running(
    box: Box, spoil: str, name: str
) -> None:
    box.mount("/mnt/a")
    box.configure(pre=spoil)

    status, report = run(box)

    assert (status, report["consistency"], report["outcome"]) == (3, "filesystem", "degraded")
    assert names(report) == [name]
    assert box.scripts_ran() == ["pre  "]
    box.assert_at_peace()
