"""Which of QEMU's accelerators runs a guest here: KVM where one really comes up in it, else TCG."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.demo.vm import VmDisk, create_overlay, running
from quiesce.errors import QuiesceError
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from quiesce.demo.image import Image

_KVM = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROBE_S = 15.0
_POLL_S = 0.1
_KERNEL_IS_UP = "Run /init as init process"


def choose_accelerator(image: Image, *, cache: Path) -> str:
    """Return `kvm` or `tcg`; the answer is kept in *cache* until this machine boots again.

    A machine may have KVM's device and guests may hang in it all the same, so one is tried: it
    has 15 s to start its first process.
    """
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "tcg"
    known = cache / f"accelerator-{_BOOT_ID.read_text(encoding='ascii').strip()}"
    if known.is_file():
        return known.read_text(encoding="ascii").strip()
    answer = "kvm" if _comes_up(image) else "tcg"
    for old in cache.glob("accelerator-*"):
        old.unlink(missing_ok=True)
    known.write_text(f"{answer}\n", encoding="ascii")
    return answer


def _comes_up(image: Image) -> bool:
    deadline = Deadline.after(_PROBE_S)
    with tempfile.TemporaryDirectory(prefix="quiesce-kvm-") as name:
        directory = Path(name)
        disk = directory / "system.qcow2"
        create_overlay(image.system, disk, deadline=deadline)
        try:
            with running(directory, [VmDisk("system", disk)], accelerator="kvm") as vm:
                while vm.is_alive() and not deadline.passed():
                    if _KERNEL_IS_UP in vm.serial_log.read_text(errors="replace"):
                        return True
                    time.sleep(_POLL_S)
        except QuiesceError:
            return False  # QEMU itself refuses
    return False
