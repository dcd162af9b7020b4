from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from quiesce.guest.logs import reports

if TYPE_CHECKING:
    from pathlib import Path

IN_TWO_DAYS = time.time() + 2 * 86400


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A hundred reports, written when the clock was two days ahead."""
    directory = tmp_path / "log" / "reports"
    directory.mkdir(mode=0o700, parents=True)
    directory.parent.chmod(0o700)
    for number in range(100):
        path = directory / f"{number:03}.json"
        path.write_text("{}")
        os.utime(path, (IN_TWO_DAYS + number, IN_TWO_DAYS + number))
    return directory


def test_where_the_clock_was_set_back_the_new_report_stays_and_the_oldest_goes(kept: Path) -> None:
    reports.write({"session": "new"}, str(kept))

    names = {path.stem for path in kept.iterdir()}
    assert names == {"new", *(f"{number:03}" for number in range(1, 100))}


def test_where_the_clock_was_set_back_the_new_report_is_the_last(kept: Path) -> None:
    for session in ("b", "a"):
        reports.write({"session": session}, str(kept))

    last = sorted(kept.iterdir(), key=lambda path: path.stat().st_mtime_ns)[-2:]
    assert [path.stem for path in last] == ["b", "a"]


@pytest.mark.parametrize("above", [True, False])
def test_no_report_is_put_where_others_can_write(kept: Path, above: bool) -> None:
    (kept.parent if above else kept).chmod(0o770)

    with pytest.raises(PermissionError):
        reports.write({"session": "new"}, str(kept))

    assert not (kept / "new.json").exists()
