"""How fast a vault is written and read, beside bare pipelines and other programs on the same data.

Run by `make bench`; `--json` prints one JSON document. What a limit decides is measured in turns
with the bare pipeline, *rounds* times, and judged by the medians; other programs run once, and are
shown beside it. Everything lies in a new folder of `--directory`, which needs 20 GiB, and goes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import speed_data

from object_stores import seaweedfs
from quiesce.vault.stores.directory import DirectoryStore

HERE = Path(__file__).parent
MIB = 1 << 20
TIB = 1 << 40
PIECE_BYTES = 8 * MIB
RESTIC = {"RESTIC_PASSWORD": "x"}


@dataclass(frozen=True)
class Run:
    """What one run of a program took."""

    wall_s: float
    processor_s: float
    memory_mib: float


@dataclass(frozen=True)
class Line:
    """One thing that a limit decides: *value* is at most *most*; *beside* is what it stands by."""

    name: str
    value: float
    unit: str
    most: float
    beside: str


class Bench:
    """Runs programs on the disks, each with its results in new places, and keeps the times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.sizes: dict[str, int] = {}
        self.settings = folder / "quiesce.toml"
        self.settings.write_text(f'[vault]\nkeys = "{folder}/keys"\n')

    def url(self, vault: str) -> str:
        """Return where the vault called *vault* is, which may be a URL already."""
        return vault if "://" in vault else (self.folder / vault).as_uri()

    def run(self, name: str, *argv: str | Path, status: int = 0, **more: str) -> None:
        """Run *argv* to its end, which must be *status*, and keep what it took as *name*."""
        begun = time.monotonic()
        with (self.folder / "output").open("w+b") as output:
            started = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | more
            )
            _, found, usage = os.wait4(started.pid, 0)
        took = time.monotonic() - begun
        if os.waitstatus_to_exitcode(found) != status:
            raise SystemExit(f"{name} failed:\n{(self.folder / 'output').read_text()}")
        used = usage.ru_utime + usage.ru_stime
        self.runs[name].append(Run(took, used, usage.ru_maxrss / 1024))

    def quiesce(
        self, name: str, *argv: str | Path, vault: str = "vault", status: int = 0, **more: str
    ) -> None:
        """Run our own program."""
        place = ("--config", self.settings, "--vault", self.url(vault), "--quiet")
        self.run(name, sys.executable, "-m", "quiesce", *argv, *place, status=status, **more)

    def back_up(self, name: str, disk: Path, *more: str | Path, vault: str = "vault") -> None:
        """Back *disk* up with our own program; a disk without file systems is exit status 3."""
        self.quiesce(name, "backup", "bench", "--disk", disk, *more, vault=vault, status=3)

    def bare(self, name: str, *argv: str | Path) -> None:
        """Run a bare pipeline."""
        self.script(name, "bare.py", *argv)

    def script(self, name: str, script: str, *argv: str | Path) -> None:
        """Run a script of this folder, in a process of its own so that this one stays small."""
        self.run(name, sys.executable, HERE / script, *argv)

    def make_vault(self, vault: str = "vault") -> None:
        """Make the vault anew, encrypted."""
        for used in (self.folder / vault, self.folder / "keys"):
            shutil.rmtree(used, ignore_errors=True)
        recovery = self.folder / "recovery"
        recovery.unlink(missing_ok=True)
        self.quiesce("init", "vault", "init", "--recovery-file", recovery, vault=vault)

    def wall_s(self, name: str) -> float:
        """Return the median time of *name*."""
        return statistics.median(run.wall_s for run in self.runs[name])

    def memory_mib(self, name: str) -> float:
        """Return the most memory that *name* took."""
        return max(run.memory_mib for run in self.runs[name])

    def ratio(self, name: str, to: str) -> float:
        """Return the median of what *name* took to what *to* took in the same turn."""
        turns = zip(self.runs[name], self.runs[to], strict=True)
        return statistics.median(one.wall_s / other.wall_s for one, other in turns)


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="quiesce-speed-") as folder:
        bench = Bench(Path(folder))
        lines = measure(bench, options.rounds)
    if options.json:
        runs = {name: [asdict(run) for run in runs] for name, runs in bench.runs.items()}
        lines_told = [asdict(line) for line in lines]
        print(json.dumps({"lines": lines_told, "runs": runs, "sizes": bench.sizes}, indent=1))
        return
    for line in lines:
        verdict = "" if line.value <= line.most else ", MISSED"
        number = f"{line.value:.2f} of at most {line.most:g} {line.unit}{verdict}"
        print(f"{line.name:<40}{number:<42}{line.beside}")
    print(f"\n{'':<40}{'median s':>10}{'processor s':>13}{'MiB':>7}")
    for name, runs in bench.runs.items():
        used = statistics.median(run.processor_s for run in runs)
        print(f"{name:<40}{bench.wall_s(name):>10.2f}{used:>13.2f}{bench.memory_mib(name):>7.0f}")
    for name, size in bench.sizes.items():
        print(f"{name:<40}{size / 1e9:>10.3f} GB")


