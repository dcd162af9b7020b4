"""The disks of the benchmark: 8 GiB, and the same a day later; the same again for the same files.

A disk has eight areas of 1 GiB. Each begins with data (files of this machine, text, random bytes,
one behind the other as a file system would lay them) and is sparse from there on.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
AREAS = 8
AREA_BYTES = 1 << 30
FILES_BYTES = 200 * MIB
TEXT_BYTES = 100 * MIB
RANDOM_BYTES = 100 * MIB
BLOCK_BYTES = 4096
# A day's changes, for each area: few large ones, as of a log or an upgrade, and many small ones.
CHANGES = ((2, 6 * MIB), (8, MIB), (16, 32 << 10))
FOLDERS = ("/usr/bin", "/usr/lib", "/usr/share")
_WORDS = 4000
_PAIRS = 1 << 16


@dataclass(frozen=True)
class Disks:
    """Where the disks are, and *changed*, the list of what differs."""

    first: Path
    second: Path
    changed: Path

    @property
    def data_bytes(self) -> int:
        """How much of the first disk is not sparse."""
        return self.first.stat().st_blocks * 512


def placed(directory: Path) -> Disks:
    """Return where the disks in *directory* are."""
    return Disks(
        directory / "disk.raw", directory / "later" / "disk.raw", directory / "changed.json"
    )


def make(directory: Path) -> None:
    """Make the disks in *directory*."""
    disks = placed(directory)
    first, second = disks.first, disks.second
    second.parent.mkdir()
    files = _files()
    with first.open("wb") as disk:
        for area in range(AREAS):
            disk.seek(area * AREA_BYTES)
            for piece in _content(_random(area), files):
                disk.write(piece)
        disk.truncate(AREAS * AREA_BYTES)
        os.fsync(disk.fileno())
    _copy_sparse(first, second)
    changed = [extent for area in range(AREAS) for extent in _change(second, area)]
    disks.changed.write_text(json.dumps(changed))


def _random(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311  # the same numbers each time are wanted


def _content(source: random.Random, files: Iterator[bytes]) -> Iterator[bytes]:
    left = FILES_BYTES
    while left > 0 and (content := next(files, None)) is not None:
        yield content[:left] + bytes(-len(content[:left]) % BLOCK_BYTES)
        left -= len(content)
    yield from _text(source, TEXT_BYTES)
    for _ in range(RANDOM_BYTES // MIB):
        yield source.randbytes(MIB)


def _files() -> Iterator[bytes]:
    """Yield the content of this machine's program files, in the order of their names."""
    for folder in FOLDERS:
        for parent, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if name.endswith(".pyc") or path.is_symlink() or not path.is_file():
                    continue
                yield path.read_bytes()


def _text(source: random.Random, size_bytes: int) -> Iterator[bytes]:
    """Yield what looks like a log: numbered lines of words, the common ones often.

    Words come in pairs, as that is done faster; there are so many that whole lines do not recur.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(source.choices(letters, k=source.randint(2, 10))) for _ in range(_WORDS)]
    weights = [1 / rank for rank in range(1, _WORDS + 1)]
    chosen = source.choices(words, weights, k=2 * _PAIRS)
    pairs = [f" {one} {other}" for one, other in zip(chosen[::2], chosen[1::2], strict=True)]
    done = number = 0
    while done < size_bytes:
        lines = []
        for _ in range(1000):
            number += source.randint(1, 9)
            said = "".join(source.choices(pairs, k=6))
            lines.append(f"{number:010d} {source.getrandbits(32):08x}{said}\n")
        text = "".join(lines).encode()[: size_bytes - done]
        done += len(text)
        yield text


def _change(disk: Path, area: int) -> Iterator[tuple[int, int]]:
    """Change a part of *area* and yield offsets and lengths, in order, none touching another."""
    source = _random(f"later {area}")
    lengths = [length for count, length in CHANGES for _ in range(count)]
    source.shuffle(lengths)
    room = (FILES_BYTES + TEXT_BYTES + RANDOM_BYTES + 20 * MIB) // len(lengths)
    slots = source.sample(range(len(lengths)), len(lengths))
    changes = sorted(zip(slots, lengths, strict=True))
    with disk.open("r+b") as file:
        for slot, length in changes:
            start = area * AREA_BYTES + slot * room // BLOCK_BYTES * BLOCK_BYTES
            text = b"".join(_text(source, length // 2))
            file.seek(start)
            file.write(text + source.randbytes(length - len(text)))
            yield start, length
        os.fsync(file.fileno())


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        for area in range(AREAS):
            at = area * AREA_BYTES
            end = os.lseek(read.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(read.fileno(), write.fileno(), end - at, at, at)
        write.truncate(AREAS * AREA_BYTES)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
