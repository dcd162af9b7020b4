"""The program `quiesce`: the only place that prints errors, chooses the exit status and exits."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import click

from quiesce import __version__, config
from quiesce.cli.commands import (
    backup,
    demo,
    doctor,
    forget,
    hold,
    points,
    prune,
    recall,
    restore,
    show,
    supervise,
    vault,
    vault_mirror,
    vault_scrub,
    vault_stats,
)
from quiesce.cli.context import Common, global_options
from quiesce.cli.output import Output
from quiesce.errors import ExitStatus, QuiesceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_EPILOG = """\b
Examples:
  quiesce vault init
  quiesce backup db1 --qmp /run/vm/db1.qmp --qga /run/vm/db1.qga
  quiesce points
  quiesce restore db1@latest --to /srv/restored
  quiesce demo

\b
Exit status: 0 done as configured, 1 unexpected error, 2 usage, 3 done but degraded,
4 aborted or refused, 5 snapshot failed, 6 vault, 7 restore, 8 verification failed,
9 busy, 10 machine or point not found, 130 interrupted.
"""


@click.group(
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 99},
)
@click.version_option(__version__, prog_name="quiesce")
@global_options
@click.pass_context
def quiesce(context: click.Context, /, **options: Any) -> None:
    """Application-consistent backups of Linux VMs, proven by booting them."""
    context.obj = Common(**options)


for command in (
    backup.backup,
    points.points,
    show.show,
    restore.restore,
    forget.forget,
    recall.recall,
    hold.hold,
    hold.unhold,
    prune.prune,
    vault.vault,
    doctor.doctor,
    demo.demo,
    supervise.supervise,
):
    quiesce.add_command(command)

for command_of_vault in (
    vault_scrub.check,
    vault_scrub.scrub,
    vault_stats.stats,
    vault_mirror.mirror,
):
    vault.vault.add_command(command_of_vault)


def run() -> None:
    """Run the program and exit with its status."""
    sys.exit(int(main(sys.argv[1:])))


def main(arguments: Sequence[str]) -> ExitStatus:
    """Run the program with *arguments* and return what it exits with; never raises."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    output = Output(as_json="--json" in arguments, quiet=False)
    try:
        status = quiesce.main(list(arguments), prog_name="quiesce", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        output.usage(exc.format_message())
        return ExitStatus.USAGE
    except QuiesceError as exc:
        output.error(exc)
        return exc.exit_status
    except (KeyboardInterrupt, click.Abort):
        said = "interrupted; what was under way is undone, a finished recovery point stays"
        output.error(QuiesceError("Interrupted", said))
        return ExitStatus.INTERRUPTED
    except Exception as exc:  # noqa: BLE001  # a bug must still end with a status and its details
        output.unexpected(f"unexpected error: {exc!r}{_keep_details()}")
        return ExitStatus.UNEXPECTED
    return status if isinstance(status, ExitStatus) else ExitStatus.DONE


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _keep_details() -> str:
    details = traceback.format_exc()
    with contextlib.suppress(OSError):
        directory = config.state_directory()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / f"unexpected-{time.strftime('%Y%m%dT%H%M%S')}.txt"
        path.write_text(details, encoding="utf-8")
        return f"; the details are in {path}"
    return f"\n{details}"
