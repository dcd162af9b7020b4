"""Run one program: argument list, own process group, deadline, nobody left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.system.deadline import Deadline

_LAST_BYTES = 4096

# A program that runs; for the annotations of those who may not import subprocess.
Started = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Finished:
    """What a program that ended left: its exit status (negative: the signal) and its output."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    check: bool = True,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run *argv* to its end and return what it left.

    The environment is ours plus LANG=C.UTF-8 plus *env*. Raises QuiesceError ProgramMissing where
    there is no such program, ProgramFailed where it exits other than 0 (unless *check* is false)
    or does not end by *deadline*; its whole process group is killed then.
    """
    process = start(argv, env=env)
    try:
        stdout, stderr = process.communicate(stdin, timeout=deadline.left_s())
    except subprocess.TimeoutExpired:
        raise QuiesceError(
            "ProgramFailed", "{program} did not end in time", program=argv[0]
        ) from None
    finally:
        kill_group(process)
    finished = Finished(tuple(argv), process.returncode, stdout, stderr)
    if check and finished.exit_status != 0:
        said = (stderr or stdout)[-_LAST_BYTES:].decode(errors="replace").strip()
        raise QuiesceError(
            "ProgramFailed",
            "{program} ended with status {status}: {said}",
            program=argv[0],
            status=finished.exit_status,
            said=said,
        )
    return finished


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start *argv* in its own session with pipes to it; the caller ends it.

    Raises QuiesceError ProgramMissing where there is no such program.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LANG": "C.UTF-8", **(env or {})},
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise QuiesceError("ProgramMissing", "no program {program}", program=argv[0]) from exc


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of *process* and reap it; nothing where it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
