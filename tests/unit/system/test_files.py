import os

import pytest

from quiesce.system import files


def test_what_was_created_is_there_and_nothing_else(tmp_path) -> None:
    files.create_durably(tmp_path / "a", b"data")

    assert (tmp_path / "a").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["a"]


def test_creating_never_replaces(tmp_path) -> None:
    files.create_durably(tmp_path / "a", b"first")

    with pytest.raises(FileExistsError):
        files.create_durably(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_replacing_leaves_the_new_content_and_nothing_else(tmp_path) -> None:
    files.replace_durably(tmp_path / "a", b"first")
    files.replace_durably(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("write", [files.create_durably, files.replace_durably])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, write) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)

    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a", b"data")

    assert os.listdir(tmp_path) == []
