"""What QEMU says of a machine: its disks, whether it runs, whether it is busy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiesce.errors import QuiesceError
from quiesce.model.disk import Disk, SkippedDisk
from quiesce.providers.qmp import Command, CommandRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.providers.qmp import QmpConnection

_NO_UUID = "00000000-0000-0000-0000-000000000000"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PERIPHERAL = "/machine/peripheral/"
_VIRTIO_PART = "/virtio-backend"
_FLASH = re.compile(r"/machine/(system|virt)\.flash[0-9]+")


@dataclass(frozen=True)
class FoundDisk:
    """A disk and where it hangs: its device in QEMU's object tree and its topmost node.

    *image* is the file that it lies in, None where that is not a plain file. *iothread*: its
    device is served outside QEMU's main loop.
    """

    disk: Disk
    qom_path: str
    node: str
    image: Path | None
    iothread: bool


@dataclass(frozen=True)
class FoundMachine:
    """One look at a machine; *flash* are the files of its firmware's own state."""

    version: tuple[int, int, int]
    uuid: str | None
    running: bool
    disks: tuple[FoundDisk, ...]
    skipped: tuple[SkippedDisk, ...]
    flash: tuple[Path, ...]


@dataclass(frozen=True)
class Drive:
    """One entry of `query-block`, before it is known whether it is a disk to be backed up.

    *identity* is the id that its device was given; *reason* says why it is skipped.
    """

    identity: str | None
    label: str
    qom_path: str
    inserted: Mapping[str, Any]
    reason: str | None

    @property
    def is_flash(self) -> bool:
        """Whether it holds the firmware or its state."""
        return _FLASH.fullmatch(self.qom_path) is not None or self.label.startswith("pflash")


def look(connection: QmpConnection) -> FoundMachine:
    """Look at the machine; changes nothing.

    Raises QuiesceError MachineBusy where a block job is under way, and as QmpConnection does.
    """
    names = ("query-version", "query-status", "query-uuid", "query-block", "query-iothreads")
    job_names = ("query-jobs", "query-block-jobs")
    answers = connection.execute_all([Command(name) for name in (*names, *job_names)])
    version, status, uuid, block, iothreads, *jobs = (_value(answer) for answer in answers)
    _refuse_busy(*jobs)
    drives = [drive_of(entry) for entry in block]
    wanted = [drive for drive in drives if drive.reason is None]
    disks = tuple(
        _found_disk(connection, drive, name, may_have_iothread=bool(iothreads))
        for drive, name in zip(wanted, disk_names([one.identity for one in wanted]), strict=True)
    )
    qemu = version["qemu"]
    return FoundMachine(
        version=(qemu["major"], qemu["minor"], qemu["micro"]),
        uuid=None if uuid["UUID"] == _NO_UUID else uuid["UUID"],
        running=status["running"],
        disks=disks,
        skipped=tuple(SkippedDisk(one.label, one.reason) for one in drives if one.reason),
        flash=_flash_files(drives),
    )


def look_again(connection: QmpConnection, disks: Sequence[FoundDisk]) -> bool:
    """Return whether the machine runs, right before its disks are changed.

    Raises QuiesceError MachineBusy where since `look` a job has begun, which a filter would bypass,
    or a disk has come to lie on another node, which a filter would take away from it.
    """
    names = ("query-status", "query-block", "query-jobs", "query-block-jobs")
    answers = connection.execute_all([Command(name) for name in names])
    status, block, jobs, block_jobs = (_value(answer) for answer in answers)
    _refuse_busy(jobs, block_jobs)
    nodes = {drive.qom_path: drive.inserted.get("node-name") for drive in map(drive_of, block)}
    for one in disks:
        if nodes.get(one.qom_path) != one.node:
            raise QuiesceError("MachineBusy", f"the disk {one.disk.name} was changed meanwhile")
    return bool(status["running"])


def drive_of(entry: Mapping[str, Any]) -> Drive:
    """Return what one entry of `query-block` means."""
    qdev = entry.get("qdev", "")
    qom_path = qdev if qdev.startswith("/") else f"{_PERIPHERAL}{qdev}"
    identity = qom_path.removeprefix(_PERIPHERAL).removesuffix(_VIRTIO_PART)
    inserted = entry.get("inserted") or {}
    drive = Drive(
        identity=identity if _NAME.fullmatch(identity) else None,
        label=entry.get("device") or identity or inserted.get("node-name", "drive"),
        qom_path=qom_path,
        inserted=inserted,
        reason=None,
    )
    return Drive(drive.identity, drive.label, qom_path, inserted, _reason(entry, drive))


def disk_names(identities: Sequence[str | None]) -> list[str]:
    """Return a name for each disk: its identity, else `disk` and its number in order."""
    taken = {identity for identity in identities if identity is not None}
    names = []
    for number, identity in enumerate(identities):
        name = identity or f"disk{number}"
        while identity is None and name in taken:
            name += "-"
        names.append(name)
        taken.add(name)
    return names


def _reason(entry: Mapping[str, Any], drive: Drive) -> str | None:
    if not drive.inserted:
        return "no medium"
    if drive.is_flash:
        return "firmware"
    if drive.inserted["ro"]:
        return "read-only"
    if not entry.get("qdev"):
        return "no device uses it"
    if entry["removable"]:
        return "removable"
    return None


def _refuse_busy(
    jobs: Sequence[Mapping[str, Any]], block_jobs: Sequence[Mapping[str, Any]]
) -> None:
    names = sorted({job["id"] for job in jobs} | {job["device"] for job in block_jobs})
    if names:
        raise QuiesceError("MachineBusy", f"a block job is under way: {', '.join(names)}")


def _found_disk(
    connection: QmpConnection, drive: Drive, name: str, *, may_have_iothread: bool
) -> FoundDisk:
    image = drive.inserted.get("file", "")
    size_bytes = drive.inserted["image"]["virtual-size"]
    return FoundDisk(
        disk=Disk(name, size_bytes, _property(connection, drive.qom_path, "serial") or None),
        qom_path=drive.qom_path,
        node=drive.inserted["node-name"],
        image=Path(image) if image.startswith("/") else None,
        iothread=may_have_iothread and _has_iothread(connection, drive.qom_path),
    )


def _has_iothread(connection: QmpConnection, qom_path: str) -> bool:
    """Return whether the device at *qom_path*, or the controller of its bus, has an iothread."""
    places = [qom_path]
    bus = _property(connection, qom_path, "parent_bus")
    while bus.count("/") > 1:
        bus = bus.rpartition("/")[0]
        places.append(bus)
    return any(_property(connection, place, "iothread") for place in places)


def _property(connection: QmpConnection, qom_path: str, name: str) -> str:
    """Return the property, the empty string where there is none."""
    try:
        value = connection.execute("qom-get", {"path": qom_path, "property": name})
    except CommandRefusedError:
        return ""
    return str(value)


def _flash_files(drives: Sequence[Drive]) -> tuple[Path, ...]:
    files = [
        drive.inserted["file"]
        for drive in drives
        if drive.is_flash and drive.inserted and not drive.inserted["ro"]
    ]
    return tuple(Path(file) for file in files if file.startswith("/"))


def _value(answer: Any) -> Any:
    if isinstance(answer, QuiesceError):
        raise answer
    return answer
