"""What every verb gets: the options that all have in common, and what follows from them."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from quiesce import wiring
from quiesce.cli.output import Output
from quiesce.environment import load_environment
from quiesce.vault.keys.passphrase import PassphraseSources

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.environment import Environment
    from quiesce.errors import ExitStatus

T = TypeVar("T")

_GLOBAL = (
    click.option("--config", type=click.Path(path_type=Path), help="Settings file."),
    click.option(
        "--vault",
        metavar="URL",
        envvar="QUIESCE_VAULT",
        help="Vault: file:///PATH, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option("--quiet", is_flag=True, help="Only the answer and errors."),
    click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        help="File with the vault's passphrase or recovery key, where this host has no key file."
        " Or QUIESCE_PASSPHRASE, or passphrase_command in the settings.",
    ),
)


@dataclass(frozen=True)
class Common:
    """The options that go before or after the verb; after wins."""

    config: Path | None = None
    vault: str | None = None
    as_json: bool = False
    quiet: bool = False
    passphrase_file: Path | None = None

    @property
    def output(self) -> Output:
        """Where the verb speaks."""
        return Output(as_json=self.as_json, quiet=self.quiet)

    def with_later(self, later: Common) -> Common:
        """Return these options with those of *later* that were given in their place."""
        given = {name: value for name, value in vars(later).items() if value}
        return replace(self, **given)


def global_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the options that every verb has to *command*, which gets them one by one."""
    for option in reversed(_GLOBAL):
        command = option(command)
    return command


def verb(command: Callable[..., ExitStatus]) -> Callable[..., ExitStatus]:
    """Give *command* the common options, given before or after the verb, as its first argument."""

    @global_options
    @click.pass_context
    @functools.wraps(command)
    def with_common(context: click.Context, *args: Any, **kwargs: Any) -> ExitStatus:
        later = Common(**{each.name: kwargs.pop(each.name) for each in fields(Common)})
        common = context.ensure_object(Common).with_later(later)
        context.find_root().obj = common
        return command(common, *args, **kwargs)

    return with_common


def begin(common: Common) -> Environment:
    """Return what the verb works with, after undoing what an earlier command left behind."""
    # No program that we start is to have it.
    given = os.environ.pop("QUIESCE_PASSPHRASE", None)
    sources = PassphraseSources(common.passphrase_file, given, ask=ask)
    environment = load_environment(common.config, common.vault, passphrase=sources)
    for recovered in wiring.recover(environment):
        what = f"a backup of {recovered.machine} that died ({recovered.session})"
        if recovered.error is None:
            common.output.say(f"undone: what was left of {what}")
        else:
            common.output.say(f"cannot yet undo what is left of {what}: {recovered.error.message}")
    return environment


def ask(prompt: str) -> str | None:
    """Ask for a passphrase where a person is, a new one twice; None: nobody is, or it is empty."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    is_new = prompt.startswith("new ")
    said: str = click.prompt(
        prompt,
        hide_input=True,
        default="",
        show_default=False,
        err=True,
        confirmation_prompt=is_new,
    )
    return said or None
