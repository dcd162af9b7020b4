"""Write docs/errors.md from the table of errors; `--check`: say whether it is what it must be."""

from __future__ import annotations

import sys
from pathlib import Path

from quiesce.error_table import KINDS, ErrorKind, ExitStatus

_TARGET = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
_GROUPS = (
    ("The page's errors", range(1000)),
    ("Inside the machine", range(1000, 1020)),
    ("Between host and machine", range(1020, 1040)),
    ("The vault, and what comes out of it", range(1040, 1060)),
    ("The host", range(1060, 10000)),
)
_INTRODUCTION = """\
# Errors

Generated from `src/quiesce/error_table.py` by `tools/write_error_table.py`: change them there.

Every error has a name and a number that never change. `quiesce-guest explain NAME`, or NUMBER,
prints a row of this table, in English or Italian as the locale asks. The names and the numbers
below 1000 are those of Azure Backup's page and of Microsoft's extension. An error in a report or on
the screen has its own message, with paths and values, and mostly an action that fits the case
better than the one here.

Exit: what a program ends with that ends with this error. *3 or 4*: 4 where
`continueBackupOnFailure` is false and the machine has several disks. Several failures: the lowest
level and the strictest outcome (`design/framework.md`, section 5).
"""


def main() -> int:
    """Write the document, or compare it; 1 where it differs."""
    text = "\n".join([_INTRODUCTION, *_tables(), _exit_statuses()])
    if "--check" in sys.argv[1:]:
        if _TARGET.exists() and _TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{_TARGET.name} is not that of the table: run tools/write_error_table.py")
        return 1
    _TARGET.write_text(text, encoding="utf-8")
    return 0


def _tables() -> list[str]:
    tables = []
    for title, numbers in _GROUPS:
        kinds = sorted(KINDS.values(), key=lambda kind: kind.number)
        rows = [_row(kind) for kind in kinds if kind.number in numbers]
        head = "| Error | Number | What happened | What to do | Exit |\n|---|---|---|---|---|\n"
        tables.append(f"## {title}\n\n{head}" + "\n".join(rows) + "\n")
    return tables


def _row(kind: ErrorKind) -> str:
    numbers = ", ".join(map(str, (kind.number, *kind.also)))
    status = f"{kind.exit_status:d}"
    if kind.may_abort:
        status += f" or {ExitStatus.ABORTED:d}"
    cells = (f"`{kind.name}`", numbers, kind.when, kind.action, status)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _exit_statuses() -> str:
    rows = [f"| {status:d} | {status.meaning} |" for status in ExitStatus]
    return "## Exit statuses\n\n| Status | Meaning |\n|---|---|\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
