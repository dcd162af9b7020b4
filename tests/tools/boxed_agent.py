"""A stand-in agent whose commands and files are those of a box: a guest of its own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.standin_agent import Refused, StandinAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guest_box import Box


class BoxedAgent(StandinAgent):
    """*changed* is what becomes of data on its way into a file."""

    def __init__(self, path: Path, box: Box) -> None:
        self.changed: Callable[[bytes], bytes] = lambda data: data
        self.ran: list[list[str]] = []
        self._box = box
        super().__init__(path)

    def _guest_exec(self, path: str, arg: list[str], capture_output: bool) -> dict[str, int]:
        if not (self._box.root / path.lstrip("/")).exists():
            raise Refused(f"Failed to execute child process “{path}” (No such file or directory)")
        self.ran.append([path, *arg])
        done = subprocess.run(
            self._box._entered(path, *arg),
            capture_output=capture_output,
            env=self._box.environment(),
            check=False,
        )
        pid = len(self._executed) + 1
        self._executed[pid] = (done.returncode, done.stdout)
        return {"pid": pid}

    def _guest_file_open(self, path: str, mode: str = "r") -> int:
        self.files = _Files(self._box)
        return super()._guest_file_open(path, mode)

    def _guest_file_write(self, handle: int, buf_b64: str) -> dict[str, Any]:
        told = super()._guest_file_write(handle, buf_b64)
        written = self._handles[handle][1]
        assert written is not None
        written[:] = self.changed(bytes(written))
        return told


class _Files(dict[str, bytes]):
    """The files of a box; the agent makes them for everybody to write."""

    def __init__(self, box: Box) -> None:
        super().__init__()
        self._root = box.root

    def __contains__(self, path: object) -> bool:
        return self._at(str(path)).is_file()

    def __getitem__(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def __setitem__(self, path: str, data: bytes) -> None:
        self._at(path).write_bytes(data)
        self._at(path).chmod(0o666)

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")


@contextlib.contextmanager
def boxed_agent(box: Box) -> Iterator[BoxedAgent]:
    """Run the agent of *box*."""
    with tempfile.TemporaryDirectory(prefix="boxed-agent-") as directory:
        agent = BoxedAgent(Path(directory) / "qga", box)
        try:
            yield agent
        finally:
            agent.close()
