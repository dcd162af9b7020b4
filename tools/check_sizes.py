"""Fail where a module of the product is longer than the house allows."""

import sys
from pathlib import Path

LIMIT_LINES = 400


def main() -> int:
    """Print every module above the limit; return 1 where there is one."""
    source = Path(__file__).parent.parent / "src"
    lengths = {path: len(path.read_text().splitlines()) for path in source.rglob("*.py")}
    too_long = {path: lines for path, lines in lengths.items() if lines > LIMIT_LINES}
    for path, lines in sorted(too_long.items()):
        print(f"{path}: {lines} lines, {LIMIT_LINES} at most: one concept a module")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
