"""The checks can fail: the same machine, snapshotted badly, and in one instant but at work."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest

from quiesce.demo import checks, ledger, load
from quiesce.demo.vm import VmDisk
from quiesce.system.deadline import Deadline
from tools.bare_qemu import Monitor
from vm.inside import Inside, booted, wait_until
from vm.protected import Protected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from quiesce.demo.vm import Vm
    from vm.conftest import Machines

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

WAL_ON_THE_SYSTEM_DISK = """
set -eu
systemctl stop postgresql
mv /var/lib/postgresql/15/main/pg_wal /var/lib/pg_wal
ln -s /var/lib/pg_wal /var/lib/postgresql/15/main/pg_wal
chown -h postgres: /var/lib/postgresql/15/main/pg_wal
systemctl start postgresql
"""
SERVICE = "postgresql@15-main"
LOG = "/var/log/postgresql/postgresql-15-main.log"
AMCHECK = [
    *("/usr/sbin/runuser", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/pg_amcheck"),
    *("--all", "--install-missing", "--heapallindexed"),
]
COMMITS = 100
LIMIT_S = 90.0


@dataclass
class Source:
    """The machine: its WAL is on the system disk, its tables are on the data disk."""

    machines: Machines
    vm: Vm
    inside: Inside
    monitor: Monitor

    @contextlib.contextmanager
    def written(self) -> Iterator[load.Load]:
        """Clients write to an empty ledger; they have ended when the context is left."""
        with psycopg.connect(self.vm.postgresql) as connection:
            connection.execute("DROP TABLE IF EXISTS ledger")
        with load.running(self.vm.postgresql) as clients:
            clients.wait_for_commits(COMMITS, deadline=Deadline.after(LIMIT_S))
            yield clients

    def set_aside(self, disk: str) -> Path:
        """Leave *disk* as it is at this moment, and let the machine write to an overlay of it."""
        image = self.vm.directory / f"{disk}.qcow2"
        overlay = str(image.with_suffix(".over.qcow2"))
        self.monitor("blockdev-snapshot-sync", device=f"{disk}0", snapshot_file=overlay)
        return image

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The machine stands still, so that another has the processors."""
        self.monitor("stop")
        yield
        self.monitor("cont")


@pytest.fixture(scope="module")
def source(module_machines: Machines) -> Iterator[Source]:
    with booted(module_machines) as (vm, inside):
        inside.sh(WAL_ON_THE_SYSTEM_DISK)
        vm.wait_for_postgresql(deadline=Deadline.after(LIMIT_S))
        with contextlib.closing(Monitor(vm.directory / "monitor")) as monitor:
            yield Source(module_machines, vm, inside, monitor)


def start_on_overlays(machines: Machines, images: Mapping[str, Path]) -> Vm:
    """Start a machine with these disks, which stay as they are."""
    directory = machines.directory()
    disks = [VmDisk(name, directory / f"{name}.qcow2") for name in images]
    for disk, image in zip(disks, images.values(), strict=True):
        image_format = image.suffix[1:]
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", image_format, "-b", image]
        subprocess.run([*create, disk.path], check=True)
    return machines.start(directory, disks)


def state_of_postgresql(vm: Vm) -> str:
    argv = ["/usr/bin/systemctl", "is-active", SERVICE]
    return vm.run(argv, deadline=Deadline.after(LIMIT_S)).stdout.decode().strip()


def test_disks_taken_one_after_the_other_come_up_broken(source: Source, machines: Machines) -> None:
    with source.written() as clients:
        taken = {"system": source.set_aside("system")}
        with psycopg.connect(source.vm.postgresql, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        clients.wait_for_commits(COMMITS, deadline=Deadline.after(LIMIT_S))
        taken["data"] = source.set_aside("data")
    with source.paused():
        restored = start_on_overlays(machines, taken)
        restored.wait_for_agent(deadline=Deadline.after(LIMIT_S))
        wait_until(
            lambda: state_of_postgresql(restored) in {"active", "failed"}, "PostgreSQL's start"
        )
        state = state_of_postgresql(restored)
        log = restored.output_of(["/bin/cat", LOG], deadline=Deadline.after(LIMIT_S))
        kernel_log = restored.output_of(["/usr/bin/dmesg"], deadline=Deadline.after(LIMIT_S))

    assert state == "failed"
    assert "could not locate a valid checkpoint record" in log
    assert not checks.check_kernel_log(kernel_log).passed


def test_one_instant_of_both_disks_comes_up_by_its_own_recovery(
    source: Source, machines: Machines
) -> None:
    protected = Protected(machines.directory(), source.vm, agent=False)
    with source.written() as clients:
        backup = protected.backup()
        clients.wait_for_commits(COMMITS, deadline=Deadline.after(LIMIT_S))
    assert backup.status == 0, backup.said
    with source.paused():
        images = protected.restore(backup.run["point"]["id"])
        restored = start_on_overlays(machines, images)
        restored.wait_for_postgresql(deadline=Deadline.after(LIMIT_S))
        restored.wait_for_agent(deadline=Deadline.after(LIMIT_S))
        log = restored.output_of(["/bin/cat", LOG], deadline=Deadline.after(LIMIT_S))
        kernel_log = restored.output_of(["/usr/bin/dmesg"], deadline=Deadline.after(LIMIT_S))
        amcheck = restored.run(AMCHECK, deadline=Deadline.after(LIMIT_S))
        present = load.present_numbers(restored.postgresql)
    comparison = ledger.compare(
        clients.commits(),
        present,
        freeze_sent_s=backup.run["moments"]["freeze_sent"],
        thaw_answered_s=backup.run["moments"]["thaw_answered"],
    )

    assert backup.level == "crash"
    assert "database system was not properly shut down; automatic recovery in progress" in log
    assert checks.check_commits(comparison).passed, comparison
    assert checks.check_postgresql(amcheck.exit_status, amcheck.stdout.decode()).passed
    assert not checks.check_kernel_log(kernel_log).passed
