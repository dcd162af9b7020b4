"""Freeze one file system from a process of its own, which can be left behind but never loses it.

FIFREEZE may block for as long as the device does, and so may FITHAW meanwhile. Both are made by a
small process per file system: the engine waits for its answer with a deadline, and one that is
stuck holds up no other. The process is never killed (a FIFREEZE that was killed in flight still
completes, and nobody would own the freeze): when its FIFREEZE returns late it thaws at once. It
also thaws when engine and watchdog are both dead, or when the window's deadline is long over and
nobody has told it anything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING

from quiesce.guest.processes.libc import syncfs
from quiesce.guest.processes.resident import spare_from_shortage
from quiesce.guest.processes.spawn import fork_detached
from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.guest.filesystems.mounts import Mount
    from quiesce.system.deadline import Deadline

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
_MOUNTS = "/proc/self/mountinfo"
_LAST_RESORT_S = 2.0
_SWEEP_S = 1.0
_BYTES = 512
MOST_NEWS = 512


def thaw(descriptor: int) -> bool:
    """Thaw the file system of *descriptor*; False where it was not frozen, OSError otherwise."""
    try:
        fcntl.ioctl(descriptor, FITHAW, 0)
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            return False
        raise
    return True


def thawed_or_none(descriptor: int) -> bool | None:
    """Thaw as `thaw`, and return None where that failed."""
    try:
        return thaw(descriptor)
    except OSError:
        return None


class VanishedError(OSError):
    """What lies at the mount's path is no longer the planned file system."""


@dataclass(frozen=True)
class Freezer:
    """The engine's end of one freezer process."""

    mount: Mount
    channel: socket.socket

    def opened(self, deadline: Deadline) -> int:
        """Wait for the end of open, and return the descriptor; raises as `answer`."""
        descriptor = self.answer(deadline)
        if descriptor is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return descriptor

    def failure(self, deadline: Deadline) -> OSError | None:
        """Wait for the command's end, and return what it failed with."""
        try:
            self.answer(deadline)
        except OSError as exc:
            return exc
        return None

    def ask(self, command: str) -> None:
        """Send *command*, and never wait for it; what follows it shows in `answer`.

        sync, open and freeze are answered. adopt, sweep (thaw, and stay), thaw (what is ours, and
        end) and quit (end) are not.
        """
        with contextlib.suppress(OSError):
            self.channel.send(command.encode(), socket.MSG_DONTWAIT)

    def answer(self, deadline: Deadline) -> int | None:
        """Wait for the command's end; the descriptor of an opened mount, else None.

        Raises TimeoutError at *deadline*, VanishedError where the mount is another one now, and
        OSError with the errno of what failed.
        """
        self.channel.settimeout(max(deadline.left_s(), 1e-3))
        data, descriptors, _flags, _address = socket.recv_fds(self.channel, _BYTES, 1)
        word, _, rest = data.decode().partition(" ")
        if word == "ok":
            return descriptors[0] if descriptors else None
        if word == "vanished":
            raise VanishedError(errno.ENOENT, f"{self.mount.path} is another file system now")
        number = int(rest or errno.ESRCH)
        raise OSError(number, os.strerror(number))

    def leave(self, *, thawed: bool) -> None:
        """Let the process go; where we have not *thawed* it does, as soon as it can."""
        self.ask("quit" if thawed else "thaw")


def start(mount: Mount, news: int) -> Freezer:
    """Start the freezer process of *mount*; it has opened nothing yet. Raises OSError.

    It writes a byte to the descriptor *news* when a sweep of it has thawed something.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        fork_detached(lambda: _FreezerProcess(mount, its, news).serve(), keep={its.fileno(), news})
    except OSError:
        ours.close()
        raise
    finally:
        its.close()
    return Freezer(mount, ours)


class _FreezerProcess:
    """What runs in the freezer process: one command after the other, until it is told to end."""

    def __init__(self, mount: Mount, channel: socket.socket, news: int) -> None:
        self._mount = mount
        self._channel = channel
        self._news = news
        self._descriptor = -1
        self._frozen = False
        self._until: float | None = None
        self._adopted = False

    def serve(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        spare_from_shortage()
        while True:
            command, _, until = self._next().partition(" ")
            if command == "quit":
                return
            if command in {"thaw", ""}:
                self._thaw(orphaned=not command)
                return
            if until:
                self._until = float(until)
            if command == "adopt":
                self._adopted = True
            elif command == "sweep":
                self._sweep()
            else:
                self._carry_out(command)

    def _next(self) -> str:
        """Return the next command; empty where nobody is left or the time is long over."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        left = None
        if self._until is not None:
            left = max(0.0, self._until + _LAST_RESORT_S - time.monotonic()) * 1000
        if not poll.poll(left):
            return ""
        try:
            return self._channel.recv(_BYTES).decode()
        except ConnectionResetError:  # they died with an answer of ours unread
            return ""

    def _carry_out(self, command: str) -> None:
        try:
            if command == "sync":
                self._sync()
            elif command == "open":
                self._open()
            elif command == "freeze":
                self._freeze()
        except VanishedError:
            self._say("vanished")
        except OSError as exc:
            self._say(f"error {exc.errno}")
        else:
            opened = [self._descriptor] if command == "open" else []
            self._say("ok", opened)

    def _sync(self) -> None:
        descriptor = open_mount(self._mount.path, self._mount.device)
        try:
            syncfs(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> None:
        self._descriptor = open_mount(self._mount.path, self._mount.device)

    def _freeze(self) -> None:
        if self._mount.only_synced:
            syncfs(self._descriptor)
        else:
            fcntl.ioctl(self._descriptor, FIFREEZE, 0)
            self._frozen = True

    def _say(self, word: str, descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._channel, [word.encode()], descriptors or [])
        except OSError:
            return  # nobody is left: the next command is the end

    def _thaw(self, *, orphaned: bool) -> None:
        while orphaned and self._adopted and self._until is not None:
            thawed_or_none(self._descriptor)
            if time.monotonic() > self._until:
                return
            time.sleep(_SWEEP_S)
        if self._frozen:
            thawed_or_none(self._descriptor)

    def _sweep(self) -> None:
        if (self._frozen or self._adopted) and thawed_or_none(self._descriptor):
            with contextlib.suppress(OSError):
                os.write(self._news, b"t")


def open_mount(path: str, device: str) -> int:
    """Return a descriptor of what is mounted at *path*, if that is still *device*.

    It may be a directory or a file. Raises VanishedError where it is another file system now,
    OSError where it cannot be opened.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):  # a device does things when opened
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)
    if _device(descriptor, device) != device:
        os.close(descriptor)
        raise VanishedError(errno.ENOENT, f"{path} is another file system now")
    return descriptor


def _device(descriptor: int, expected: str) -> str:
    """Return the device of the file system that *descriptor* lies on, as in mountinfo.

    Btrfs gives every subvolume a device number of its own in stat; there the mount's id leads to
    the number that mountinfo has.
    """
    if not expected.startswith("0:"):
        number = os.fstat(descriptor).st_dev
        return f"{os.major(number)}:{os.minor(number)}"
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as info:
        mount_id = next(line.split()[1] for line in info if line.startswith("mnt_id:"))
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        for line in table:
            fields = line.split(" ", 3)
            if fields[0] == mount_id:
                return fields[2]
    return ""
