"""The calls of the C library that Python lacks."""

from __future__ import annotations

import ctypes
import os

_MCL_CURRENT = 1
_MCL_FUTURE = 2


def syncfs(descriptor: int) -> None:
    """Write everything that the file system of *descriptor* has in memory; raises OSError."""
    _call("syncfs", descriptor)


def lock_memory() -> None:
    """Keep all memory of this process, now and later, in RAM; raises OSError."""
    _call("mlockall", _MCL_CURRENT | _MCL_FUTURE)


def _call(name: str, argument: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library[name](ctypes.c_int(argument)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
