"""The files of an installation: put in place, taken back, and every one of them told."""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING

from quiesce.catalogue import mark
from quiesce.errors import QuiesceError
from quiesce.system.files import create_durably, replace_durably
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIRECTORY_MODE = 0o755
_CANNOT_WRITE = mark("cannot write {path}: {reason}")
_CANNOT_REMOVE = mark("cannot remove {path}: {reason}")


@dataclass(frozen=True)
class Change:
    """One file: *action* is wrote, removed, unchanged or left (somebody else's, as it was).

    *content* is what it holds now, where it is ours.
    """

    path: str
    action: str
    content: str | None


def read(path: Path) -> str | None:
    """Return the text of *path*, line ends as they are; None where there is no such file.

    Raises QuiesceError InstallRefused where it cannot be read, or is no regular file: what is
    behind a link is not ours to change.
    """
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            return path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as exc:
        message = "cannot read {path}: {reason}"
        raise QuiesceError("InstallRefused", message, path=path, reason=exc.strerror) from exc
    message = "{path} is no regular file"
    action = "put a regular file at {path}, or take it away"
    raise QuiesceError("InstallRefused", message, path=path, action=action)


def put(root: Path, name: str, content: str, *, mode: int) -> Change:
    """Let the file *name* below *root* hold *content*, whatever it held."""
    path = root / name
    if read(path) == content and path.stat().st_mode & 0o7777 == mode:
        return Change(f"/{name}", "unchanged", content)
    with _refused(_CANNOT_WRITE, path):
        make_directory(path.parent)
        replace_durably(path, content.encode(errors="surrogateescape"), mode=mode)
        path.chmod(mode)
    return Change(f"/{name}", "wrote", content)


def create(
    root: Path, name: str, content: str, *, mode: int, directory_mode: int = _DIRECTORY_MODE
) -> Change:
    """Let there be a file *name* below *root*: with *content* where there is none, else as it is.

    *directory_mode* is that of its directory where there is none.
    """
    path = root / name
    with _refused(_CANNOT_WRITE, path):
        make_directory(path.parent, mode=directory_mode)
        try:
            create_durably(path, content.encode(), mode=mode)
        except FileExistsError:
            return Change(f"/{name}", "left", None)
        path.chmod(mode)
    return Change(f"/{name}", "wrote", content)


def link(root: Path, name: str, target: str) -> Change:
    """Let *name* below *root* be a symbolic link to *target*."""
    path = root / name
    if path.is_symlink() and str(path.readlink()) == target:
        return Change(f"/{name}", "unchanged", f"-> {target}")
    with _refused(_CANNOT_WRITE, path):
        make_directory(path.parent)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    return Change(f"/{name}", "wrote", f"-> {target}")


def remove(root: Path, name: str, *, with_directory: bool = True) -> Change:
    """Let there be no file *name* below *root*, and no empty directory of it."""
    path = root / name
    if not path.exists() and not path.is_symlink():
        return Change(f"/{name}", "unchanged", None)
    with _refused(_CANNOT_REMOVE, path):
        path.unlink()
        if with_directory:
            with contextlib.suppress(OSError):  # others have files there
                path.parent.rmdir()
    return Change(f"/{name}", "removed", None)


def make_directory(path: Path, *, mode: int = _DIRECTORY_MODE) -> None:
    """Let there be a directory *path*, and those above it, whatever the umask; raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=mode)
    path.chmod(mode)


@contextlib.contextmanager
def _refused(message: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise QuiesceError("InstallRefused", message, path=path, reason=exc.strerror) from exc
