import os
from pathlib import Path

import pytest

from quiesce.guest.scripts import facts


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(facts, "RUN_DIR", str(tmp_path))
    facts.begin("s")
    return Path(facts.path_of("s"))


def test_each_line_is_a_name_and_a_value_and_the_later_of_one_name_counts(file: Path) -> None:
    file.write_text("lsn=0/30\n gtid = a=b \nnothing\n=nameless\n\nlsn=0/40\nlast=without end")

    assert facts.collect("s") == {"lsn": "0/40", "gtid": "a=b", "last": "without end"}


def test_only_a_line_feed_ends_a_line(file: Path) -> None:
    file.write_bytes("a=1\x0b2\u20283\n".encode())

    assert facts.collect("s") == {"a": "1\x0b2\u20283"}


def test_what_is_not_utf_8_is_kept_as_well_as_it_can_be(file: Path) -> None:
    file.write_bytes(b"a=\xff\n")

    assert facts.collect("s") == {"a": "\ufffd"}


@pytest.mark.parametrize("over", [0, 1])
def test_a_line_beyond_64_kib_does_not_count(file: Path, over: int) -> None:
    first = "a=1\n"
    file.write_text(first + "b=" + "x" * (64 * 1024 - len(first) - 2 + over))

    assert set(facts.collect("s")) == ({"a"} if over else {"a", "b"})


@pytest.mark.parametrize("kind", ["nothing", "directory", "fifo", "link"])
def test_what_is_no_file_any_more_has_no_facts_and_is_not_waited_for(
    file: Path, kind: str, tmp_path: Path
) -> None:
    file.unlink()
    (tmp_path / "other").write_text("a=1\n")
    make = {
        "nothing": lambda: None,
        "directory": file.mkdir,
        "fifo": lambda: os.mkfifo(file),
        "link": lambda: file.symlink_to(tmp_path / "other"),
    }
    make[kind]()

    assert facts.collect("s") == {}
