"""Choose which mounted file systems to freeze, and in which order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quiesce.catalogue import mark, phrase
from quiesce.errors import QuiesceError
from quiesce.model.report import ReportedMount
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ANONYMOUS = frozenset({"btrfs", "zfs"})
_EXT = frozenset({"ext2", "ext3", "ext4"})
_OTHERS = frozenset({"xfs", "f2fs", "jfs", "nilfs2", "gfs2", "ocfs2", "reiserfs"})
_FREEZABLE = _ANONYMOUS | _EXT | _OTHERS
_HOST_SHARED = frozenset({"9p", "virtiofs", "vboxsf"})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "lustre", "glusterfs"})
_NETWORK = _HOST_SHARED | _REMOTE
_BOOT = frozenset({"/boot", "/efi", "/boot/efi"})
_ESCAPE = re.compile(r"\\([0-7]{3})")
_DELETED = "//deleted"
_COVERED = mark("another mount covers it")


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


def freeze_errors(plan: FreezePlan, *, tries: bool = False) -> list[QuiesceError]:
    """Return what keeps *plan* from being frozen: FsFreezeFailed or UnableToOpenMount.

    *tries*: whoever asks will try to freeze; then only what cannot even be tried counts.
    """
    if not plan.mounts:
        return [QuiesceError("FsFreezeFailed", "there is no file system to freeze")]
    return [_error(blocker) for blocker in plan.blockers if blocker.reason == _COVERED or not tries]


def _error(blocker: ReportedMount) -> QuiesceError:
    if blocker.reason == _COVERED:
        message = "{path} cannot be frozen: another mount covers it"
        return QuiesceError("UnableToOpenMount", message, path=blocker.path)
    message = "{path} cannot be frozen: {fstype} is not known to be freezable"
    return QuiesceError("FsFreezeFailed", message, path=blocker.path, fstype=blocker.fstype)


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Return the mounts of `/proc/self/mountinfo`, in its order."""
    return tuple(_parse_line(line) for line in text.split("\n") if line)


