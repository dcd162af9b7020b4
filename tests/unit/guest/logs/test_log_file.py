from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from quiesce.guest.logs import log_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log" / "quiesce"


def append(text: str, directory: Path) -> None:
    log_file.append(text, directory=str(directory))


def test_directory_and_file_are_made_and_root_s_alone(directory: Path) -> None:
    append("one\n", directory)
    append("two\n", directory)

    log = directory / "quiesce-guest.log"
    assert log.read_text() == "one\ntwo\n"
    assert (directory.stat().st_mode & 0o777, log.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_full_file_is_put_aside_and_at_most_four_older_ones_stay(directory: Path) -> None:
    for number in range(8):
        append(f"{number}\n" * 300_000, directory)

    found = {path.name: path.read_text()[0] for path in directory.iterdir()}
    assert found == {
        "quiesce-guest.log": "7",
        "quiesce-guest.log.1": "6",
        "quiesce-guest.log.2": "5",
        "quiesce-guest.log.3": "4",
        "quiesce-guest.log.4": "3",
    }


def test_what_cannot_be_written_whole_is_not_written_at_all(directory: Path) -> None:
    append("x" * 600, directory)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append("y" * 600, directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (directory / "quiesce-guest.log").read_text() == "x" * 600


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_not_used(directory: Path, mode: int) -> None:
    directory.mkdir(parents=True)
    directory.chmod(mode)

    with pytest.raises(PermissionError, match="others can write in it"):
        append("one\n", directory)

    assert list(directory.iterdir()) == []


def test_a_directory_of_somebody_else_is_not_used(directory: Path) -> None:
    directory.mkdir(parents=True, mode=0o700)
    os.chown(directory, 65534, 65534)

    with pytest.raises(PermissionError):
        append("one\n", directory)


def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    directory.parent.mkdir()
    directory.symlink_to(elsewhere)

    with pytest.raises(OSError, match="quiesce"):
        append("one\n", directory)

    directory.unlink()
    directory.mkdir(mode=0o700)
    (directory / "quiesce-guest.log").symlink_to(elsewhere / "victim")

    with pytest.raises(OSError, match=r"quiesce-guest\.log"):
        append("one\n", directory)

    assert list(elsewhere.iterdir()) == []
