from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from quiesce.demo.cache import kept

if TYPE_CHECKING:
    from pathlib import Path

DAYS_AGO_S = 0.0


def fill(directory: Path) -> None:
    (directory / "file").write_text("built")


def never(directory: Path) -> None:
    pytest.fail("it was built already")


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    built = kept(tmp_path, [b"a", b"b"], fill)

    assert kept(tmp_path, [b"a", b"b"], never) == built
    assert (built / "file").read_text() == "built"


def test_other_parts_are_another_directory(tmp_path: Path) -> None:
    assert kept(tmp_path, [b"a", b"b"], fill) != kept(tmp_path, [b"ab"], fill)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        fill(directory)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        kept(tmp_path, [b"a"], fail)

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert kept(tmp_path, [b"a"], fill).is_dir()


def test_what_a_killed_build_left_is_not_used(tmp_path: Path) -> None:
    built = kept(tmp_path, [b"a"], fill)
    half = built.with_suffix(".part")
    built.rename(half)
    (half / "left over").touch()

    assert [path.name for path in kept(tmp_path, [b"a"], fill).iterdir()] == ["file"]


def test_old_ones_go_when_a_new_one_comes_but_not_those_in_use(tmp_path: Path) -> None:
    old = [kept(tmp_path, [bytes([number])], fill) for number in range(4)]
    for path in old[:2]:
        os.utime(path, (DAYS_AGO_S, DAYS_AGO_S))

    new = kept(tmp_path, [b"new"], fill)

    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {*old[2:], new}
