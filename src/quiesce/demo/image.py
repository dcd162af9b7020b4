"""The demo VM's disk images, built once and kept in a cache named by what they are made of."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.demo import bootdisk, debian
from quiesce.demo.cache import kept
from quiesce.errors import QuiesceError
from quiesce.system import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quiesce.system.deadline import Deadline

SYSTEM_BYTES = 2 << 30
DATA_BYTES = 1 << 30
_INSTALL = """
mount -o loop,offset="$2" "$1" "$3"
install -m 755 "$4" "$3/usr/local/bin/quiesce-guest"
chroot "$3" /usr/local/bin/quiesce-guest install qga
umount "$3"
"""


@dataclass(frozen=True)
class Image:
    """Two raw images, the system's and the data's; nobody writes to them, VMs use overlays."""

    system: Path
    data: Path


def cache_directory() -> Path:
    """Return where images are kept: /var/cache as root, the XDG directory otherwise."""
    if os.geteuid() == 0:
        return Path("/var/cache/quiesce")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "quiesce"


def guest_program() -> Path:
    """Return the single file `quiesce-guest.pyz`; raises QuiesceError ProgramMissing."""
    path = Path(__file__).parents[3] / "build" / "quiesce-guest.pyz"
    if not path.is_file():
        raise QuiesceError(
            "ProgramMissing", f"no {path}", action="build it: make build/quiesce-guest.pyz"
        )
    return path


def prepare_image(
    guest: Path, *, cache: Path, deadline: Deadline, tell: Callable[[str], None]
) -> Image:
    """Return the image with the guest program *guest* installed; builds only what is missing.

    Debian and the guest program are two layers: another guest program leaves Debian as it is.
    Safe to call from several processes at once. *tell* hears what takes long. Needs root to
    build. Raises QuiesceError ProgramMissing, ProgramFailed, DemoFailed; nothing half-built is
    ever used.
    """
    if os.geteuid() != 0:
        raise QuiesceError(
            "DemoFailed", "only root can build the VM's image", action="run it as root"
        )

    def build(directory: Path) -> None:
        tell("building a Debian 12 VM with PostgreSQL (once; it is kept for the next time)")
        _build_base(directory, deadline)

    def install(directory: Path) -> None:
        tell("installing quiesce-guest in it")
        _install_guest(base / "system.raw", directory, guest, deadline)

    base = kept(cache / "demo", _recipe(), build)
    layer = kept(base, [guest.read_bytes()], install)
    return Image(layer / "system.raw", base / "data.raw")


def _recipe() -> Iterator[bytes]:
    here = Path(__file__).parent
    yield from ((here / name).read_bytes() for name in ("bootdisk.py", "debian.py"))
    for path in sorted(debian.ROOTFS.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(debian.ROOTFS)).encode()
            yield path.read_bytes()
    yield f"{SYSTEM_BYTES} {DATA_BYTES}".encode()


def _build_base(directory: Path, deadline: Deadline) -> None:
    root = directory / "root"
    databases = root / "var/lib/postgresql"
    debian.build_root(root, deadline=deadline)
    bootdisk.build_data_disk(
        databases, directory / "data.raw", size_bytes=DATA_BYTES, deadline=deadline
    )
    for entry in databases.iterdir():  # from here on only the place where the data disk is mounted
        shutil.rmtree(entry)
    bootdisk.build_system_disk(
        root, directory / "system.raw", size_bytes=SYSTEM_BYTES, deadline=deadline
    )
    shutil.rmtree(root)
    for name in ("data.raw", "system.raw"):
        (directory / name).chmod(0o444)


def _install_guest(base: Path, directory: Path, guest: Path, deadline: Deadline) -> None:
    """Copy the system image and install the guest program in the copy as a user would."""
    system = directory / "system.raw"
    process.run(
        ["cp", "--sparse=always", "--reflink=auto", str(base), str(system)], deadline=deadline
    )
    mounted = directory / "mounted"
    mounted.mkdir()
    # In a mount namespace of its own: the mount ends with the shell, even where it is killed.
    shell = ["unshare", "--mount", "sh", "-euc", _INSTALL, "sh"]
    offset = str(bootdisk.PARTITION_AT_BYTES)
    process.run([*shell, str(system), offset, str(mounted), str(guest)], deadline=deadline)
    mounted.rmdir()
    system.chmod(0o444)
