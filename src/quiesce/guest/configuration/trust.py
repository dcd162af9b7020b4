"""Who may write a file that root is about to run or obey.

A path is walked from `/` on open descriptors, one component after the other, so that what was
checked is what is used. Every directory on the way must be root's alone; owners are compared by
number.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections import deque
from typing import TYPE_CHECKING

from quiesce.catalogue import mark, phrase
from quiesce.errors import QuiesceError
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection

    from quiesce.guest.configuration.script_spec import ScriptSpec

SCRIPT_MODES = frozenset({0o700, 0o500})
CONFIG_MODES = frozenset({0o600, 0o400})
HOST_CONFIG_MODES = frozenset(mode for mode in range(0o1000) if not mode & ~0o644)

_MOUNTS = "/proc/self/mountinfo"
_MOST_LINKS = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ACL = "system.posix_acl_access"
_RELATIVE = {
    "pre": mark("the pre-script's location {location!r} is not an absolute path"),
    "post": mark("the post-script's location {location!r} is not an absolute path"),
}
_MISSING = {
    "pre": mark("there is no pre-script {path}"),
    "post": mark("there is no post-script {path}"),
}


@dataclass(frozen=True)
class Objection:
    """One reason not to trust a file, and the command that mends it.

    *writable_by_others*: somebody else than root can change what the file says.
    """

    reason: str
    action: str
    writable_by_others: bool


@dataclass(frozen=True)
class Looked:
    """What a walk found: whether there is something, and every reason not to trust it.

    *data* is the file's content where it was asked for and the file is a regular one.
    """

    exists: bool
    objections: tuple[Objection, ...] = ()
    data: bytes | None = None


def check_script(spec: ScriptSpec) -> None:
    """Return where only root can have written the script.

    Raises QuiesceError Pre-/Post-ScriptNotFound or InsufficientPermissionforPre-/Post-Script; the
    latter's action is the very command that mends it.
    """
    phase = spec.phase.capitalize()
    if not spec.path.startswith("/"):
        message = _RELATIVE[spec.phase]
        raise QuiesceError(f"{phase}-ScriptNotFound", message, location=spec.path)
    looked = look(spec.path, modes=SCRIPT_MODES)
    if not looked.exists:
        raise QuiesceError(f"{phase}-ScriptNotFound", _MISSING[spec.phase], path=spec.path)
    if looked.objections:
        raise refusal(f"InsufficientPermissionfor{phase}-Script", spec.path, looked.objections)


def refusal(name: str, path: str, objections: Collection[Objection]) -> QuiesceError:
    """Return the error *name* that tells every objection, and the commands that mend them."""
    reasons = "; ".join(objection.reason for objection in objections)
    actions = dict.fromkeys(objection.action for objection in objections)
    return QuiesceError(
        name,
        "{path} is refused: {reasons}",
        path=path,
        reasons=reasons,
        action="{commands}",
        commands=" && ".join(actions),
    )


def look(path: str, *, modes: Collection[int], most_bytes: int | None = None) -> Looked:
    """Look at the absolute *path* and at everything on the way to it.

    With *most_bytes* the content is read too, up to one byte more than that. Never raises for
    what it finds.
    """
    walk = _Walk(modes, most_bytes)
    try:
        return walk.look(path)
    except (FileNotFoundError, NotADirectoryError):
        return Looked(exists=False)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        said = phrase("it cannot be read: {reason}", reason=reason)
        unreadable = Objection(said, f"ls -ld {shlex.quote(path)}", True)
        return Looked(exists=True, objections=(*walk.objections, unreadable))
    finally:
        walk.close()


class _Walk:
    """One walk from `/`; *objections* grow on the way, all of them are told."""

    def __init__(self, modes: Collection[int], most_bytes: int | None) -> None:
        self.objections: list[Objection] = []
        self._modes = modes
        self._most_bytes = most_bytes
        self._links = 0
        self._directory = _open_root()
        self._mount = ""
        self._at: list[str] = []

    def close(self) -> None:
        """Close what the walk holds open."""
        os.close(self._directory)

    def look(self, path: str) -> Looked:
        """Walk to the last component and look at it; raises OSError."""
        waiting = deque(_components(path))
        if not waiting:
            raise IsADirectoryError(21, phrase("it is a directory"))
        self._mount = _mount_of(self._directory)
        self._see_directory(path="/")
        while len(waiting) > 1:
            self._step(waiting)
        return self._look_at_file(waiting.popleft(), path)

    def _step(self, waiting: deque[str]) -> None:
        name = waiting.popleft()
        entry = self._open(name)
        status = os.fstat(entry)
        if stat.S_ISLNK(status.st_mode):
            self._follow(entry, status, name, waiting)
            return
        os.close(self._directory)
        self._directory = entry
        if name == "..":
            del self._at[-1:]
        else:
            self._at.append(name)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError
        self._see_directory(path="/" + "/".join(self._at))

    def _follow(self, link: int, status: os.stat_result, name: str, waiting: deque[str]) -> None:
        target = os.fsdecode(os.readlink(b"", dir_fd=link))
        os.close(link)
        if status.st_uid != 0:
            place = "/" + "/".join([*self._at, name])
            said = phrase("the link {path} belongs to uid {uid}", path=place, uid=status.st_uid)
            self._object(said, _chown(place, "-h "))
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(40, phrase("there are too many links"))
        waiting.extendleft(reversed(_components(target)))
        if target.startswith("/"):
            os.close(self._directory)
            self._directory = _open_root()
            self._at = []

    def _see_directory(self, path: str) -> None:
        status = os.fstat(self._directory)
        if status.st_uid != 0:
            said = phrase("the directory {path} belongs to uid {uid}", path=path, uid=status.st_uid)
            self._object(said, _chown(path))
        if status.st_mode & _OTHERS_WRITE:
            template = "the directory {path} has mode {mode}, others can write it"
            said = phrase(template, path=path, mode=_octal(status))
            mend = _mend_mode(self._directory, path, f"go-w {shlex.quote(path)}")
            self._object(said, mend)

    def _open(self, name: str) -> int:
        """Open what is *name* here, unless who mounted it decides what it is.

        What a user mounted by FUSE shows the owners that he wants, and may never answer.
        """
        entry = _open_here(name, self._directory)
        mount = _mount_of(entry)
        if mount != self._mount:
            self._mount = mount
            uid = _fuse_user(mount)
            if uid:
                os.close(entry)
                place = "/" + "/".join([*self._at, name])
                reason = phrase("uid {uid} has mounted what is at {path}", uid=uid, path=place)
                raise PermissionError(13, reason)
        return entry

    def _look_at_file(self, name: str, path: str) -> Looked:
        entry = self._open(name)
        try:
            status = os.fstat(entry)
            self._see_file(entry, status, path)
            data = None
            if self._most_bytes is not None and stat.S_ISREG(status.st_mode):
                data = _read(entry, self._most_bytes + 1)
        finally:
            os.close(entry)
        return Looked(exists=True, objections=tuple(self.objections), data=data)

    def _see_file(self, entry: int, status: os.stat_result, path: str) -> None:
        quoted = shlex.quote(path)
        if not stat.S_ISREG(status.st_mode):
            is_link = stat.S_ISLNK(status.st_mode)
            said = phrase("it is a symbolic link" if is_link else "it is no regular file")
            self._object(said, phrase("put the file itself at {path}", path=quoted))
            return
        if status.st_uid != 0:
            said = phrase("it belongs to uid {uid}, not to root", uid=status.st_uid)
            self._object(said, _chown(path))
        if stat.S_IMODE(status.st_mode) not in self._modes:
            wanted = max(self._modes)
            template = "it has mode {mode}, not {wanted:04o}"
            said = phrase(template, mode=_octal(status), wanted=wanted)
            mend = _mend_mode(entry, path, f"{wanted:o} {quoted}")
            self._object(said, mend, by_others=bool(status.st_mode & _OTHERS_WRITE))

    def _object(self, reason: str, action: str, *, by_others: bool = True) -> None:
        objection = Objection(reason, action, by_others)
        if objection not in self.objections:
            self.objections.append(objection)


def _open_root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_here(name: str, directory: int) -> int:
    data = name.encode("utf-8", "surrogateescape")
    return os.open(data, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _mount_of(entry: int) -> str:
    """Return the number of the mount that *entry* lies on."""
    with open(f"/proc/self/fdinfo/{entry}", encoding="ascii") as file:
        fields = dict(line.partition(":")[::2] for line in file)
    return fields.get("mnt_id", "").strip()


def _fuse_user(mount: str) -> int:
    """Return the uid of the user who serves the mount by FUSE, 0 where it is none of any user's."""
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            about, _, options = line.rstrip("\n").partition(" - ")
            if about.split(" ", 1)[0] == mount and options.startswith("fuse"):
                said = (option.partition("=") for option in options.split(" ")[-1].split(","))
                return int({name: value for name, _, value in said}.get("user_id", "0"))
    return 0


def _read(entry: int, most_bytes: int) -> bytes:
    """Read the very file of the path descriptor *entry*."""
    descriptor = os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(most_bytes)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _octal(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _chown(path: str, option: str = "") -> str:
    return f"chown {option}root: {shlex.quote(path)}"


def _mend_mode(entry: int, path: str, mode: str) -> str:
    return (f"setfacl -b {shlex.quote(path)} && " if _has_acl(entry) else "") + f"chmod {mode}"


def _has_acl(entry: int) -> bool:
    try:
        os.getxattr(f"/proc/self/fd/{entry}", _ACL)
    except OSError:
        return False
    return True
