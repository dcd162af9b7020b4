from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from quiesce.guest.session import announcement
from quiesce.guest.session.announcement import Announcement

if TYPE_CHECKING:
    from pathlib import Path

SESSION = "01JD5B5V7M6K2Q3R4S5T6V7W8X"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(announcement, "RUN_DIR", tmp_path)
    monkeypatch.setattr(announcement, "_FILE", tmp_path / "announced.json")
    return tmp_path / "announced.json"


def test_an_announcement_is_used_once(file: Path) -> None:
    announcement.put(SESSION, 2)

    assert file.stat().st_mode & 0o777 == 0o600
    assert announcement.take() == Announcement(SESSION, 2, heard=True)
    assert announcement.take() is None


def test_it_is_good_for_two_minutes_of_the_machines_uptime(file: Path) -> None:
    announcement.put(SESSION, 2)
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "at_s": document["at_s"] - 121}))

    assert announcement.take() is None
    assert not file.exists()


def test_a_file_that_the_host_wrote_by_itself_tells_it_nothing_of_us(file: Path) -> None:
    file.write_text(json.dumps({"session": SESSION, "disks": 3}))

    assert announcement.take() == Announcement(SESSION, 3, heard=False)


def test_such_a_file_ages_too(file: Path) -> None:
    file.write_text(json.dumps({"session": SESSION, "disks": 3}))
    old = time.time() - 121
    os.utime(file, (old, old))

    assert announcement.take() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        json.dumps({"session": "../../etc/passwd", "disks": 1}),
        json.dumps({"session": SESSION, "disks": 0}),
        json.dumps({"session": SESSION, "disks": "2"}),
        json.dumps({"session": 7, "disks": 1}),
    ],
)
def test_what_is_not_whole_is_no_announcement(file: Path, text: str) -> None:
    file.write_text(text)

    assert announcement.take() is None
