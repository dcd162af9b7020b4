"""Look at what a session needs of the machine besides its configuration; nothing is changed."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.checking.interpreter import Interpreter, interpreter_of
from quiesce.guest.filesystems.freezer import open_mount
from quiesce.guest.installation import install
from quiesce.guest.logs import log_file, reports
from quiesce.guest.processes import aside, locking
from quiesce.guest.record import journal
from quiesce.guest.shipped import hookfile
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.configuration.settings import GuestSettings
    from quiesce.guest.filesystems.mounts import Mount

_CAP_SYS_ADMIN = 21
_ROOM_BYTES = 256 * 1024
_OPEN_S = 5.0
_BEGINNING_BYTES = 256  # what the kernel reads of it
_AGENTS = ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")
_NO_SCRIPT = (".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".sample", "~")


@dataclass(frozen=True)
class ScriptFile:
    """How a script would be started; *noexec*: its file system lets no program be started."""

    noexec: bool
    interpreter: Interpreter


@dataclass(frozen=True)
class AgentHook:
    """What the QEMU guest agent would call.

    *named* is what its configuration at *config* names; *is_ours*: that is our hook. *is_there*:
    our hook lies where it belongs and can be run. *lost_program*: what our hook would call, where
    that is gone. *idle* are files beside it that are not executable, and so are left out.
    """

    is_agent_there: bool
    config: str
    named: str | None
    is_ours: bool
    is_there: bool
    lost_program: str | None
    idle: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """What was found. *run* and *log* say why that place cannot be used, None where it can.

    *at_rest* is the session that is at rest now, *has_died* whether its processes are dead.
    *unopenable* are mounts with the reason, *suspended* those whose device is. *hook* is None where
    the agent's configuration cannot be read.
    """

    is_root: bool
    can_freeze: bool
    at_rest: str | None
    has_died: bool
    run: str | None
    log: str | None
    unopenable: Mapping[str, str]
    suspended: tuple[str, ...]
    scripts: Mapping[str, ScriptFile]
    hook: AgentHook | None


def look(settings: GuestSettings, mounts: Sequence[Mount]) -> Surroundings:
    """Look at everything that a session with *settings* and the planned *mounts* depends on.

    Never raises for what it finds, and waits for no file system for long.
    """
    at_rest, has_died = _at_rest()
    scripts = [spec for plugin in settings.declared for spec in (plugin.pre, plugin.post)]
    return Surroundings(
        is_root=os.geteuid() == 0,
        can_freeze=_has_capability(_CAP_SYS_ADMIN),
        at_rest=at_rest,
        has_died=has_died,
        run=_trouble(str(locking.RUN_DIR)),
        log=_log_trouble(log_file.DIRECTORY) or _log_trouble(str(reports.DIRECTORIES[0])),
        unopenable=_unopenable(mounts),
        suspended=tuple(mount.path for mount in mounts if _is_suspended(mount.device)),
        scripts=_script_files(scripts),
        hook=_hook(),
    )


def _at_rest() -> tuple[str | None, bool]:
    try:
        record = journal.read()
    except OSError:  # not ours to read
        return None, False
    if record is None:
        return None, False
    return record.session, not any(guard.is_alive() for guard in record.guards)


def _has_capability(number: int) -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        masks = [line.split()[1] for line in status if line.startswith("CapEff:")]
    return bool(int(masks[0], 16) >> number & 1) if masks else False


def _log_trouble(path: str) -> str | None:
    trouble = _trouble(path)
    if trouble is None and os.path.exists(path) and not log_file.is_ours_alone(os.stat(path)):
        return phrase("{path}: others can write in it", path=path)
    return trouble


def _trouble(path: str) -> str | None:
    """Return why nothing can be written in the directory *path*, which may be missing yet."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return _trouble(os.path.dirname(path))
    except OSError as exc:
        return f"{path}: {exc.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path}: {os.strerror(errno.ENOTDIR)}"
    space = os.statvfs(path)
    if space.f_flag & os.ST_RDONLY:
        return f"{path}: {os.strerror(errno.EROFS)}"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{path}: {os.strerror(errno.EACCES)}"
    if space.f_blocks and space.f_bavail * space.f_frsize < _ROOM_BYTES:
        return f"{path}: {os.strerror(errno.ENOSPC)}"
    return None


def _unopenable(mounts: Sequence[Mount]) -> dict[str, str]:
    """Try to open each mount, in a process that can be left behind with one that is stuck."""
    try:
        told = aside.ask(lambda: [_why_unopenable(mount) for mount in mounts], limit_s=_OPEN_S)
    except OSError:
        return {mount.path: "it does not answer" for mount in mounts}
    return {mount.path: why for mount, why in zip(mounts, told) if why}  # noqa: B905 - from 3.10


def _why_unopenable(mount: Mount) -> str:
    try:
        os.close(open_mount(mount.path, mount.device))
    except OSError as exc:
        return str(exc.strerror)
    return ""


def _is_suspended(device: str) -> bool:
    try:
        with open(f"/sys/dev/block/{device}/dm/suspended", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def _script_files(specs: Iterable[ScriptSpec]) -> dict[str, ScriptFile]:
    found = {spec.path: _script_file(spec.path) for spec in specs}
    return {path: file for path, file in found.items() if file is not None}


def _script_file(path: str) -> ScriptFile | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as script:
            if not stat.S_ISREG(os.fstat(script.fileno()).st_mode):
                return None
            flags = os.fstatvfs(script.fileno()).f_flag
            beginning = script.read(_BEGINNING_BYTES)
    except (OSError, ValueError):  # it is refused, and said to be
        return None
    return ScriptFile(bool(flags & os.ST_NOEXEC), interpreter_of(beginning))


def _hook() -> AgentHook | None:
    program = _program_of(hookfile.HOOK)
    try:
        agent = install.agent_of()
    except QuiesceError:  # not for us to read
        return None
    return AgentHook(
        is_agent_there=any(os.path.exists(path) for path in _AGENTS),
        config=agent.config,
        named=agent.named,
        is_ours=agent.named == hookfile.HOOK,
        is_there=os.access(hookfile.HOOK, os.X_OK),
        lost_program=program if program and not os.access(program, os.X_OK) else None,
        idle=tuple(_idle(agent.scripts)),
    )


def _program_of(hook: str) -> str | None:
    try:
        with open(hook, encoding="utf-8", errors="replace") as script:
            lines = [line for line in script if line.startswith("program=")]
    except OSError:
        return None
    return lines[0].partition("=")[2].strip().strip("'") if lines else None


def _idle(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    paths = [f"{directory}/{name}" for name in names if not name.endswith(_NO_SCRIPT)]
    return [path for path in paths if os.path.isfile(path) and not os.access(path, os.X_OK)]
