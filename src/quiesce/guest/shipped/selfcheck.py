"""Whether our own files in this machine are as they were shipped.

`quiesce-guest.pyz` ends with the SHA-256 of all that comes before it; an installation by Python's
installer has a list of checksums beside it. Every session reads and hashes all of it: that takes
a few milliseconds before anything is at rest, and only that finds a disk that lost a bit, which
changes neither size nor time. Files that a distribution's package manager owns have no such list:
its own verification (`dpkg -V`, `rpm -V`) is for them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.shipped import hookfile

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKSUM_BYTES = 64

_PACKAGE = os.path.abspath(__file__).rsplit(os.sep, 3)[0]
_GUEST_SET = (
    *("guest/", "locale/", "model/", "system/"),
    *("catalogue.py", "error_table.py", "errors.py", "values.py"),
)
_REINSTALL = "install -m 755 quiesce-guest.pyz {path} && {path} install qga"


def damages(*, root: str = "/") -> tuple[QuiesceError, ...]:
    """Return an IncorrectPluginhostFile for each of our files that is not as shipped.

    *root* is where the hook is looked for. Never raises for what it finds.
    """
    archive = archive_we_run_from()
    ours = _damaged_sources() if archive is None else _damaged_archive(archive)
    hook = (hookfile.HOOK,) if hookfile.is_damaged(root=root) else ()
    return (*ours, *(_damaged(path, "quiesce-guest install qga") for path in hook))


def archive_we_run_from() -> str | None:
    """Return the single file that we are, None where we are a directory of modules."""
    archive: str | None = getattr(globals().get("__loader__"), "archive", None)
    return None if archive is None else os.path.abspath(archive)


def is_whole(data: bytes) -> bool:
    """Return whether *data*, the content of a `quiesce-guest.pyz`, is as it was built."""
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    return hashlib.sha256(body).hexdigest().encode() == checksum


def _damaged_archive(path: str) -> Iterator[QuiesceError]:
    try:
        with open(path, "rb") as file:
            whole = is_whole(file.read())
    except OSError:
        whole = False
    if not whole:
        yield _damaged(path, _REINSTALL)


def _damaged_sources() -> Iterator[QuiesceError]:
    for record in _installer_records():
        with open(record, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        for line in lines:
            name, _, rest = line.partition(",sha256=")
            part = name.partition("/")[2]
            if rest and name.startswith("quiesce/") and part.startswith(_GUEST_SET):
                path = os.path.join(_PACKAGE, part)
                if _digest(path) != rest.partition(",")[0]:
                    yield _damaged(path, "pip install --force-reinstall quiesce")


def _installer_records() -> list[str]:
    """Return the lists of checksums that Python's installer left beside our package."""
    above = os.path.dirname(_PACKAGE)
    folders = [
        name
        for name in os.listdir(above)
        if name.startswith("quiesce-") and name.endswith(".dist-info")
    ]
    records = [os.path.join(above, name, "RECORD") for name in folders]
    return [record for record in records if os.path.isfile(record)]


def _digest(path: str) -> str | None:
    """Return the checksum of *path* as the installer writes it; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _damaged(path: str, action: str) -> QuiesceError:
    message = "{path} is damaged: it is not as it was shipped"
    return QuiesceError("IncorrectPluginhostFile", message, path=path, action=action)