def _parse_line(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    mount_id, parent_id, device, subtree, path, options = left.split(" ")[:6]
    fstype, source, super_options = right.split(" ", 2)
    return Mount(
        mount_id=int(mount_id),
        parent_id=int(parent_id),
        device=device,
        subtree=_unescape(subtree),
        path=_unescape(path),
        fstype=fstype,
        source=_unescape(source),
        writable="ro" not in options.split(",") and "ro" not in super_options.split(","),
    )


def _unescape(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


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
    paths = {mount.path for mount in mounts}
    wanted = None if only is None else {_normal(path) for path in only}
    for path in sorted((wanted or set()) - paths):
        raise NotAMountPointError(phrase("{path} is not a mount point", path=path))
    skipped = {_normal(path) for path in skip}
    sorting = _Sorting(skipped, wanted, _Tree(mounts))
    for system in _by_device(mounts):
        sorting.sort(system)
    warnings = [
        phrase("skip names {path}, which is no mount point", path=path)
        for path in sorted(skipped - paths)
    ]
    return FreezePlan(
        mounts=_in_order(sorting.chosen, carriers),
        left_out=tuple(sorting.left_out),
        blockers=tuple(sorting.blockers),
        warnings=(*sorting.warnings, *warnings),
    )


def carriers_of(
    mounts: Sequence[Mount],
    *,
    below: Mapping[str, tuple[str, ...]],
    files: Mapping[str, str],
    members: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """Return for each device of *mounts* the devices of the file systems that carry it.

    *below*: for a block device those that it is made of (slaves, the whole of a partition).
    *files*: for a loop device the file behind it. *members*: for a file system without a device
    of its own the block devices that it is made of.
    """
    found = {}
    for device in dict.fromkeys(mount.device for mount in mounts):
        blocks = _everything_below(members.get(device, (device,)), below)
        behind = [_carrier_of_path(files[block], mounts) for block in blocks if block in files]
        on = tuple(dict.fromkeys(carrier for carrier in behind if carrier not in {None, device}))
        if on:
            found[device] = tuple(str(carrier) for carrier in on)
    return found


def _everything_below(devices: Iterable[str], below: Mapping[str, tuple[str, ...]]) -> list[str]:
    found: dict[str, None] = {}
    waiting = list(devices)
    while waiting:
        device = waiting.pop()
        if device not in found:
            found[device] = None
            waiting.extend(below.get(device, ()))
    return list(found)


def _carrier_of_path(path: str, mounts: Sequence[Mount]) -> str | None:
    on = [mount for mount in mounts if _is_under(path, mount.path)]
    return (
        max(enumerate(on), key=lambda item: (len(item[1].path), item[0]))[1].device if on else None
    )


def _is_under(path: str, directory: str) -> bool:
    return directory in {"/", path} or path.startswith(directory + "/")


class _Tree:
    """Which mounts can still be reached by their paths."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._by_id = {mount.mount_id: mount for mount in mounts}
        self._below: dict[int, set[str]] = {}
        for mount in mounts:
            if mount.parent_id != mount.mount_id:
                self._below.setdefault(mount.parent_id, set()).add(mount.path)

    def is_reachable(self, mount: Mount) -> bool:
        """Return whether a walk to the mount's path ends in this mount, not in one on top."""
        if mount.path.endswith(_DELETED) or mount.path in self._below.get(mount.mount_id, ()):
            return False
        seen: set[int] = set()
        current: Mount | None = mount
        while current is not None and current.mount_id not in seen:
            seen.add(current.mount_id)
            siblings = self._below.get(current.parent_id, set())
            if any(above in siblings for above in _above(current.path)):
                return False
            current = self._by_id.get(current.parent_id)
        return True


def _above(path: str) -> list[str]:
    """Return the proper ancestors of *path*, `/` among them."""
    if path == "/":
        return []
    parts = path.split("/")
    return ["/", *("/".join(parts[:count]) for count in range(2, len(parts)))]


class _Sorting:
    """Sorts file systems into those to freeze and those to leave out, with the reasons."""

    def __init__(self, skip: set[str], only: set[str] | None, tree: _Tree) -> None:
        self._skip = skip
        self._only = only
        self._tree = tree
        self.chosen: list[Mount] = []
        self.left_out: list[ReportedMount] = []
        self.blockers: list[ReportedMount] = []
        self.warnings: list[str] = []

    def sort(self, system: Sequence[Mount]) -> None:
        """Sort one file system, given as all its mounts."""
        paths = {mount.path for mount in system}
        mount = self._best(system)
        reason = _never(mount)
        if reason is None and not any(each.writable for each in system):
            reason = mark("read-only")
        if reason is None and self._only is not None and not paths & self._only:
            reason = mark("not asked for")
        if reason is None:
            reason = self._excused(mount, paths)
        if reason is not None:
            self.left_out.append(_reported(mount, reason))
        else:
            self._choose(mount)

    def _excused(self, mount: Mount, paths: set[str]) -> str | None:
        reason = None
        if paths & self._skip:
            reason = mark("skipped in guest.conf")
        elif mount.fstype == "vfat" and paths & _BOOT:
            reason = mark("vfat cannot be frozen")
        if reason is not None:
            template = "{path} will not be frozen: {reason}"
            self.warnings.append(phrase(template, path=mount.path, reason=phrase(reason)))
        return reason

    def _choose(self, mount: Mount) -> None:
        self.chosen.append(mount)
        if not self._tree.is_reachable(mount):
            self.blockers.append(_reported(mount, _COVERED))
        elif mount.fstype not in _FREEZABLE:
            self.blockers.append(_reported(mount, f"{mount.fstype} is not known to be freezable"))

    def _best(self, system: Sequence[Mount]) -> Mount:
        """Prefer what can be reached, then the whole to a part, then the shortest path."""
        return min(
            system,
            key=lambda mount: (
                not self._tree.is_reachable(mount),
                mount.subtree != "/",
                len(mount.path),
                mount.path,
            ),
        )


def _by_device(mounts: Sequence[Mount]) -> list[list[Mount]]:
    """Return the mounts of each file system that lies on disks, or is of the network or FUSE."""
    systems: dict[str, list[Mount]] = {}
    for mount in mounts:
        on_disk = not mount.device.startswith("0:") or mount.fstype in _ANONYMOUS
        if on_disk or _never(mount) is not None:
            systems.setdefault(mount.device, []).append(mount)
    return list(systems.values())


def _never(mount: Mount) -> str | None:
    if mount.fstype in _NETWORK:
        return mark("network or host-shared file system")
    if mount.fstype == "fuse" or mount.fstype.startswith(("fuse.", "fuseblk")):
        return mark("FUSE file system")
    return None


def _reported(mount: Mount, reason: str) -> ReportedMount:
    return ReportedMount(mount.path, mount.fstype, mount.device, frozen=False, reason=reason)


def _in_order(
    chosen: Sequence[Mount], carriers: Mapping[str, tuple[str, ...]]
) -> tuple[Mount, ...]:
    """Carried before carrying, then deepest first; `/` after all that it does not lie on."""
    return tuple(
        sorted(
            chosen,
            key=lambda mount: (
                -_height(mount.device, carriers, frozenset()),
                mount.path == "/",
                -mount.path.count("/"),
                mount.path,
            ),
        )
    )


def _height(device: str, carriers: Mapping[str, tuple[str, ...]], seen: frozenset[str]) -> int:
    """Return how many file systems lie below *device*, one on the other."""
    under = [each for each in carriers.get(device, ()) if each not in seen]
    return max((1 + _height(each, carriers, seen | {device}) for each in under), default=0)


def _normal(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
