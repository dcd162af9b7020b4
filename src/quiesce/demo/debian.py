"""The demo guest's Debian 12 root directory, made of Debian's own packages."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.system import process

if TYPE_CHECKING:
    from quiesce.system.deadline import Deadline

SUITE = "bookworm"
ROOTFS = Path(__file__).parent / "rootfs"

_PACKAGES = (
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "postgresql-15",
    "python3",
    "qemu-guest-agent",
    "systemd-sysv",
    "udev",
    "xfsprogs",
)
# Not needed to run, and much of the image: documentation, translations, the JIT's compiler.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/i18n/charmaps/*",
    "/usr/lib/x86_64-linux-gnu/libLLVM*",
    "/usr/lib/postgresql/15/lib/bitcode/*",
)
# What this machine does not need; without KVM each costs tenths of a second at boot.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@fuse.service",
    "serial-getty@ttyS0.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
)
_MODES = {
    "etc/azure/VMSnapshotPluginConfig.json": 0o600,
    "etc/quiesce/scripts/postgresql-pre": 0o700,
    "etc/quiesce/scripts/postgresql-post": 0o700,
}
# QEMU's user network shows the host to the guest as this address, and nobody else.
_HOST_MAY_CONNECT = "host all all 10.0.2.2/32 trust\n"


def build_root(root: Path, *, deadline: Deadline) -> None:
    """Make the guest's root directory, with PostgreSQL's cluster, at *root*, which must not exist.

    The packages come from where this machine's apt gets its own. Needs root. Raises QuiesceError
    ProgramMissing or ProgramFailed; *root* may then be half made, for the caller to remove.
    """
    process.run(
        [
            # Its mounts of /proc and /dev end with it, even where it is killed.
            "unshare",
            "--mount",
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            f"--include={','.join(_PACKAGES)}",
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            # Before the kernel's package makes its initramfs.
            f"--essential-hook=copy-in {ROOTFS}/etc/initramfs-tools /etc",
            f"--essential-hook=copy-in {ROOTFS}/usr/share/initramfs-tools /usr/share",
            SUITE,
            str(root),
            *_apt_sources(),
        ],
        deadline=deadline,
    )
    _copy_rootfs(root)
    with (root / "etc/postgresql/15/main/pg_hba.conf").open("a", encoding="utf-8") as hba:
        hba.write(_HOST_MAY_CONNECT)
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n", encoding="ascii")
    for name in ("etc/.updated", "var/.updated"):  # nothing for systemd to bring up to date at boot
        (root / name).touch()
    process.run(["chroot", str(root), "systemctl", "mask", *_MASKED], deadline=deadline)
    process.run(
        ["chroot", str(root), "systemctl", "enable", "systemd-networkd.service"], deadline=deadline
    )


def _apt_sources() -> list[str]:
    places = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d")]
    found = [places[0]] if places[0].is_file() else []
    if places[1].is_dir():
        found += [path for path in places[1].iterdir() if path.suffix in {".list", ".sources"}]
    of_suite = [path for path in sorted(found) if SUITE in path.read_text(encoding="utf-8")]
    debian = [path for path in of_suite if _names_debian(path)]
    if not debian:
        raise QuiesceError(
            "DemoFailed",
            f"this machine's apt has no source for Debian {SUITE}",
            action=f"add one for {SUITE} main to /etc/apt/sources.list",
        )
    return [str(path) for path in debian]


def _names_debian(path: Path) -> bool:
    """Return whether *path* is an active source of Debian itself: it has a component `main`."""
    lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    return any(SUITE in words and "main" in words for words in lines) or any(
        words[:1] == ["Components:"] and "main" in words for words in lines
    )


def _copy_rootfs(root: Path) -> None:
    for source in sorted(ROOTFS.rglob("*")):
        name = source.relative_to(ROOTFS)
        target = root / name
        if source.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        shutil.copyfile(source, target)
        target.chmod(_MODES.get(str(name), 0o644))
