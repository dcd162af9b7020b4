"""Break the product on purpose, one place after the other, and see that the tests notice.

`tests/mutants.toml` lists the places: a file, a text that stands in it once, what stands there
instead, and the tests that must fail then. A mutant that survives, or whose text is gone, is an
error. `make mutants` runs all; arguments choose those whose name contains one of them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from quiesce.system import process
from quiesce.system.deadline import Deadline

_ROOT = Path(__file__).resolve().parent.parent
_LIST = _ROOT / "tests" / "mutants.toml"
_NEEDED = ("src", "tests", "tools", "pyproject.toml", "Makefile")
_TESTS_S = 600
_TESTS_FAILED = 1  # what pytest exits with; 2 to 5 are its own troubles


@dataclass(frozen=True, kw_only=True)
class _Mutant:
    """One place: in *file*, *old* becomes *new*; one of *tests* must fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def main() -> int:
    """Run the chosen mutants; 1 where one survived or cannot be made."""
    chosen = [mutant for mutant in _mutants() if _is_chosen(mutant.name, sys.argv[1:])]
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        _copy_checkout(copy)
        whole = {test for mutant in chosen for test in mutant.tests}
        if _outcome(copy, sorted(whole)) != 0:
            print("the tests fail before anything is broken", file=sys.stderr)
            return 1
        bad = [mutant.name for mutant in chosen if not _is_killed(copy, mutant)]
    print(f"{len(chosen) - len(bad)} of {len(chosen)} mutants were killed")
    return 1 if bad else 0


def _mutants() -> list[_Mutant]:
    entries = tomllib.loads(_LIST.read_text(encoding="utf-8"))
    tests = entries["tests"]
    return [
        _Mutant(name=name, tests=tuple(tests[entry["file"]]), **entry)
        for name, entry in entries["mutant"].items()
    ]


def _is_chosen(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def _copy_checkout(copy: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _NEEDED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)


def _is_killed(copy: Path, mutant: _Mutant) -> bool:
    """Make *mutant* in the copy, run its tests, and mend the copy again."""
    path = copy / "src/quiesce" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        print(f"STALE     {mutant.name}: its text is not there once")
        return False
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        killed = _outcome(copy, mutant.tests) == _TESTS_FAILED
    finally:
        path.write_text(text, encoding="utf-8")
    print(f"{'killed' if killed else 'SURVIVED':<9} {mutant.name}", flush=True)
    return killed


def _outcome(copy: Path, tests: tuple[str, ...] | list[str]) -> int:
    argv = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    argv += ["--rootdir", str(copy), "-c", str(copy / "pyproject.toml"), "-m", "not soak"]
    argv += ["--timeout", "60"]  # some mutants never end
    argv += [str(copy / test) for test in tests]
    return process.run(argv, deadline=Deadline.after(_TESTS_S), check=False).exit_status


if __name__ == "__main__":
    sys.exit(main())
