"""Boots restored disks on throw-away overlays and lets everything say whether it is whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from quiesce.channel.agent import AgentError, NoAnswerError
from quiesce.demo import checks, ledger, load, vm
from quiesce.demo.bootdisk import PARTITION_AT_BYTES
from quiesce.errors import QuiesceError
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from quiesce.demo.checks import Check
    from quiesce.demo.ledger import Commit

_BOOT_S = 240.0
_CHECK_S = 120.0
_OFF_S = 60.0
_AMCHECK = (
    "exec runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_amcheck"
    " --all --install-missing --heapallindexed 2>&1"
)
_ORPHANS = "First orphan inode:"


@dataclass(frozen=True)
class Expected:
    """What the restored machine is compared with; the moments are on the host's monotonic clock."""

    commits: Sequence[Commit]
    freeze_sent_s: float
    thaw_answered_s: float
    lsn: str | None


@dataclass(frozen=True)
class Proof:
    """What was found, and how long the boot took until PostgreSQL answered."""

    checks: tuple[Check, ...]
    boot_s: float


def prove(
    directory: Path, disks: Mapping[str, Path], expected: Expected, *, accelerator: str
) -> Proof:
    """Boot the raw images *disks* (by name, in order) on overlays in *directory* and check them.

    The images stay as they are; no VM is left. Raises QuiesceError DemoFailed where the machine
    does not come up or does not power off.
    """
    deadline = Deadline.after(_CHECK_S)
    overlays = {name: directory / f"{name}.qcow2" for name in disks}
    for name, path in disks.items():
        vm.create_overlay(path, overlays[name], deadline=deadline)
    attached = [vm.VmDisk(name, path) for name, path in overlays.items()]
    began_s = time.monotonic()
    with vm.running(directory, attached, accelerator=accelerator) as restored:
        boot_deadline = Deadline.after(_BOOT_S)
        restored.wait_for_postgresql(deadline=boot_deadline)
        boot_s = time.monotonic() - began_s
        restored.wait_for_agent(deadline=boot_deadline)
        found = _inside(restored, expected)
        restored.power_off(deadline=Deadline.after(_OFF_S))
    found += check_from_outside(directory, overlays)
    return Proof(tuple(found), boot_s)


def _inside(restored: vm.Vm, expected: Expected) -> list[Check]:
    """Check what the running machine shows; the kernel's log first, before anybody adds to it."""
    deadline = Deadline.after(_CHECK_S)
    kernel_log = restored.output_of(["/usr/bin/dmesg", "--kernel"], deadline=deadline)
    comparison = ledger.compare(
        expected.commits,
        load.present_numbers(restored.postgresql),
        freeze_sent_s=expected.freeze_sent_s,
        thaw_answered_s=expected.thaw_answered_s,
    )
    reached, now = _wal_position(restored.postgresql, expected.lsn)
    try:
        amcheck = restored.run(["/bin/sh", "-c", _AMCHECK], deadline=deadline)
    except (AgentError, NoAnswerError) as exc:
        raise QuiesceError("DemoFailed", f"pg_amcheck in the guest: {exc}") from exc
    return [
        checks.check_commits(comparison),
        checks.check_position(expected.lsn, reached=reached, now=now),
        checks.check_postgresql(amcheck.exit_status, amcheck.stdout.decode(errors="replace")),
        checks.check_kernel_log(kernel_log),
    ]


def _wal_position(postgresql: str, lsn: str | None) -> tuple[bool, str]:
    with psycopg.connect(postgresql, connect_timeout=20) as connection:
        row = connection.execute(
            "SELECT coalesce(pg_current_wal_lsn() >= %s::text::pg_lsn, false),"
            " pg_current_wal_lsn()::text",
            (lsn,),
        ).fetchone()
    if row is None:
        raise QuiesceError("DemoFailed", "PostgreSQL tells no WAL position")
    return bool(row[0]), str(row[1])


def check_from_outside(directory: Path, overlays: Mapping[str, Path]) -> list[Check]:
    """Check the file systems on *overlays* from user space, after a clean power-off; no writing."""
    deadline = Deadline.after(_CHECK_S)
    raw = {name: directory / f"{name}.after.raw" for name in overlays}
    for name, path in overlays.items():
        command = ["qemu-img", "convert", "-q", "-O", "raw", str(path), str(raw[name])]
        process.run(command, deadline=deadline)
    found = [_ext4(raw["system"], deadline), _xfs(raw["data"], deadline)]
    for path in raw.values():
        path.unlink()
    return found


def _ext4(disk: Path, deadline: Deadline) -> Check:
    place = f"{disk}?offset={PARTITION_AT_BYTES}"
    header = process.run(["dumpe2fs", "-h", place], deadline=deadline).stdout.decode()
    # Reading only, e2fsck takes orphan inodes for damage: on this copy it may tidy them up.
    how = "-fp" if _ORPHANS in header else "-fn"
    done = process.run(["e2fsck", how, place], deadline=deadline, check=False)
    return checks.check_ext4(done.exit_status, (done.stdout + done.stderr).decode())


def _xfs(disk: Path, deadline: Deadline) -> Check:
    done = process.run(["xfs_repair", "-n", "-f", str(disk)], deadline=deadline, check=False)
    return checks.check_xfs(done.exit_status, (done.stdout + done.stderr).decode())
