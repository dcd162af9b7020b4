import os

import pytest

from quiesce.system import files


def test_replacing_leaves_the_new_content_and_nothing_else(tmp_path) -> None:
    files.replace_durably(tmp_path / "a", b"first")
    files.replace_durably(tmp_path / "a", b"second")

    assert (tmp_path / "a").read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)

    with pytest.raises(OSError, match="No space"):
        files.replace_durably(tmp_path / "a", b"data")

    assert os.listdir(tmp_path) == []


def test_creating_takes_a_name_that_is_free_and_no_other(tmp_path) -> None:
    files.create_durably(tmp_path / "a", b"first")
    (tmp_path / "link").symlink_to("nowhere")

    for taken in ("a", "link"):
        with pytest.raises(FileExistsError):
            files.create_durably(tmp_path / taken, b"second")

    assert (tmp_path / "a").read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]
