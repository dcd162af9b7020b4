"""`quiesce demo`: the whole story on a real VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from quiesce.cli.context import verb
from quiesce.cli.output import size
from quiesce.errors import ExitStatus, QuiesceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.cli.context import Common
    from quiesce.demo.story import Kept, Story


@click.command(
    epilog="The VM's image is built once and kept: /var/cache/quiesce as root. It may be removed."
)
@click.option("--keep", is_flag=True, help="Leave the VM and the vault to play with.")
@verb
def demo(common: Common, *, keep: bool) -> ExitStatus:
    """Build a real VM, back it up under load, restore it, boot it, prove it.

    Needs root, QEMU and mmdebstrap; leaves nothing running.
    """
    try:
        from quiesce.demo.story import tell_story  # noqa: PLC0415 - psycopg is of the extra `demo`
    except ModuleNotFoundError as exc:
        raise QuiesceError(
            "ProgramMissing", f"no {exc.name}", action="pip install 'quiesce[host,demo]'"
        ) from exc
    story = tell_story(keep=keep, tell=common.output.say)
    common.output.answer(story.to_json(), *_lines(story))
    if story.failed:
        raise QuiesceError("DemoFailed", "; ".join(check.name for check in story.failed))
    return ExitStatus.DONE


def _lines(story: Story) -> Iterator[str]:
    times, sizes = story.times, story.sizes
    yield ""
    for check in story.checks:
        mark = "[green]✓[/]" if check.passed else "[bold red]✗[/]"
        yield f" {mark} {escape(check.name)}\n     {escape(check.detail)}"
    yield ""
    yield f" point    {story.point}"
    yield (
        f" at rest  scripts {_ms(times['script_s'])}, held {_ms(times['held_s'])},"
        f" frozen {_ms(times['frozen_s'])}, of it the snapshot {_ms(times['snapshot_s'])}"
    )
    yield (
        f" times    boot {times['boot_s']:.1f} s, copy {times['copy_s']:.1f} s,"
        f" backup {times['backup_s']:.1f} s, restore {times['restore_s']:.1f} s,"
        f" boot of the restored {times['restored_boot_s']:.1f} s, all {times['total_s']:.0f} s"
    )
    yield (
        f" sizes    disks {size(sizes['logical_bytes'])}, read {size(sizes['read_bytes'])},"
        f" in the vault {size(sizes['new_bytes'])}"
    )
    if story.kept is not None:
        yield from _kept_lines(story.kept)


def _kept_lines(kept: Kept) -> Iterator[str]:
    command = f"quiesce --config {kept.settings}"
    yield ""
    yield " the VM runs on; some things to try:"
    yield f'   psql "{kept.postgresql}"'
    yield f"   {command} backup demo"
    yield f"   {command} points"
    yield f"   {command} restore demo@latest --to {kept.directory}/again"
    yield f" its end: kill {kept.pid}; rm -r {kept.directory}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
