"""Kill session, watchdog or both, at each step: nothing stays frozen, nothing stays held."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from guest_box import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from guest_box import Box

pytestmark = pytest.mark.faults

HOOK = "/etc/quiesce/qga-hook"


def names(report: dict[str, object]) -> list[str]:
    errors = report["errors"]
    assert isinstance(errors, list)
    return [error["name"] for error in errors]


def kill(*pids: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to all of *pids* at one instant: none of them sees another one's death."""
    for sent in (signal.SIGSTOP, number) if len(pids) > 1 else (number,):
        for pid in pids:
            os.kill(pid, sent)


def is_over(box: Box) -> Callable[[], bool]:
    return lambda: box.record() is None


@pytest.fixture
def machine(box: Box) -> Box:
    box.mount("/mnt/a")
    box.mount("/mnt/b", "xfs")
    box.configure()
    return box


def test_a_killed_engine_of_a_running_command_is_replaced_by_the_watchdog(machine: Box) -> None:
    process = machine.start("exec", "--", "sh", "-c", "echo $$ >/run/command; sleep 600")
    wait_until((machine.root / "run/command").exists)
    wait_until(lambda: machine.read("/run/command") != "")

    process.kill()
    process.communicate(timeout=60)
    wait_until(is_over(machine))

    assert not machine.is_frozen("/mnt/a")
    assert not machine.is_frozen("/mnt/b")
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    report = machine.report()
    assert names(report) == ["FreezeWindowExpired"]
    assert report["snapshot"]["taken"] is None
    assert report["window"]["frozen_s"] is None
    state = machine.shell("cat /proc/$(cat /run/command)/stat | cut -d' ' -f3").stdout.strip()
    assert state in {"", "Z"}, "the command lives on"


def test_a_killed_session_is_replaced_by_the_watchdog(machine: Box) -> None:
    machine.run("hold")
    session, _watchdog = machine.guards()

    kill(session)
    wait_until(is_over(machine))

    assert not machine.is_frozen("/mnt/a")
    assert not machine.is_frozen("/mnt/b")
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    assert names(machine.report()) == ["FreezeWindowExpired"]
    assert machine.run("release").returncode == 10


def test_a_post_script_whose_session_is_killed_runs_again_and_the_report_says_so(
    machine: Box,
) -> None:
    machine.configure(post="[ -e /run/once ] || { touch /run/once; sleep 600; }")
    process = machine.start("exec", "--", "true")
    wait_until((machine.root / "run/once").exists)

    process.kill()
    process.communicate(timeout=60)
    wait_until(is_over(machine))

    assert machine.scripts_ran() == ["pre  ", "post ok taken", "post ok taken"]
    report = machine.report()
    assert (report["consistency"], names(report)) == ("application", [])
    assert any("may have run twice" in each for each in report["warnings"])


@pytest.mark.parametrize("words", [("hook", "qga", "freeze"), ("hold",)])
def test_where_the_session_dies_while_it_holds_its_caller_hears_of_it_when_all_is_released(
    machine: Box, words: tuple[str, ...]
) -> None:
    machine.configure(pre="sleep 600", post="sleep 0.5; echo released >>/run/scripts.log; exit 1")
    process = machine.start(*words)
    wait_until(lambda: machine.scripts_ran() != [])

    kill(machine.guards()[0])
    process.communicate(timeout=60)

    assert process.returncode == 3
    assert machine.scripts_ran() == ["pre  ", "post failed not-taken", "released"]
    report = machine.report()
    assert names(report) == ["GuardUnavailable"]
    assert [warning.partition(":")[0] for warning in report["warnings"]] == [
        "Interrupted",
        "Post-ScriptExecutionFailed",
    ]
    machine.assert_at_peace()


def test_a_killed_watchdog_ends_the_window_at_once(machine: Box) -> None:
    machine.run("hold")
    _session, watchdog = machine.guards()

    kill(watchdog)
    wait_until(is_over(machine))

    assert not machine.is_frozen("/mnt/a")
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    assert names(machine.report()) == ["FreezeWindowExpired"]


def test_when_both_are_killed_the_freezers_thaw_and_the_next_command_releases(
    machine: Box,
) -> None:
    machine.run("hold")

    kill(*machine.guards())
    wait_until(lambda: not machine.is_frozen("/mnt/a") and not machine.is_frozen("/mnt/b"))
    assert machine.scripts_ran() == ["pre  "]
    machine.run("exec", "--no-freeze", "--", "true")

    assert machine.scripts_ran()[:2] == ["pre  ", "post ok unknown"]
    assert machine.record() is None


