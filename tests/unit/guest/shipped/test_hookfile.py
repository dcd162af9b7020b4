from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quiesce.guest.installation.install import install_qga
from quiesce.guest.shipped.hookfile import HOOK, is_damaged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    install_qga("/opt/a place/quiesce-guest", root=tmp_path)
    return tmp_path


def test_the_hook_as_it_was_installed_is_whole_whatever_was_filled_in(root: Path) -> None:
    assert not is_damaged(root=str(root))


def test_where_there_is_no_hook_none_is_damaged(tmp_path: Path) -> None:
    assert not is_damaged(root=str(tmp_path))


@pytest.mark.parametrize("line", range(0, 120, 7))
def test_a_line_that_is_missing_or_another_is_damage(root: Path, line: int) -> None:
    hook = root / HOOK.lstrip("/")
    lines = hook.read_text().splitlines(keepends=True)
    if lines[line % len(lines)].startswith(("program=", "scripts=", "run=")):
        line += 3
    place = line % len(lines)

    for changed in ([], [f" {lines[place]}"]):
        hook.write_text("".join([*lines[:place], *changed, *lines[place + 1 :]]))
        assert is_damaged(root=str(root))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"#!/bin/sh\nexit 0\n"])
def test_what_is_no_hook_of_ours_is_damage(root: Path, content: bytes) -> None:
    (root / HOOK.lstrip("/")).write_bytes(content)

    assert is_damaged(root=str(root))


def test_a_hook_that_cannot_be_read_is_damage(root: Path) -> None:
    (root / HOOK.lstrip("/")).unlink()
    (root / HOOK.lstrip("/")).mkdir()

    assert is_damaged(root=str(root))
