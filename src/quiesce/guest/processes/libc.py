"""The calls of the C library that Python lacks."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_MCL_CURRENT = 1
_MCL_FUTURE = 2
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def syncfs(descriptor: int) -> None:
    """Write everything that the file system of *descriptor* has in memory; raises OSError."""
    _call("syncfs", descriptor)


def lock_memory() -> None:
    """Keep all memory of this process, now and later, in RAM; raises OSError."""
    _call("mlockall", _MCL_CURRENT | _MCL_FUTURE)


def adopt_orphans(*, wanted: bool) -> bool:
    """Become the parent of our orphaned descendants, or no longer; whether we were. Raises OSError.

    Those already adopted stay.
    """
    before = ctypes.c_int()
    _call("prctl", _PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
    _call("prctl", _PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(wanted))
    return bool(before.value)


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
