"""A clock that somebody sets must not end, lengthen or spoil a window: nothing waits by it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src" / "quiesce"
GUEST_SET = [
    *(SOURCE / "guest").rglob("*.py"),
    *(SOURCE / "system").rglob("*.py"),
    *(SOURCE / "model").rglob("*.py"),
    SOURCE / "errors.py",
]
# Where it is asked to be shown to people, to name and order files, or to know the age of a file
# that a host wrote, which has no other time.
SHOWN = {"guest/record/record.py", "guest/session/announcement.py", "system/ulid.py"}
WALL_CLOCK = {
    ("time", name)
    for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "CLOCK_REALTIME")
} | {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}


def uses(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    return [
        f"{node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, (ast.Attribute, ast.Name))
        and (
            node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id,
            node.attr,
        )
        in WALL_CLOCK
    ]


@pytest.mark.parametrize("path", GUEST_SET, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_time_of_day_is_only_asked_to_be_shown(path: Path) -> None:
    if str(path.relative_to(SOURCE)) in SHOWN:
        assert uses(path) != [], "it is no exception any more"
    else:
        assert uses(path) == []


def test_time_is_imported_whole_so_that_its_use_is_seen() -> None:
    for path in GUEST_SET:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), path
