"""Renew damaged files of quiesce in the guest, through its agent.

Only what we installed as a single file and no package manager owns. What the guest says is
compared with what we know, and never used as a path or a command.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quiesce.channel.agent import AgentError, NoAnswerError
from quiesce.ports import Renewal

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from quiesce.channel.agent import Agent, Executed
    from quiesce.system.deadline import Deadline

# Where a program may be renewed; the guest says which of these it is.
PLACES = ("/usr/local/bin/quiesce-guest", "/usr/bin/quiesce-guest")
_COMMANDS = frozenset(
    {
        "guest-exec",
        "guest-exec-status",
        "guest-file-open",
        "guest-file-write",
        "guest-file-close",
    }
)

_ARRIVED = "/run/quiesce/renewal.pyz"
_SHELL = "/bin/sh"
# Exits with 0 where the single file that is installed is whole, and where there is none.
_IS_WHOLE = """
read -r program 2>/dev/null </etc/quiesce/installed || exit 0
[ "$(head -c -64 "$program" | sha256sum | cut -c 1-64)" = "$(tail -c 64 "$program")" ] || exit 3
"""
_MAKE_ROOM = "install -d -m 700 -o root -g root /run/quiesce"
# The agent makes files that everybody may write: root's directory keeps others away from this one.
_PLACE = """
set -eu
umask 077
trap 'rm -f "$1" "$2.new"' EXIT
install -m 755 -o root -g root "$1" "$2.new"
[ "$(sha256sum <"$2.new" | cut -c 1-64)" = "$3" ] || exit 3
sync "$2.new"
mv -f "$2.new" "$2"
"""
_OWNERS = (("/usr/bin/dpkg", "-S"), ("/usr/bin/rpm", "-qf"))
_TO_TYPE = "install -m 755 quiesce-guest.pyz {place} && {place} install qga"
_REINSTALL = {
    "dpkg": "apt-get install --reinstall quiesce-guest",
    "rpm": "dnf reinstall quiesce-guest",
}


class _NotRenewedError(Exception):
    """Why not, and what to type in the guest instead."""

    def __init__(self, why: str, command: str = _TO_TYPE.format(place=PLACES[0])) -> None:
        super().__init__(why)
        self.command = command


def is_damaged(agent: Agent, *, deadline: Deadline) -> bool:
    """Return whether the installed single file is not as it was shipped; raises NoAnswerError.

    For where the program cannot say so itself.
    """
    try:
        return agent.run([_SHELL, "-c", _IS_WHOLE], deadline=deadline).exit_status == 3
    except AgentError:
        return False


def renew(
    agent: Agent, shipped: Path | None, *, enabled: Collection[str], deadline: Deadline
) -> Renewal:
    """Put *shipped* in place of a damaged program, and the hook that belongs to it.

    *shipped* is None where it is not to be done. *enabled* are the agent's commands. Never
    raises: what could not be done is told, with the command to type in the guest.
    """
    try:
        _see_enabled(enabled)
        place = _renew(agent, shipped, deadline)
    except _NotRenewedError as exc:
        return Renewal(renewed=False, why=str(exc), command=exc.command)
    except (AgentError, NoAnswerError):
        why, command = "the agent did not let us", _TO_TYPE.format(place=PLACES[0])
        return Renewal(renewed=False, why=why, command=command)
    return Renewal(renewed=True, why=f"{place} was damaged")


def _renew(agent: Agent, shipped: Path | None, deadline: Deadline) -> str:
    if shipped is None:
        raise _NotRenewedError("renew = false in the settings, or no quiesce-guest.pyz is here")
    place = _installed(agent, deadline)
    _see_owner(agent, place, deadline)
    if is_damaged(agent, deadline=deadline):
        _replace(agent, place, _content(shipped), deadline)
    installed = agent.run([place, "install", "qga", "--json"], deadline=deadline)
    if installed.exit_status != 0:
        raise _NotRenewedError("its installation failed", f"{place} install qga")
    return place


def _see_enabled(enabled: Collection[str]) -> None:
    if not _COMMANDS.issubset(enabled):
        raise _NotRenewedError("the agent does not allow guest-exec and guest-file commands")


def _installed(agent: Agent, deadline: Deadline) -> str:
    """Return where our single file is installed: one of `PLACES`."""
    told = agent.run(["/bin/cat", "/etc/quiesce/installed"], deadline=deadline)
    for place in PLACES:
        if told.exit_status == 0 and told.stdout == f"{place}\n".encode():
            return place
    raise _NotRenewedError("it was not installed as a single file in a place that we know")


def _see_owner(agent: Agent, place: str, deadline: Deadline) -> None:
    for program, option in _OWNERS:
        try:
            asked = agent.run([program, option, place], deadline=deadline)
        except AgentError:
            continue  # there is no such package manager
        if asked.exit_status == 0:
            name = program.rpartition("/")[2]
            raise _NotRenewedError(f"a package owns it ({name})", _REINSTALL[name])


def _content(shipped: Path) -> bytes:
    try:
        return shipped.read_bytes()
    except OSError as exc:
        raise _NotRenewedError(f"cannot read {shipped}: {exc.strerror}") from exc


def _replace(agent: Agent, place: str, content: bytes, deadline: Deadline) -> None:
    """Let *content* be at *place* in the guest: whole, or what was there stays."""
    digest = hashlib.sha256(content).hexdigest()
    _expect(agent.run([_SHELL, "-c", _MAKE_ROOM], deadline=deadline), "no place to put it")
    agent.write_file(_ARRIVED, content, deadline=deadline)
    placed = agent.run([_SHELL, "-c", _PLACE, _SHELL, _ARRIVED, place, digest], deadline=deadline)
    _expect(placed, "it did not arrive whole" if placed.exit_status == 3 else "it cannot be placed")


def _expect(done: Executed, otherwise: str) -> None:
    if done.exit_status != 0:
        raise _NotRenewedError(otherwise)
