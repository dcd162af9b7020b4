"""A backup that stands still under its supervisor; its process id is in STATE/backup."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from quiesce.jobs.undo import supervised
from quiesce.model.undo import UndoNote
from tools import recording_supervisor
from tools.recording_supervisor import Recording


def stand_still(state_dir: Path, session: str) -> None:
    """Have a note of *session* and a supervisor in *state_dir*, and wait."""
    note = UndoNote(
        session=session,
        machine="web1",
        qmp="/run/qmp",
        qga="/run/qga",
        prefix="bk-",
        scratch_dir="/scratch",
    )
    program = str(recording_supervisor.__file__)
    arguments = ["--state-dir", str(state_dir), "--session", session]
    with supervised(
        note,
        state_dir=state_dir,
        undo=Recording(state_dir / "undone"),
        command=["/usr/bin/env", f"PYTHONPATH={sys.path[1]}", sys.executable, program, *arguments],
    ):
        (state_dir / "backup").write_text(str(os.getpid()))
        signal.pause()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--session", required=True)
    given = parser.parse_args()
    stand_still(given.state_dir, given.session)
