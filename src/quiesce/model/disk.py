"""The machine that is backed up, and its disks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Disk:
    """One disk of a machine.

    *name* is libvirt's target, else the qdev id, else `disk0`, `disk1` … (`overview.md`, 4);
    disks are matched between runs by name, then by *serial*.
    """

    name: str
    size_bytes: int
    serial: str | None = None


@dataclass(frozen=True)
class SkippedDisk:
    """A drive that is not backed up, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class MachineDefinition:
    """What is needed to make the machine again: a *kind* and its text.

    *kind* is `qemu-argv` (a JSON list of the command line, secrets' data removed) or `file`
    (what the settings named). *firmware* is the firmware's own state, where there is one.
    """

    kind: str
    text: str
    firmware: bytes | None = None
