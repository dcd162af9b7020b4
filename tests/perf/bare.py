"""The bare pipelines that the vault is measured against: two threads, and nothing that can go.

`backup DISK FOLDER`: read, BLAKE3, zstd level 1, AES-256-GCM, write and fsync. `hash DISK`: read
and BLAKE3. `restore FOLDER DISK`: read, decrypt, decompress, write sparse and fsync. No format, no
deduplication, no proof, no error handling.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES = 256 << 10
SPAN_BYTES = 1 << 20
PACK_BYTES = 32 << 20
ZEROS = bytes(CHUNK_BYTES)
KEY = bytes(range(32))
ROW = struct.Struct("<QQI")
_Part = TypeVar("_Part")


def main() -> None:
    """Do what the arguments say."""
    what, source, *targets = sys.argv[1:]
    if what == "backup":
        backup(source, Path(targets[0]))
    elif what == "hash":
        in_two_threads(lambda _, spans: hash_spans(spans), spans_of(source))
    else:
        restore(Path(source), targets[0])


def backup(disk: str, folder: Path) -> None:
    """Write *disk* to new files in *folder*."""
    folder.mkdir()
    in_two_threads(lambda number, spans: pack(spans, folder / f"{number}"), spans_of(disk))
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)


def restore(folder: Path, target: str) -> None:
    """Write the disk in *folder* to the new file *target*."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    files = sorted(folder.glob("*.rows"))
    rows = [(name.with_suffix(""), row) for name in files for row in rows_of(name)]
    runs = iter([rows[at : at + 8] for at in range(0, len(rows), 8)])
    os.ftruncate(descriptor, max(at for _, (at, _, _) in rows) + CHUNK_BYTES)
    in_two_threads(lambda _, runs: unpack(runs, descriptor), runs)
    os.fsync(descriptor)


def in_two_threads(work: Callable[[int, Iterator[_Part]], None], parts: Iterator[_Part]) -> None:
    """Let two threads *work* on *parts*, each taking the next one."""
    lock = threading.Lock()

    def taken() -> Iterator[_Part]:
        while True:
            with lock:
                part = next(parts, None)
            if part is None:
                return
            yield part

    threads = [threading.Thread(target=work, args=(number, taken())) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def spans_of(disk: str) -> Iterator[tuple[int, int, int]]:
    """Yield descriptor, start and length of what is not a hole."""
    descriptor = os.open(disk, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        for at in range(start, end, SPAN_BYTES):
            yield descriptor, at, min(SPAN_BYTES, end - at)


def hash_spans(spans: Iterator[tuple[int, int, int]]) -> None:
    """Read and hash *spans*."""
    for descriptor, start, length in spans:
        data = memoryview(os.pread(descriptor, length, start))
        for at in range(0, length, CHUNK_BYTES):
            blake3(data[at : at + CHUNK_BYTES]).digest()


def pack(spans: Iterator[tuple[int, int, int]], name: Path) -> None:
    """Write *spans* to the file *name*, and where what lies to another."""
    compress = zstandard.ZstdCompressor(level=1).compress
    cipher = AESGCM(KEY)
    rows = bytearray()
    filling = bytearray()
    file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
    done = 0
    for descriptor, start, length in spans:
        data = os.pread(descriptor, length, start)
        view = memoryview(data)
        for at in range(0, length, CHUNK_BYTES):
            if data.startswith(ZEROS[: length - at], at):
                continue
            plain = view[at : at + CHUNK_BYTES]
            blake3(plain).digest()
            nonce = (start + at).to_bytes(12, "little")
            sealed = cipher.encrypt(nonce, compress(plain), None)
            rows += ROW.pack(start + at, done + len(filling), len(sealed))
            filling += sealed
        if len(filling) >= PACK_BYTES:
            done += write(file, filling)
            filling = bytearray()
    write(file, filling)
    rows_name = name.with_suffix(".rows")
    rows_name.write_bytes(rows)


def write(file: int, data: bytearray) -> int:
    """Write *data* to the disk and return how much it was."""
    os.write(file, data)
    os.fsync(file)
    return len(data)


def rows_of(name: Path) -> Iterator[tuple[int, int, int]]:
    """Yield where chunks belong, where they lie, and their stored bytes."""
    return ROW.iter_unpack(name.read_bytes())


def unpack(runs: Iterator[list[tuple[Path, tuple[int, int, int]]]], target: int) -> None:
    """Write the chunks of *runs* to *target*."""
    cipher = AESGCM(KEY)
    decompress = zstandard.ZstdDecompressor().decompress
    files: dict[Path, int] = {}
    for run in runs:
        for name, (start, offset, length) in run:
            if name not in files:
                files[name] = os.open(name, os.O_RDONLY)
            sealed = os.pread(files[name], length, offset)
            plain = decompress(cipher.decrypt(start.to_bytes(12, "little"), sealed, None))
            os.pwrite(target, plain, start)


if __name__ == "__main__":
    main()
