"""How long the guest set keeps a machine at rest, how soon it starts, and what it takes up.

Run by `make bench`; `--json` prints one JSON document. Beside each number stands the most that it
may be, and beside the window what `fsfreeze` alone needs on the same file systems.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guest_box import PROGRAM, PYTHON, Box, wait_until
from quiesce.demo.image import guest_program

if TYPE_CHECKING:
    from collections.abc import Callable

MOUNTS = ("/mnt/a", "/mnt/b")
PYZ = "/usr/local/bin/quiesce-guest.pyz"
NOTHING = "#!/bin/sh\nexit 0\n"
FSFREEZE = f"""
import subprocess, time
def call(*argv):
    subprocess.run(argv, check=True)
begun = time.monotonic()
for mount in {MOUNTS!r}:
    call("fsfreeze", "-f", mount)
call("true")
for mount in {MOUNTS[::-1]!r}:
    call("fsfreeze", "-u", mount)
print(time.monotonic() - begun)
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The median of what was measured, in *unit*; *most* is what it may be at most."""

    name: str
    unit: str
    median: float
    least: float
    largest: float
    most: float | None = None


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        box = Box(Path(directory) / "box")
        try:
            figures = measure(box, options.runs)
        finally:
            box.close()
    held, alone = (find(figures, name) for name in ("held", "fsfreeze alone"))
    ratio = held.median / alone.median
    if options.json:
        document = {"figures": [asdict(figure) for figure in figures], "held_to_fsfreeze": ratio}
        print(json.dumps(document, indent=1))
        return
    print(f"{'':<34}{'median':>10}{'least':>10}{'largest':>10}  at most")
    for figure in figures:
        print(row(figure))
    print(f"held is {ratio:.2f} times what fsfreeze alone takes")


def find(figures: list[Figure], name: str) -> Figure:
    """Return the figure called *name*."""
    return next(figure for figure in figures if figure.name == name)


def row(figure: Figure) -> str:
    """Return the line of *figure*."""
    numbers = (figure.median, figure.least, figure.largest)
    most = ""
    if figure.most is not None:
        verdict = "" if figure.median <= figure.most else ", MISSED"
        most = f"  {figure.most:g} {figure.unit}{verdict}"
    shown = "".join(f"{number:>10.2f}" for number in numbers)
    return f"{f'{figure.name}, {figure.unit}':<34}{shown}{most}"


def measure(box: Box, runs: int) -> list[Figure]:
    """Measure everything in *box*, a new machine."""
    target = box.root / PYZ.lstrip("/")
    target.write_bytes(guest_program().read_bytes())
    target.chmod(0o755)
    figures = [
        start_of(box, "start, installed", PROGRAM, runs),
        start_of(box, "start, one file", PYZ, runs),
    ]
    for mount in MOUNTS:
        box.mount(mount)
    for phase in ("pre", "post"):
        box.write(f"/etc/quiesce/scripts/{phase}", NOTHING, 0o700)
    document = {
        f"{phase}ScriptLocation": f"/etc/quiesce/scripts/{phase}" for phase in ("pre", "post")
    }
    box.write("/etc/azure/VMSnapshotPluginConfig.json", json.dumps(document))
    windows = [window_of(box) for _ in range(runs)]
    return [
        *figures,
        figure("held", [each["held_s"] * 1000 for each in windows], most=10),
        figure("frozen", [each["frozen_s"] * 1000 for each in windows], most=5),
        figure("fsfreeze alone", [fsfreeze(box) for _ in range(runs)]),
        figure("memory", [memory_of(box) for _ in range(min(runs, 5))], unit="MiB", most=40),
    ]


def figure(
    name: str, numbers: list[float], *, unit: str = "ms", most: float | None = None
) -> Figure:
    """Return the figure called *name* of all its *numbers*."""
    return Figure(
        name=name,
        unit=unit,
        median=statistics.median(numbers),
        least=min(numbers),
        largest=max(numbers),
        most=most,
    )


def start_of(box: Box, name: str, program: str, runs: int) -> Figure:
    """Measure a whole session of *program* that does nothing, without any configuration."""
    argv = box.argv("exec", "--no-freeze", "--", "true")
    argv[argv.index(PROGRAM)] = program
    return figure(name, [timed(lambda: run(box, argv)) for _ in range(runs)], most=120)


def timed(work: Callable[[], object]) -> float:
    """Return how many milliseconds *work* takes."""
    begun = time.monotonic()
    work()
    return (time.monotonic() - begun) * 1000


def run(box: Box, argv: list[str]) -> str:
    """Run *argv* to its end, which must be good, and return what it printed."""
    env = box.environment()
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout


def window_of(box: Box) -> dict[str, float]:
    """Return the window of one session around `true`."""
    report = json.loads(run(box, box.argv("exec", "--json", "--", "true")))
    window: dict[str, float] = report["window"]
    return window


def fsfreeze(box: Box) -> float:
    """Return how many milliseconds the same file systems are frozen by `fsfreeze`, and thawed."""
    box.write("/run/fsfreeze.py", FSFREEZE)
    told = box.shell(f"{PYTHON} /run/fsfreeze.py")
    return float(told.stdout) * 1000


def memory_of(box: Box) -> float:
    """Return how many MiB all processes of ours hold in the window, shared ones by their share."""
    os.mkfifo(box.root / "run/go")
    session = box.start("exec", "--", "sh", "-c", "echo >/run/at-rest; read _ </run/go")
    try:
        wait_until((box.root / "run/at-rest").exists)
        return sum(pss_kib(pid) for pid in box.processes()) / 1024
    finally:
        (box.root / "run/go").write_text("\n")
        session.communicate()
        (box.root / "run/go").unlink()
        (box.root / "run/at-rest").unlink()


def pss_kib(pid: int) -> int:
    """Return the proportional share of memory of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
