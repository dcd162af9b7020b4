"""The list of places to break (`make mutants`) speaks of the sources as they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
SOURCES = TESTS.parent / "src" / "quiesce"
LIST: dict[str, Any] = tomllib.loads((TESTS / "mutants.toml").read_text())


@pytest.mark.parametrize("name", LIST["mutant"])
def test_the_text_of_each_mutant_stands_in_its_file_once(name: str) -> None:
    mutant = LIST["mutant"][name]

    assert (SOURCES / mutant["file"]).read_text().count(mutant["old"]) == 1
    assert mutant["new"] != mutant["old"]


@pytest.mark.parametrize("file", LIST["tests"])
def test_the_tests_that_are_to_notice_are_there(file: str) -> None:
    assert all((TESTS.parent / test).is_file() for test in LIST["tests"][file])
