"""Let the machine's boot release what was held when it went down, and make /run/quiesce."""

from __future__ import annotations

from pathlib import Path

from quiesce.guest.installation.install_files import Change, link, put, remove
from quiesce.guest.shipped import text_of

_UNIT = "quiesce-guest-recover.service"
_UNITS = "etc/systemd/system"
_WANTED = f"{_UNITS}/multi-user.target.wants/{_UNIT}"
_TMPFILES = "quiesce-guest.conf"
_SYSTEMD = ("usr/lib/systemd/systemd", "lib/systemd/systemd")


def install_boot(program: str, *, root: Path = Path("/")) -> list[Change]:
    """Have *program* run at boot, and /run/quiesce made; nothing where there is no systemd.

    Doing it again changes nothing. *root* is the directory of an image. Raises QuiesceError
    InstallRefused where a file cannot be written.
    """
    if not has_systemd(root=root):
        return []
    unit = text_of(_UNIT).replace("@PROGRAM@", _quoted(program))
    return [
        put(root, f"{_UNITS}/{_UNIT}", unit, mode=0o644),
        link(root, _WANTED, f"../{_UNIT}"),
        put(root, f"etc/tmpfiles.d/{_TMPFILES}", text_of(_TMPFILES), mode=0o644),
    ]


def uninstall_boot(*, root: Path = Path("/")) -> list[Change]:
    """Take back what `install_boot` did; raises as that."""
    if not has_systemd(root=root):
        return []
    names = (_WANTED, f"{_UNITS}/{_UNIT}", f"etc/tmpfiles.d/{_TMPFILES}")
    return [remove(root, name, with_directory=False) for name in names]


def has_systemd(*, root: Path = Path("/")) -> bool:
    """Return whether systemd is installed below *root*."""
    return any((root / name).exists() for name in _SYSTEMD)


def _quoted(program: str) -> str:
    """Return *program* as systemd wants it in a command line."""
    escaped = program.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != program or " " in program else program
