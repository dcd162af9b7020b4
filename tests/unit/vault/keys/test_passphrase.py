"""Where passphrases come from, and that nothing tells one."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.keys import passphrase
from quiesce.vault.keys.passphrase import PassphraseSources

NOT_UTF8 = b"hush hush \xff"


def refused(sources: PassphraseSources) -> QuiesceError:
    with pytest.raises(QuiesceError) as caught:
        sources.read("passphrase")
    assert caught.value.name == "PassphraseUnavailable"
    return caught.value


def test_a_passphrase_that_is_no_text_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(NOT_UTF8)
    given = os.fsdecode(NOT_UTF8)

    for sources in (
        PassphraseSources(file),
        PassphraseSources(text=given),
        PassphraseSources(ask=lambda _: given),
    ):
        error = refused(sources)
        assert "is not UTF-8" in error.message
        assert "hush" not in "".join(traceback.format_exception(error))


def test_a_pipe_into_which_nobody_writes_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passphrase, "_PATIENCE_S", 0.05)
    os.mkfifo(tmp_path / "pipe")

    assert "has not ended" in refused(PassphraseSources(tmp_path / "pipe")).message


def test_a_passphrase_comes_out_of_a_file_or_a_pipe(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("hush\n")
    read_end, write_end = os.pipe()
    os.write(write_end, b"hush\n")
    os.close(write_end)

    for path in (file, Path(f"/dev/fd/{read_end}")):
        assert PassphraseSources(path).read("passphrase") == "hush"
    os.close(read_end)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000])
def test_a_file_without_a_passphrase_or_with_a_huge_one_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)

    refused(PassphraseSources(tmp_path / "file"))
    refused(PassphraseSources(tmp_path))
