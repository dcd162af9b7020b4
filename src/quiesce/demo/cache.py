"""What takes long to build, kept in a cache and named by what it is made of."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_UNUSED_S = 24 * 3600.0
_KEPT = 2
_HEX_DIGITS = 16


def kept(place: Path, parts: Iterable[bytes], build: Callable[[Path], None]) -> Path:
    """Return the directory in *place* for *parts*; only where it is missing *build* fills it.

    Safe to call from several processes at once: one builds and the others wait. Nothing half-built
    is ever used. Of what was built of other parts only the newest, and what was used in the last
    24 hours, is kept. Raises what *build* raises.
    """
    target = place / _digest(parts)
    with _locked(place):
        if not target.is_dir():
            with _whole(target) as part:
                build(part)
            _keep_newest(place)
        os.utime(target)
    return target


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:_HEX_DIGITS]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a directory that becomes *target* at the end, or leaves nothing where that fails."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # what a killed build left
    part.mkdir()
    try:
        yield part
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _keep_newest(directory: Path) -> None:
    """Remove all but the newest and those that another checkout may still use."""
    built = [path for path in directory.iterdir() if path.is_dir() and not path.suffix]
    used_at_s = {path: path.stat().st_mtime for path in built}
    built.sort(key=lambda path: used_at_s[path], reverse=True)
    for path in built[_KEPT:]:
        if time.time() - used_at_s[path] > _UNUSED_S:
            shutil.rmtree(path)
