"""The systemd journal, spoken to by its own protocol: one datagram for each entry."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quiesce.guest.logs.log_lines import Entry

_SOCKET = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def send(entries: Sequence[Entry], *, address: str = _SOCKET) -> None:
    """Give *entries* to the journal; it never waits, and where there is no journal does nothing.

    Raises OSError where a journal is there and does not take them all.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
        journal.setblocking(False)
        try:
            journal.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return
        for entry in entries:
            _send(journal, encoded(entry))


def encoded(entry: Entry) -> bytes:
    """Return *entry* in the journal's native format."""
    fields = {
        "MESSAGE": "\n    ".join([f"{entry.step}: {entry.message}", *entry.more]),
        "PRIORITY": str(entry.priority),
        "SYSLOG_IDENTIFIER": "quiesce-guest",
        "QUIESCE_SESSION": entry.session,
        "QUIESCE_STEP": entry.step,
    }
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        parts.append(b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value))
    return b"".join(parts)


def _send(journal: socket.socket, data: bytes) -> None:
    try:
        journal.send(data)
    except OSError as exc:
        if exc.errno not in _TOO_LARGE:
            raise
        _send_in_memory(journal, data)


def _send_in_memory(journal: socket.socket, data: bytes) -> None:
    """Hand over what is too large for a datagram as a sealed file in memory."""
    descriptor = os.memfd_create("quiesce-guest", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        with contextlib.closing(os.fdopen(os.dup(descriptor), "wb")) as file:
            file.write(data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(journal, [b""], [descriptor])
    finally:
        os.close(descriptor)
