"""Choose which mounted file systems to freeze, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quiesce.model.report import ReportedMount


class NotAMountPointError(ValueError):
    """A path that was asked for is no mount point."""


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo; *device* is `major:minor`, *subtree* what of it is mounted here.

    *writable*: neither this mount nor its file system is read-only.
    """

    mount_id: int
    parent_id: int
    device: str
    subtree: str
    path: str
    fstype: str
    source: str
    writable: bool

    @property
    def only_synced(self) -> bool:
        """Whether it has no freeze and needs none: it is transactional, and syncing is enough."""
        return self.fstype == "zfs"


@dataclass(frozen=True)
class FreezePlan:
    """*mounts* in freezing order (thaw in reverse), and what is left out, with its reason.

    *blockers* are those of *mounts* that cannot be frozen as far as is known: `exec` tries.
    """

    mounts: tuple[Mount, ...]
    left_out: tuple[ReportedMount, ...]
    blockers: tuple[ReportedMount, ...]
    warnings: tuple[str, ...]


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Return the mounts of `/proc/self/mountinfo`, in its order."""
    raise NotImplementedError


def plan_freeze(
    mounts: Sequence[Mount],
    *,
    carriers: Mapping[str, tuple[str, ...]],
    skip: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> FreezePlan:
    """Return which of *mounts* to freeze, once per file system, and in which order.

    *carriers*: for the device of a file system, the devices of the file systems that carry it (a
    loop file lies on them, below LVM, dm-crypt or md too). *only*: paths to narrow the plan to;
    raises NotAMountPointError where one is none.
    """
    raise NotImplementedError
