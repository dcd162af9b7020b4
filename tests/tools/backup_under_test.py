"""Backups that are broken at a chosen step: `quiesce backup` with failpoints in its ports.

A line of JSON on standard input, {"at": STEP, "fault": FAULT}, starts one backup in a child; the
answer is a line with the child's status, the step it was broken at (null: it never came to that),
how many steps it passed, and its run. FAULT: kill (the backup), supervisor (is killed, the backup
goes on), both, error, SIGTERM, SIGINT.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce import wiring
from quiesce.channel.qga import Qga
from quiesce.cli.main import _interrupt
from quiesce.errors import QuiesceError
from quiesce.jobs import undo
from quiesce.jobs.backup import Machine, backup
from quiesce.model.undo import UndoNote
from quiesce.providers import cleanup
from quiesce.providers.qemu import Qemu
from quiesce.providers.qmp import QmpConnection
from quiesce.testing.failpoints import Failpoints
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import open_vault

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINE = "writer"


@dataclass
class Told:
    """What the child tells its parent over a pipe, as it happens: it may be killed any time."""

    descriptor: int
    points: Failpoints | None = None
    first: Callable[[], object] | None = None

    def say(self, **what: Any) -> None:
        os.write(self.descriptor, json.dumps(what).encode() + b"\n")


def break_at(fault: str, state_dir: Path, told: Told) -> Callable[[str], None]:
    """Return the failpoint's action."""

    def action(step: str) -> None:
        if told.first is not None and fault in ("kill", "both", "error"):
            # The others go on, and send all commands.
            told.first()
        told.say(broken=step)
        if fault in ("supervisor", "both"):
            kill_supervisor(state_dir)
        if fault in ("kill", "both"):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "error":
            raise QuiesceError("SnapshotBroken", f"broken {step}")
        if fault.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, fault))

    return action


def kill_supervisor(state_dir: Path) -> None:
    """Kill the supervisor of the backup in *state_dir*, where one runs, and wait for its end."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"supervise" in words and os.fsencode(state_dir) in words:
                os.kill(int(process.name), signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PID, int(process.name), os.WEXITED | os.WNOWAIT)


def step_at_every_command(points: Failpoints, told: Told) -> None:
    """Make every command to QEMU a step: what happens inside the provider is broken too.

    Of commands that are sent at once, any number may have reached QEMU when the backup dies.
    """
    execute, execute_all = QmpConnection.execute, QmpConnection.execute_all

    def one(self: QmpConnection, name: str, *args: Any, **kwargs: Any) -> Any:
        points.step(f"before {name}")
        answer = execute(self, name, *args, **kwargs)
        points.step(f"after {name}")
        return answer

    def many(self: QmpConnection, commands: Any, **kwargs: Any) -> Any:
        names = "+".join(command.name for command in commands)
        points.step(f"before {names}")
        only_asks = all(command.name.startswith("query-") for command in commands)
        for number in () if only_asks else range(1, len(commands)):
            told.first = functools.partial(execute_all, self, commands[:number], **kwargs)
            points.step(f"before {names} from {number} on")
        told.first = None
        answers = execute_all(self, commands, **kwargs)
        points.step(f"after {names}")
        return answers

    QmpConnection.execute = one  # type: ignore[method-assign]
    QmpConnection.execute_all = many  # type: ignore[method-assign]


def run(options: argparse.Namespace, at: int | None, fault: str, told: Told) -> None:
    """Run one backup."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    points = told.points = Failpoints(at, break_at(fault, options.state_dir, told))
    step_at_every_command(points, told)

    scratch = options.state_dir / "scratch"

    def supervisor(session: str) -> Any:
        note = UndoNote(
            session=session,
            machine=MACHINE,
            qmp=str(options.qmp),
            qga=str(options.qga),
            prefix=cleanup.prefix(session),
            scratch_dir=str(cleanup.scratch_directory(scratch, session)),
        )
        command = undo.supervisor_command(options.state_dir, session)
        started = undo.supervised(
            note, state_dir=options.state_dir, undo=wiring.undo, command=command
        )
        return points.wrap(started, "supervisor")

    provider = Qemu(options.qmp, scratch_root=scratch, definition_file=None)
    told_run = backup(
        Machine(MACHINE, points.wrap(provider, "provider"), points.wrap(Qga(options.qga), "guest")),
        vault=points.wrap(open_vault(DirectoryStore(options.vault)), "vault"),
        supervisor=supervisor,
        progress=SilentProgress(),
    )
    told.say(run=told_run.to_json())


def child(options: argparse.Namespace, order: dict[str, Any], told: Told) -> int:
    """Be the backup; return its exit status."""
    try:
        run(options, order["at"], order["fault"], told)
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 - the test shows it
        told.say(trace=traceback.format_exc())
        return 1
    finally:
        if told.points is not None:
            told.say(steps=told.points.passed)
    return 0


def serve(options: argparse.Namespace) -> None:
    """Fork a backup for every line."""
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os._exit(child(options, json.loads(line), Told(write)))
        os.close(write)
        answer: dict[str, Any] = {"broken": None}
        with os.fdopen(read) as pipe:
            for said in pipe:
                answer.update(json.loads(said))
        _, status = os.waitpid(pid, 0)
        answer["status"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("state-dir", "vault", "qmp", "qga"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    serve(parser.parse_args())
