from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from quiesce.guest.filesystems.blocked import blocked_in

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = 100


def put(proc: Path, pid: int, state: str, *children: int) -> None:
    """Put down a process whose name is as misleading as names may be."""
    task = proc / str(pid) / "task" / str(pid)
    task.mkdir(parents=True)
    (task / "children").write_text("".join(f"{child} " for child in children))
    (proc / str(pid) / "stat").write_text(f"{pid} (a) D 1 {COMMAND}) {state} 1 {COMMAND} 1 0\n")


@pytest.mark.parametrize("blocked", [None, 100, 101, 102, 103])
def test_the_command_and_all_that_it_started_are_looked_at(
    tmp_path: Path, blocked: int | None
) -> None:
    for pid, children in ((100, (101, 102)), (101, ()), (102, (103,)), (103, ())):
        put(tmp_path, pid, "D" if pid == blocked else "S", *children)

    assert blocked_in(COMMAND, proc=str(tmp_path)) is (blocked is not None)


def test_nobody_else_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path, COMMAND, "S")
    put(tmp_path, 7, "D")

    assert not blocked_in(COMMAND, proc=str(tmp_path))


def test_a_command_of_many_processes_does_not_hold_up_the_thaw(tmp_path: Path) -> None:
    many = range(COMMAND + 1, COMMAND + 1000)
    put(tmp_path, COMMAND, "S", *many)
    for pid in many:
        put(tmp_path, pid, "D" if pid == many[-1] else "S")

    assert not blocked_in(COMMAND, proc=str(tmp_path))


def test_a_command_that_is_gone_is_not_blocked(tmp_path: Path) -> None:
    assert not blocked_in(COMMAND, proc=str(tmp_path))


def test_the_processes_of_this_machine_can_be_read() -> None:
    assert not blocked_in(os.getpid())
