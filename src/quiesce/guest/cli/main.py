"""The program quiesce-guest: one verb, and what it exits with."""

from __future__ import annotations

import io
import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from quiesce import __version__
from quiesce.catalogue import phrase, translation
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.cli import hook, output
from quiesce.guest.filesystems.mounts import NotAMountPointError
from quiesce.guest.processes import caller

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

_VERBS = {
    "check": "say what a backup would do; runs nothing",
    "exec": "hold, freeze, run a command as the snapshot, thaw, release",
    "rehearse": "the same with no snapshot: how long would the application stand still",
    "hold": "bring to rest, and stay so until release",
    "release": "thaw and release what hold brought to rest",
    "status": "say what is at rest now",
    "report": "print the last report, or a named one",
    "explain": "say what an error means, and what to do about it",
    "thaw": "emergency: thaw and release everything that any session holds",
    "recover": "end what a dead session left, at boot too",
    "hook": "speak the protocol of a hypervisor's agent",
    "install": "put a hook, or a template configuration, in place",
    "uninstall": "take a hook back",
}
_EXAMPLES = """\
examples:
  quiesce-guest check
  quiesce-guest exec -- lvcreate -s -n snap -L 1G vg/data
  quiesce-guest install qga --restart
  quiesce-guest explain IncorrectJSONConfigFile

exit statuses: 0 done as configured, 1 unexpected error, 2 usage, 3 done but degraded, 4 aborted or
refused, 5 the snapshot failed, 9 busy, 10 nothing there, 130 interrupted
"""


def run() -> None:
    """Run the program and exit."""
    caller.put_right()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot show is shown as its number
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one verb and return the exit status; every error is printed here."""
    translation()  # now: nothing is read while anything is frozen
    try:
        status = _run(argv)
        sys.stdout.flush()
    except QuiesceError as exc:
        return _say(argv, exc.name, exc.message, exc.action, exc.exit_status)
    except NotAMountPointError as exc:
        action = phrase("give mount points: findmnt")
        return _say(argv, "Usage", str(exc), action, ExitStatus.USAGE)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitStatus.UNEXPECTED
    except Exception as exc:  # noqa: BLE001 - the last line of defence says what it knows
        import traceback  # noqa: PLC0415 - loaded only where there is something to trace

        traceback.print_exc()
        damage = _damage()
        if damage is not None:
            return _say(argv, damage.name, damage.message, damage.action, ExitStatus.UNEXPECTED)
        action = phrase("report this as a bug, with the lines above")
        return _say(argv, "Unexpected", repr(exc), action, ExitStatus.UNEXPECTED)
    return status


def _damage() -> QuiesceError | None:
    """Return what is damaged of our own files, which may be why our code fails."""
    try:
        from quiesce.guest.shipped import selfcheck  # noqa: PLC0415 - loaded only where it may help

        return next(iter(selfcheck.damages()), None)
    except Exception:  # noqa: BLE001 - it may be damaged too
        return None


def _run(argv: Sequence[str]) -> int:
    if argv[:-1] == ["hook", "qga"] and argv[-1] in hook.AGENT_ASKS:
        return hook.answer(argv[-1])  # an agent waits, and a parser is a fifth of this program
    arguments = parser_for(argv).parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def parser_for(argv: Sequence[str]) -> ArgumentParser:
    """Return the parser of all verbs; only the one that *argv* names has its options."""
    import argparse  # noqa: PLC0415 - see `_run`

    parser = argparse.ArgumentParser(
        prog="quiesce-guest",
        description="Application-consistent snapshots from inside a Linux machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"quiesce-guest {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for verb, purpose in _VERBS.items():
        one = verbs.add_parser(
            verb,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb == chosen:  # the others are not even loaded: this program must start quickly
            module = import_module(f"quiesce.guest.cli.{verb}")
            module.add_arguments(one)
            one.add_argument("--json", action="store_true", help="print one JSON document")
            one.set_defaults(run=module.run)
    return parser


def _say(argv: Sequence[str], name: str, message: str, action: str, status: int) -> int:
    then = phrase("next: {action}", action=action)
    output.remark(f"quiesce-guest: {name}: {message}")
    output.remark(f"  {then}")
    if "--json" in argv[: argv.index("--") if "--" in argv else None]:
        error = {"name": name, "message": message, "action": action, "exit_status": int(status)}
        with output.as_far_as_it_goes():
            print(json.dumps({"error": error}))  # noqa: T201 - the one document on stdout
    return int(status)


if __name__ == "__main__":
    run()