def measure(bench: Bench, rounds: int) -> list[Line]:
    """Measure everything, and return the lines that have a limit."""
    bench.script("make the disks", "speed_data.py", bench.folder)
    disks = speed_data.placed(bench.folder)
    bench.sizes["data on the disk"] = disks.data_bytes
    for _ in range(rounds):
        full(bench, disks)
    peers_full(bench, disks)
    for _ in range(rounds):
        second(bench, disks)
    bench.sizes["vault, growth"] = size_of(bench.folder / "vault") - bench.sizes["vault, full"]
    for _ in range(rounds):
        restore(bench, disks)
    peers_later(bench, disks)
    huge(bench)
    bench.make_vault("points")
    bench.script("make the log", "long_log.py", bench.settings, bench.url("points"))
    for _ in range(rounds):
        bench.quiesce("points, 1,000 of 1 TiB", "points", vault="points")
    points_in_s3(bench, rounds)
    return told(bench)


def told(bench: Bench) -> list[Line]:
    """Return the lines that have a limit."""
    own = [name for name in bench.runs if name.startswith(("quiesce", "points"))]
    second_to_full = bench.wall_s("quiesce, change list") / bench.wall_s("quiesce, full")
    stored = bench.sizes["vault, full"] / bench.sizes["restic, full"]
    growth = bench.sizes["vault, growth"] / bench.sizes["restic, growth"]
    return [
        Line(
            "full",
            bench.ratio("quiesce, full", "bare, full"),
            "x bare",
            1.18,
            peers(bench, "quiesce, full", "restic, full", "borg, full", "qemu-img, full"),
        ),
        Line("full, stored", stored, "x restic", 1.08, ""),
        Line("second, change list", second_to_full, "x full", 0.125, ""),
        Line(
            "second, compare, from the disk",
            bench.ratio("quiesce, compare", "bare, hash"),
            "x bare hash",
            1.25,
            peers(bench, "quiesce, compare", "restic, second", "borg, second"),
        ),
        Line(
            "second, compare, from memory",
            bench.ratio("quiesce, compare, cached", "bare, hash, cached"),
            "x bare hash",
            1.25,
            "",
        ),
        Line("second, growth", growth, "x restic", 1.0, ""),
        Line(
            "restore",
            bench.ratio("quiesce, restore", "bare, restore"),
            "x bare",
            1.25,
            peers(bench, "quiesce, restore", "restic, restore", "borg, restore"),
        ),
        Line("memory", max(bench.memory_mib(name) for name in own), "MiB", 300, ""),
        Line("points", bench.wall_s("points, 1,000 of 1 TiB"), "s", 1.0, "1,000 points of 1 TiB"),
        Line("points, S3", bench.wall_s("points, 1,000 of 1 TiB, S3"), "s", 5.0, "on loopback"),
    ]


def peers(bench: Bench, ours: str, *theirs: str) -> str:
    """Return how long *ours* takes beside *theirs*."""
    return ", ".join(f"{bench.wall_s(ours) / bench.wall_s(peer):.2f} x {peer}" for peer in theirs)


def full(bench: Bench, disks: speed_data.Disks) -> None:
    """Back the first disk up."""
    shutil.rmtree(bench.folder / "bare", ignore_errors=True)
    bench.make_vault()
    settle()
    bench.bare("bare, full", "backup", disks.first, bench.folder / "bare")
    settle()
    bench.back_up("quiesce, full", disks.first)
    bench.sizes["bare, full"] = size_of(bench.folder / "bare")
    bench.sizes["vault, full"] = size_of(bench.folder / "vault")


def second(bench: Bench, disks: speed_data.Disks) -> None:
    """Back the later disk up: with a change list, then without, from the disk and from memory."""
    vault, first = bench.folder / "vault", bench.folder / "vault-full"
    if not first.exists():
        shutil.copytree(vault, first, copy_function=os.link)

    def again() -> None:
        shutil.rmtree(vault)
        shutil.copytree(first, vault, copy_function=os.link)
        settle()

    again()
    disks.changed.touch()
    bench.back_up("quiesce, change list", disks.second, "--changed", disks.changed)
    again()
    for name, prepare in (("", forget), (", cached", recall)):
        prepare(disks.second)
        bench.bare(f"bare, hash{name}", "hash", disks.second)
        again()
        prepare(disks.second)
        bench.back_up(f"quiesce, compare{name}", disks.second)


