"""Write a recovery point back: in parallel, every chunk proven, nothing partial with a name."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from quiesce.model.disk import Disk
    from quiesce.model.point import PointSummary
    from quiesce.ports import BlockWriter, Progress
    from quiesce.vault.reading import DiskReader, Run
    from quiesce.vault.repository import Vault


def restore(
    vault: Vault,
    point: PointSummary,
    targets: Mapping[str, BlockWriter],
    *,
    progress: Progress,
) -> None:
    """Write the disks of *point* that *targets* names; each target reads as zeros so far.

    Targets are committed when all of them are written and finished, none before. Begins a stage
    `restore NAME` for each disk, and advances over zeros too. Raises QuiesceError VaultDamaged,
    naming object and range, or where the point's disks are not those that *point* tells of,
    PointNotFound where the point has no such disk, and what the targets raise.
    """
    reader = vault.read(point)
    if _sizes(reader.disks) != _sizes(point.disks):
        raise QuiesceError(
            "VaultDamaged", f"log and manifest of the point {point.id} tell of different disks"
        )
    missing = sorted(set(targets) - {disk.name for disk in reader.disks})
    if missing:
        raise QuiesceError("PointNotFound", f"the point {point.id} has no disk {missing[0]}")
    for name, target in targets.items():
        disk = reader.disk(name)
        progress.stage(f"restore {name}", disk.size_bytes)
        _copy(disk, target, progress)
    for target in targets.values():
        target.finish()
    for target in targets.values():
        target.commit()


def _sizes(disks: Iterable[Disk]) -> list[tuple[str, int]]:
    return sorted((disk.name, disk.size_bytes) for disk in disks)


def _copy(disk: DiskReader, target: BlockWriter, progress: Progress) -> None:
    def write(run: Run) -> int:
        end = run.start_bytes
        for start, data in disk.fetch(run):
            target.write(start, data)
            end = start + len(data)
        return end

    threads = (os.cpu_count() or 1) + 2
    pending: deque[Future[int]] = deque()
    done = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="restore") as pool:
        try:
            for run in disk.runs():
                pending.append(pool.submit(write, run))
                if len(pending) >= 2 * threads:
                    done = _finished(pending.popleft(), done, progress)
            while pending:
                done = _finished(pending.popleft(), done, progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.advance(disk.size_bytes - done)


def _finished(run_end: Future[int], done: int, progress: Progress) -> int:
    end = run_end.result()
    progress.advance(end - done)
    return end
