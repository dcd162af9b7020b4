"""`hook`: speak the protocol of a hypervisor's agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.cli import output
from quiesce.system import ulid

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EXAMPLES = """\
examples:
  quiesce-guest hook qga freeze
  quiesce-guest hook qga announce --session 01JD5B5V7M6K2Q3R4S5T6V7W8X --disks 2 --json

exit statuses of qga: freeze 0 go on, 3 snapshot without a freeze, 4 abort; thaw 0 ok, 3 degraded,
4 discard the snapshot, 5 the session had died
"""
AGENT_ASKS = ("freeze", "thaw")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hook`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("door", choices=["qga"], help="whose protocol")
    parser.add_argument("action", choices=[*AGENT_ASKS, "announce"])
    parser.add_argument("--session", type=_session, help="announce: the host's id of the session")
    parser.add_argument("--disks", type=_disks, default=1, help="announce: disks in the backup")


def run(arguments: Namespace) -> int:
    """Do what the agent asks for."""
    if arguments.action == "announce":
        return _announce(arguments)
    status = answer(arguments.action)
    with output.as_far_as_it_goes():
        if arguments.json:
            output.document({"exit_status": status})
    return status


def answer(action: str) -> int:
    """Do one of `AGENT_ASKS`, and return what the agent's hook is to exit with."""
    from quiesce.guest.doors import qga  # noqa: PLC0415 - not loaded where it is not needed

    return int(qga.freeze() if action == "freeze" else qga.thaw())


def _announce(arguments: Namespace) -> int:
    from quiesce.guest.installation import install  # noqa: PLC0415 - same
    from quiesce.guest.session import announcement  # noqa: PLC0415 - same

    if not install.is_qga_installed():
        raise QuiesceError("HookMissing", "the guest agent's configuration does not name our hook")
    announcement.put(arguments.session or ulid.new(), arguments.disks)
    from quiesce.guest.cli import check  # noqa: PLC0415 - same

    return check.print_expectation(
        disks=arguments.disks, plugin_config=None, as_json=arguments.json
    )


def _disks(text: str) -> int:
    from quiesce.guest.session import announcement  # noqa: PLC0415 - same

    number = int(text)
    if not 0 < number <= announcement.MOST_DISKS:
        import argparse  # noqa: PLC0415 - same

        raise argparse.ArgumentTypeError(f"1 to {announcement.MOST_DISKS}")
    return number


def _session(text: str) -> str:
    if not ulid.is_ulid(text):
        import argparse  # noqa: PLC0415 - same

        raise argparse.ArgumentTypeError(f"{text} is no ULID")
    return text