def test_a_stopped_session_is_ended_at_the_deadline(machine: Box) -> None:
    machine.run("hold", "--deadline", "1")
    session, _watchdog = machine.guards()

    kill(session, number=signal.SIGSTOP)
    wait_until(is_over(machine))

    assert not machine.is_frozen("/mnt/a")
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]


def test_a_stopped_watchdog_does_not_lengthen_the_window(machine: Box) -> None:
    machine.run("hold", "--deadline", "1")
    _session, watchdog = machine.guards()

    kill(watchdog, number=signal.SIGSTOP)
    try:
        wait_until(lambda: "post ok unknown" in machine.scripts_ran())
        assert not machine.is_frozen("/mnt/a")
    finally:
        kill(watchdog, number=signal.SIGCONT)
    assert names(machine.report()) == ["FreezeWindowExpired"]


def test_with_both_stopped_the_freezers_thaw(machine: Box) -> None:
    machine.run("hold", "--deadline", "1")
    guards = machine.guards()

    kill(*guards, number=signal.SIGSTOP)
    try:
        wait_until(lambda: not machine.is_frozen("/mnt/a") and not machine.is_frozen("/mnt/b"))
    finally:
        kill(*guards, number=signal.SIGCONT)
    wait_until(is_over(machine))


def test_an_engine_killed_during_the_pre_script_is_released_by_the_watchdog(
    machine: Box,
) -> None:
    machine.configure(pre="sleep 600")
    process = machine.start("exec", "--", "true")
    wait_until(lambda: machine.scripts_ran() == ["pre  "])

    process.kill()
    process.communicate(timeout=60)
    wait_until(is_over(machine))

    assert machine.scripts_ran() == ["pre  ", "post failed not-taken"]
    assert names(machine.report()) == ["Interrupted"]


def test_a_session_killed_during_the_post_script_is_released_by_the_watchdog(
    machine: Box,
) -> None:
    machine.configure(post="[ -e /run/second ] || { touch /run/second; sleep 600; }")
    machine.run("hold")
    release = machine.start("release", "--snapshot", "taken")
    wait_until((machine.root / "run/second").exists)

    kill(machine.guards()[0])
    release.communicate(timeout=60)
    wait_until(is_over(machine))

    assert machine.scripts_ran() == ["pre  ", "post ok taken", "post ok taken"]
    assert machine.report()["outcome"] == "complete"


def freeze_through_the_door(machine: Box) -> None:
    machine.run("install", "qga")
    assert machine.shell(f"{HOOK} freeze").returncode == 0
    machine.freeze("/mnt/a")
    machine.freeze("/mnt/b")


def test_through_the_door_a_killed_session_is_replaced_and_the_late_thaw_hears_it(
    machine: Box,
) -> None:
    freeze_through_the_door(machine)

    kill(machine.guards()[0])
    wait_until(lambda: "post ok unknown" in machine.scripts_ran())
    assert not machine.is_frozen("/mnt/a")
    assert not machine.is_frozen("/mnt/b")

    assert machine.shell(f"{HOOK} thaw").returncode == 3
    assert names(machine.report()) == ["FreezeWindowExpired"]


def test_through_the_door_a_killed_watchdog_ends_the_window(machine: Box) -> None:
    freeze_through_the_door(machine)

    kill(machine.guards()[1])
    wait_until(lambda: "post ok unknown" in machine.scripts_ran())
    assert not machine.is_frozen("/mnt/a")
    assert not machine.is_frozen("/mnt/b")

    assert machine.shell(f"{HOOK} thaw").returncode == 3


def test_through_the_door_the_death_of_both_is_status_5_and_everything_is_released(
    machine: Box,
) -> None:
    freeze_through_the_door(machine)

    kill(*machine.guards())
    wait_until(lambda: not machine.is_frozen("/mnt/a") and not machine.is_frozen("/mnt/b"))

    assert machine.shell(f"{HOOK} thaw").returncode == 5
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    assert names(machine.report()) == ["FreezeWindowExpired"]
    assert machine.shell(f"{HOOK} thaw").returncode == 0


def test_a_session_killed_before_the_door_froze_does_not_leave_the_late_freeze(
    machine: Box,
) -> None:
    machine.run("install", "qga")
    assert machine.shell(f"{HOOK} freeze").returncode == 0

    kill(machine.guards()[0])
    wait_until(lambda: "post ok unknown" in machine.scripts_ran())
    machine.freeze("/mnt/a")

    wait_until(lambda: not machine.is_frozen("/mnt/a"))
    assert machine.shell(f"{HOOK} thaw").returncode == 3


def test_the_kernel_need_not_hurry_any_more_after_a_death(machine: Box) -> None:
    machine.run("hold")

    kill(machine.guards()[0])
    wait_until(is_over(machine))

    # Others on this machine may have it on for a moment, now and then.
    wait_until(lambda: machine.read("/sys/kernel/rcu_expedited").strip() == "0")


