"""Run one script: attempts, one deadline, nobody left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest import trust
from quiesce.guest.family import gathered
from quiesce.guest.launch import PATH, launch
from quiesce.guest.pipes import Pipes
from quiesce.model.report import Attempt
from quiesce.system.deadline import Deadline
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.guest.family import Family
    from quiesce.guest.settings import ScriptSpec

_GRACE_S = 2.0
_LOOK_AGAIN_S = 0.05
_ROUNDING_S = 0.1
_SAID_CHARACTERS = 200
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_CLEAN = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root"}


@dataclass(frozen=True)
class ScriptResult:
    """How a script ended: *status* is ok, failed, timeout or refused.

    Refused without attempts means that it was never started.
    """

    status: str
    attempts: tuple[Attempt, ...]
    error: QuiesceError | None


def run_script(
    spec: ScriptSpec,
    *,
    env: Mapping[str, str],
    check: Callable[[ScriptSpec], None] = trust.check_script,
) -> ScriptResult:
    """Run *spec* until it succeeds, its retries are used up or its time is over.

    *env* is added to a clean environment; QUIESCE_ATTEMPT and QUIESCE_TIMEOUT_S are added here.
    Trust is checked right before each attempt. A script that runs out of time is ended with all
    that came from it; what a successful one leaves behind lives on. If a signal handler raises
    meanwhile, the script and all its descendants are killed and reaped first.
    """
    deadline = Deadline.after(spec.timeout_s)
    attempts: list[Attempt] = []
    while True:
        try:
            check(spec)
        except QuiesceError as exc:
            return ScriptResult("refused", tuple(attempts), exc)
        attempts.append(_attempt(spec, len(attempts) + 1, env, deadline))
        if attempts[-1].timed_out:
            return ScriptResult("timeout", tuple(attempts), _timeout(spec))
        if attempts[-1].exit_status == 0:
            return ScriptResult("ok", tuple(attempts), None)
        pause_s = float(len(attempts) - 1)
        if len(attempts) > spec.retries or pause_s >= deadline.left_s():
            return ScriptResult("failed", tuple(attempts), _failure(spec, attempts))
        time.sleep(pause_s)


def _attempt(spec: ScriptSpec, number: int, env: Mapping[str, str], deadline: Deadline) -> Attempt:
    begun = time.monotonic()
    variables = {
        **_CLEAN,
        **env,
        "QUIESCE_ATTEMPT": str(number),
        "QUIESCE_TIMEOUT_S": str(int(deadline.left_s() + _ROUNDING_S)),
    }
    with gathered() as family, contextlib.closing(Pipes()) as pipes:
        try:
            pid = launch(
                spec.path,
                spec.params,
                env=variables,
                stdout=pipes.stdout_writer,
                stderr=pipes.stderr_writer,
            )
        except OSError as exc:
            status = _NOT_FOUND if exc.errno == errno.ENOENT else _NOT_EXECUTABLE
            said = f"it cannot be started: {exc.strerror}"
            return Attempt(status, None, False, time.monotonic() - begun, "", said)
        ended = pipes.drain_until_end_of(pid, deadline)
        if not ended:
            _stop(pid, family, pipes)
        code = _exit_code(pid, family)
        if ended and code == 0:
            pipes.leave_to_writers()
        return Attempt(
            exit_status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            timed_out=not ended,
            duration_s=time.monotonic() - begun,
            stdout=pipes.stdout.text(),
            stderr=pipes.stderr.text(),
        )


def _stop(pid: int, family: Family, pipes: Pipes) -> None:
    """Ask the script's group to end, and after the grace kill all that came from it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    grace = Deadline.after(_GRACE_S)
    while family.members() and not grace.passed():
        pipes.drain_for(_LOOK_AGAIN_S)
    family.end()
    pipes.drain_for(0)


def _exit_code(pid: int, family: Family) -> int:
    """Return the exit status, or the signal as a negative number.

    A process that cannot even be killed (it waits for a stuck device) counts as killed.
    """
    if family.reap(pid):
        return os.waitstatus_to_exitcode(family.statuses[pid])
    return -signal.SIGKILL


def _timeout(spec: ScriptSpec) -> QuiesceError:
    name = f"{spec.phase.capitalize()}-ScriptTimeout"
    return QuiesceError(name, f"{spec.path} did not end within {spec.timeout_s:g} s")


def _failure(spec: ScriptSpec, attempts: list[Attempt]) -> QuiesceError:
    last = attempts[-1]
    how = f"ended with status {last.exit_status}"
    if last.exit_status is None:
        how = f"was killed by signal {last.signal}"
    times = f" at the last of {len(attempts)} attempts" if len(attempts) > 1 else ""
    said = last.stderr.strip().rpartition("\n")[2] or last.stdout.strip().rpartition("\n")[2]
    said = f": {said[-_SAID_CHARACTERS:]}" if said else ""
    name = f"{spec.phase.capitalize()}-ScriptExecutionFailed"
    return QuiesceError(name, f"{spec.path} {how}{times}{said}")
