"""Programs that the demo's image does not have: a read-only disk brings them into a guest.

The disk is a tar archive of Debian's own packages with all that they need, made once and cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
from typing import TYPE_CHECKING

from quiesce.demo import debian

if TYPE_CHECKING:
    from pathlib import Path

    from vm.inside import Inside

_PACKAGES = ("btrfs-progs", "lvm2")
_SERIAL = "programs"
# Nothing that the guest has is changed, and its directories stay links where they are links.
_EXTRACT = "tar -x --skip-old-files --keep-directory-symlink -C / -f"
_LIMIT_S = 240


def prepare(cache: Path) -> Path:
    """Return the archive with LVM's and Btrfs's programs; it is built where it is not cached."""
    recipe = " ".join((debian.SUITE, *_PACKAGES))
    archive = cache / "programs" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (archive.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.is_file():
            _build(archive)
    return archive


def _build(archive: Path) -> None:
    part = archive.with_suffix(".part")
    sources = debian._apt_sources()  # where the image's packages come from
    make = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--format=tar"]
    chosen = [f"--include={','.join(_PACKAGES)}", '--aptopt=APT::Install-Recommends "false"']
    try:
        subprocess.run(
            ["unshare", "--mount", *make, *chosen, debian.SUITE, str(part), *sources],
            check=True,
            timeout=_LIMIT_S,
        )
        part.rename(archive)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def disk(archive: Path) -> list[str]:
    """The QEMU arguments of a VM that has the archive as a disk."""
    drive = f"if=none,id={_SERIAL},file={archive},format=raw,readonly=on"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={_SERIAL},serial={_SERIAL}"]


def install(inside: Inside) -> None:
    """Have the programs in the running guest."""
    inside.sh(f"{_EXTRACT} /dev/disk/by-id/virtio-{_SERIAL} && udevadm control --reload")
