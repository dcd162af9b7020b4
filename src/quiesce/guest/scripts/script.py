"""Run one script: attempts, one deadline, nobody left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.configuration import trust
from quiesce.guest.scripts.family import gathered
from quiesce.guest.scripts.launch import PATH, prepare
from quiesce.model.report import Attempt
from quiesce.system.deadline import Deadline
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.scripts.family import Family
    from quiesce.guest.scripts.launch import Starter

_BEGIN_S = 1.0
_GRACE_S = 2.0
_LOOK_AGAIN_S = 0.05
_ROUNDING_S = 0.1
_SAID_CHARACTERS = 200
_NO_PROCESS = 126
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
    starter: Starter | None = None,
) -> ScriptResult:
    """Run *spec* until it succeeds, its retries are used up or its time is over.

    *env* is added to a clean environment; QUIESCE_ATTEMPT and QUIESCE_TIMEOUT_S are added here.
    Trust is checked right before each attempt. *starter* is the process of the first one, where
    there is one; where that does not move (somebody has stopped it) another one takes its place. A
    script that runs out of time is ended with all that came from it; what a successful one leaves
    behind lives on. If a signal handler raises meanwhile, the script and all its descendants are
    killed and reaped first.
    """
    deadline = Deadline.after(spec.timeout_s)
    run = _Run(spec, env, check, deadline)
    attempts: list[Attempt] = []
    while True:
        attempt = run.attempt(len(attempts) + 1, starter)
        if attempt is None and not deadline.passed():
            starter = None
            continue
        if attempt is None:
            return ScriptResult("timeout", tuple(attempts), _timeout(spec))
        if isinstance(attempt, QuiesceError):
            error = _failure(spec, attempts, refusal=attempt) if attempts else attempt
            return ScriptResult("refused", tuple(attempts), error)
        attempts.append(attempt)
        starter = None
        if attempts[-1].timed_out:
            return ScriptResult("timeout", tuple(attempts), _timeout(spec))
        if attempts[-1].exit_status == 0:
            return ScriptResult("ok", tuple(attempts), None)
        pause_s = float(len(attempts) - 1)
        if len(attempts) > spec.retries or pause_s >= deadline.left_s():
            return ScriptResult("failed", tuple(attempts), _failure(spec, attempts))
        time.sleep(pause_s)


@dataclass(frozen=True)
class _Run:
    """What all attempts of one script have in common."""

    spec: ScriptSpec
    env: Mapping[str, str]
    check: Callable[[ScriptSpec], None]
    deadline: Deadline

    def attempt(self, number: int, starter: Starter | None) -> Attempt | QuiesceError | None:
        """Run the script once; the refusal where it may not be run, and was not.

        None where the process that was to become the script did not move: it was not run either.
        """
        begun = time.monotonic()
        with contextlib.ExitStack() as cleaning:
            with gathered(None if starter is None else starter.pid) as family:
                try:
                    starter = starter or self._prepare()
                except OSError as exc:
                    said = _unstarted(exc)
                    return Attempt(_NO_PROCESS, None, False, time.monotonic() - begun, "", said)
                cleaning.callback(starter.close)
                with _killed_on_error(starter):
                    refusal = self._refusal()
                    if refusal is not None:
                        starter.end()
                        return refusal
                    starter.go(self._variables(number))
                    if not self._begins(starter):
                        return None
                    ended = starter.pipes.drain_until_end_of(starter.pid, self.deadline)
                    if not ended:
                        _stop(starter, family)
                code = _exit_code(starter.pid, family)
            if ended and code == 0:
                starter.pipes.leave_to_writers()
            return _attempt(starter, code, timed_out=not ended, since=begun)

    def _refusal(self) -> QuiesceError | None:
        try:
            self.check(self.spec)
        except QuiesceError as exc:
            return exc
        return None

    def _begins(self, starter: Starter) -> bool:
        """Return whether it becomes the script; it is ended where it does not, and can no more."""
        if starter.has_begun(min(_BEGIN_S, self.deadline.left_s() / 2)):
            return True
        starter.kill()
        if starter.has_begun(0.0):
            return True  # at the last moment: its end is that of an attempt
        starter.end()
        return False

    def _prepare(self) -> Starter:
        return prepare(self.spec, session=self.env.get("QUIESCE_SESSION", ""))

    def _variables(self, number: int) -> dict[str, str]:
        return {
            **_CLEAN,
            **self.env,
            "QUIESCE_ATTEMPT": str(number),
            "QUIESCE_TIMEOUT_S": str(int(self.deadline.left_s() + _ROUNDING_S)),
        }


def _attempt(starter: Starter, code: int, *, timed_out: bool, since: float) -> Attempt:
    stderr = starter.pipes.stderr.text()
    failure = starter.failure()
    if failure is not None:
        stderr = _unstarted(failure)
    return Attempt(
        exit_status=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        timed_out=timed_out,
        duration_s=time.monotonic() - since,
        stdout=starter.pipes.stdout.text(),
        stderr=stderr,
    )


def _unstarted(error: OSError) -> str:
    return phrase("it cannot be started: {reason}", reason=error.strerror)


@contextlib.contextmanager
def _killed_on_error(starter: Starter) -> Iterator[None]:
    """Where an exception leaves the context, kill first what forks faster than we can look."""
    try:
        yield
    except BaseException:
        starter.cgroup.kill()
        raise


def _stop(starter: Starter, family: Family) -> None:
    """Ask the script's group to end, and after the grace kill all that came from it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(starter.pid, signal.SIGTERM)
    grace = Deadline.after(_GRACE_S)
    while (family.members() or starter.cgroup.members()) and not grace.passed():
        starter.pipes.drain_for(_LOOK_AGAIN_S)
    starter.cgroup.kill()
    family.end()
    starter.pipes.drain_for(0)


def _exit_code(pid: int, family: Family) -> int:
    """Return the exit status, or the signal as a negative number.

    A process that cannot even be killed (it waits for a stuck device) counts as killed.
    """
    if family.reap(pid):
        return os.waitstatus_to_exitcode(family.statuses[pid])
    return -signal.SIGKILL


def _timeout(spec: ScriptSpec) -> QuiesceError:
    return QuiesceError(
        f"{spec.phase.capitalize()}-ScriptTimeout",
        "{path} did not end within {limit:g} s",
        path=spec.path,
        limit=spec.timeout_s,
    )


def _failure(
    spec: ScriptSpec, attempts: list[Attempt], *, refusal: QuiesceError | None = None
) -> QuiesceError:
    last = attempts[-1]
    said = last.stderr.strip().rpartition("\n")[2] or last.stdout.strip().rpartition("\n")[2]
    template = "{path} ended with status {status}{times}{said}{refusal}"
    if last.exit_status is None:
        template = "{path} was killed by signal {signal}{times}{said}{refusal}"
    return QuiesceError(
        f"{spec.phase.capitalize()}-ScriptExecutionFailed",
        template,
        action=None if refusal is None else "{mend}",
        mend="" if refusal is None else refusal.action,
        path=spec.path,
        status=last.exit_status,
        signal=last.signal,
        times=_times(len(attempts)),
        said=f": {said[-_SAID_CHARACTERS:]}" if said else "",
        refusal="" if refusal is None else _not_again(refusal),
    )


def _times(attempts: int) -> str:
    if attempts == 1:
        return ""
    return phrase(" at the last of {count} attempts", count=attempts)


def _not_again(refusal: QuiesceError) -> str:
    return phrase("; it was not run again: {why}", why=refusal.message)
