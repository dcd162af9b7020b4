"""What every verb gets: the options that all have in common, and what follows from them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from quiesce.cli.output import Output
from quiesce.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_GLOBAL = (
    click.option("--config", type=click.Path(path_type=Path), help="Settings file."),
    click.option("--vault", metavar="URL", envvar="QUIESCE_VAULT", help="Vault, as file:///PATH."),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option("--quiet", is_flag=True, help="Only the answer and errors."),
    click.option("--verbose", is_flag=True, help="Log events on stderr."),
)


@dataclass(frozen=True)
class Common:
    """The options that go before or after the verb; after wins."""

    config: Path | None = None
    vault: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

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


def verb(
    command: Callable[Concatenate[Common, P], ExitStatus],
) -> Callable[..., ExitStatus]:
    """Give *command* the common options, given before or after the verb, as its first argument."""

    @global_options
    @click.pass_context
    @functools.wraps(command)
    def with_common(context: click.Context, *args: Any, **kwargs: Any) -> ExitStatus:
        names = ("config", "vault", "as_json", "quiet", "verbose")
        later = Common(**{name: kwargs.pop(name) for name in names})
        common = context.ensure_object(Common).with_later(later)
        context.find_root().obj = common
        return command(common, *args, **kwargs)

    return with_common
