"""A supervisor whose undoing is to write down what it was given, in STATE/undone."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.jobs import undo

if TYPE_CHECKING:
    from quiesce.model.undo import UndoNote


class Recording:
    """An `Undo` that appends to *path*, and fails as often as *path*.fail has lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, note: UndoNote, descriptor: int | None) -> None:
        said = None
        if descriptor is not None:
            said = os.read(descriptor, 64).decode()
            os.close(descriptor)
        with self.path.open("a") as file:
            file.write(
                json.dumps({"pid": os.getpid(), "note": note.to_json(), "said": said}) + "\n"
            )
        failures = self.path.with_suffix(".fail")
        if failures.exists():
            failures.unlink()
            raise QuiesceError("UndoIncomplete", "told to fail")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--session", required=True)
    arguments = parser.parse_args()
    (arguments.state_dir / "pid").write_text(str(os.getpid()))
    undo.supervise(
        state_dir=arguments.state_dir,
        session=arguments.session,
        undo=Recording(arguments.state_dir / "undone"),
    )