def restore(bench: Bench, disks: speed_data.Disks) -> None:
    """Restore what was backed up last, and see that it is right."""
    settle()
    bench.bare("bare, restore", "restore", bench.folder / "bare", bench.folder / "bare.raw")
    (bench.folder / "bare.raw").unlink()
    restored = bench.folder / "restored"
    settle()
    bench.quiesce("quiesce, restore", "restore", "bench@latest", "--to", restored)
    (image,) = restored.iterdir()
    subprocess.run(["cmp", image, disks.second], check=True)
    shutil.rmtree(restored)


def peers_full(bench: Bench, disks: speed_data.Disks) -> None:
    """Back the first disk up with other programs."""
    restic, borg = bench.folder / "restic", bench.folder / "borg"
    bench.run("restic, init", "restic", "-r", restic, "init", **RESTIC)
    bench.run("restic, full", "restic", "-r", restic, "backup", disks.first, **RESTIC)
    bench.sizes["restic, full"] = size_of(restic)
    how = {"BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(bench.folder / "borg-home")}
    bench.run("borg, init", "borg", "init", "-e", "repokey-blake2", borg, **how)
    create = ("borg", "create", "--compression", "zstd,1")
    bench.run("borg, full", *create, f"{borg}::1", disks.first, **how)
    bench.sizes["borg, full"] = size_of(borg)
    target = bench.folder / "peer.qcow2"
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-m", "16", "-W")
    bench.run("qemu-img, full", *convert, "-o", "compression_type=zstd", disks.first, target)
    bench.sizes["qemu-img, full"] = size_of(target)
    target.unlink()


def peers_later(bench: Bench, disks: speed_data.Disks) -> None:
    """Back the later disk up with other programs, and restore it."""
    restic, borg, target = bench.folder / "restic", bench.folder / "borg", bench.folder / "target"
    before = size_of(restic)
    forget(disks.second)
    bench.run("restic, second", "restic", "-r", restic, "backup", disks.second, **RESTIC)
    bench.sizes["restic, growth"] = size_of(restic) - before
    how = {"BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(bench.folder / "borg-home")}
    before = size_of(borg)
    forget(disks.second)
    create = ("borg", "create", "--compression", "zstd,1")
    bench.run("borg, second", *create, f"{borg}::2", disks.second, **how)
    bench.sizes["borg, growth"] = size_of(borg) - before
    get_back = ("restic", "-r", restic, "restore", "latest", "--target", target)
    bench.run("restic, restore", *get_back, **RESTIC)
    shutil.rmtree(target)
    target.mkdir()
    extract = ["sh", "-c", 'cd "$1" && borg extract --sparse "$2"', "sh", target, f"{borg}::2"]
    bench.run("borg, restore", *extract, **how)
    shutil.rmtree(target)


def huge(bench: Bench) -> None:
    """Back up a sparse disk of 1 TiB with 8 MiB in every 64 GiB."""
    disk = bench.folder / "huge.raw"
    with disk.open("wb") as file:
        for at in range(0, TIB, TIB // 16):
            file.seek(at)
            file.write(os.urandom(PIECE_BYTES))
        file.truncate(TIB)
    bench.quiesce("quiesce, 1 TiB sparse", "backup", "huge", "--disk", disk, status=3)
    disk.unlink()


def points_in_s3(bench: Bench, rounds: int) -> None:
    """List the points of the same vault in an object store on this machine."""
    local = DirectoryStore(bench.folder / "points")
    with seaweedfs() as server:
        url = server.url()
        store = server.store(url)
        for name in local.list(""):
            store.create(name, local.get(name))
        for _ in range(rounds):
            name = "points, 1,000 of 1 TiB, S3"
            bench.quiesce(name, "points", vault=url, **server.environment)


def size_of(path: Path) -> int:
    """Return the bytes in *path* and below it."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def settle() -> None:
    """Let nothing wait to be written for another's run."""
    os.sync()


def forget(disk: Path) -> None:
    """Have nothing of *disk* in memory."""
    with disk.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def recall(disk: Path) -> None:
    """Have all of *disk* in memory."""
    with disk.open("rb") as file:
        while file.read(MIB):
            pass


if __name__ == "__main__":
    main()
