"""What the kernel would start for a script: its `#!` line, and whether that leads anywhere."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.guest.scripts.launch import PATH
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

_BINARY = b"\x7fELF"


@dataclass(frozen=True)
class Interpreter:
    """*program* is what the first line names, None without `#!` (then it is /bin/sh).

    *trouble* says why it cannot be started, None where it can. *has_return*: the line ends with a
    carriage return, which counts as part of it.
    """

    program: str | None
    trouble: str | None = None
    has_return: bool = False


def interpreter_of(
    beginning: bytes,
    *,
    is_runnable: Callable[[str], bool] = lambda path: os.access(path, os.X_OK),
    which: Callable[[str], str | None] = lambda name: shutil.which(name, path=PATH),
) -> Interpreter:
    """Return what would run a file with this *beginning*, its first 256 bytes.

    *is_runnable* and *which* look for programs.
    """
    if beginning.startswith(_BINARY):
        return Interpreter("itself")
    if not beginning.startswith(b"#!"):
        return Interpreter(None)
    line = beginning[2:].partition(b"\n")[0].decode(errors="replace")
    words = line.split()
    program = words[0] if words else ""
    if line.endswith("\r"):
        said = phrase("its lines end with a carriage return, as on Windows")
        return Interpreter(program, said, has_return=True)
    if not program:
        return Interpreter(program, phrase("its line #! names no program"))
    if not is_runnable(program):
        template = "its interpreter {program} is not there or cannot be run"
        return Interpreter(program, phrase(template, program=program))
    is_env = os.path.basename(program) == "env" and len(words) > 1
    wanted = words[1] if is_env else ""
    if wanted and wanted[0] != "-" and "=" not in wanted and which(wanted) is None:
        template = "its interpreter {program} is nowhere in {path}"
        return Interpreter(program, phrase(template, program=wanted, path=PATH))
    return Interpreter(program)