def test_that_the_kernel_hurries_is_written_down_before_it_does(machine: Box) -> None:
    machine.shell("mkfifo /run/switch && mount --bind /run/switch /sys/kernel/rcu_expedited")
    hold = machine.start("hold")
    assert machine.shell("timeout 60 sh -c 'echo 0 >/run/switch'").returncode == 0
    # Nobody reads the switch, so the engine waits where it switches it on.
    wait_until(lambda: (machine.record() or {}).get("hurried") is True)

    kill(machine.guards()[0])

    assert machine.shell("timeout 60 cat /run/switch").stdout == "0", "it was not switched off"
    hold.communicate(timeout=60)
    wait_until(is_over(machine))


def test_a_hold_whose_caller_has_died_meanwhile_is_released(machine: Box) -> None:
    machine.configure(pre="while [ ! -e /run/go ]; do sleep 0.05; done")
    caller = machine.start("hold")
    wait_until(lambda: machine.scripts_ran() == ["pre  "])

    caller.kill()
    caller.communicate(timeout=60)
    machine.write("/run/go", "")
    wait_until(is_over(machine))

    assert machine.scripts_ran() == ["pre  ", "post ok not-taken"]
    assert not machine.is_frozen("/mnt/a")
    report = machine.report()
    assert (report["outcome"], report["consistency"]) == ("aborted", "none")


def test_a_terminated_session_thaws_releases_and_says_so(machine: Box) -> None:
    """As when the machine shuts down."""
    freeze_through_the_door(machine)

    kill(machine.guards()[0], number=signal.SIGTERM)
    wait_until(is_over(machine))

    assert not machine.is_frozen("/mnt/a")
    assert not machine.is_frozen("/mnt/b")
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    assert names(machine.report()) == ["FreezeWindowExpired", "Interrupted"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_watchdog_changes_nothing(machine: Box, number: signal.Signals) -> None:
    machine.run("hold")
    _session, watchdog = machine.guards()

    kill(watchdog, number=number)

    assert machine.is_frozen("/mnt/a")
    assert machine.run("release", "--snapshot", "taken").returncode == 0
    assert machine.report()["consistency"] == "application"


def test_two_dead_sessions_in_a_row_are_each_released_and_reported(machine: Box) -> None:
    for _ in range(2):
        assert machine.run("hold").returncode == 0
        kill(*machine.guards())
        wait_until(lambda: not machine.is_frozen("/mnt/a"))
    machine.run("thaw")

    assert machine.scripts_ran() == ["pre  ", "post ok unknown"] * 2
    assert len(list((machine.root / "var/log/quiesce/reports").iterdir())) == 2


def test_a_stopped_engine_is_ended_at_the_deadline(machine: Box) -> None:
    process = machine.start("exec", "--deadline", "1", "--", "sh", "-c", "echo >/run/on; sleep 600")
    wait_until((machine.root / "run/on").exists)

    kill(process.pid, number=signal.SIGSTOP)
    wait_until(lambda: not machine.is_frozen("/mnt/a") and not machine.is_frozen("/mnt/b"))
    process.communicate(timeout=60)

    machine.assert_at_peace()
    assert machine.scripts_ran() == ["pre  ", "post ok unknown"]
    assert names(machine.report()) == ["FreezeWindowExpired"]


def test_a_second_exec_at_the_same_time_is_refused_and_the_first_one_goes_on(machine: Box) -> None:
    machine.configure(pre="while [ ! -e /run/go ]; do sleep 0.05; done")
    first = machine.start("exec", "--json", "--", "true")
    wait_until(lambda: machine.scripts_ran() == ["pre  "])

    second = machine.run("exec", "--", "touch", "/run/taken")
    machine.write("/run/go", "")
    said, _ = first.communicate(timeout=60)

    assert second.returncode == 9
    assert "AlreadyHeld" in second.stderr
    assert not (machine.root / "run/taken").exists()
    assert (first.returncode, json.loads(said)["consistency"]) == (0, "application")
    assert machine.scripts_ran() == ["pre  ", "post ok taken"]


def test_of_many_at_once_each_is_complete_or_refused(machine: Box) -> None:
    many = [machine.start("exec", "--", "sh", "-c", "echo snapshot >>/run/taken") for _ in range(8)]
    for each in many:
        each.communicate(timeout=120)

    complete = [each.returncode for each in many].count(0)
    assert {each.returncode for each in many} <= {0, 9}
    assert complete > 0
    assert machine.read("/run/taken").count("snapshot") == complete
    assert machine.scripts_ran() == ["pre  ", "post ok taken"] * complete
    machine.assert_at_peace()
