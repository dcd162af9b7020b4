"""`quiesce vault key …`: who opens the vault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quiesce import keycare
from quiesce.cli.context import ask, begin, verb
from quiesce.cli.output import shown
from quiesce.errors import ExitStatus
from quiesce.vault.keys.passphrase import PassphraseSources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.cli.context import Common
    from quiesce.vault.keys.care import KeyState

_ADD_EPILOG = """\b
Examples:
  quiesce vault key add passphrase
  quiesce vault key add recovery --recovery-file /root/recovery-key
  quiesce vault key add host --machine db1
"""


@click.group()
def key() -> None:
    """Say who opens the vault: slots (passphrases, recovery keys), hosts, keys of machines."""


@key.command("list", epilog="Example: quiesce vault key list")
@verb
def list_keys(common: Common) -> ExitStatus:
    """List the slots, the hosts, and whose keys each machine's data are under."""
    state = keycare.key_state(begin(common))
    document = {
        "schema": "quiesce.keys/1",
        "slots": [
            {"name": slot.name, "kind": slot.kind.value, "label": slot.label}
            for slot in state.slots
        ],
        "hosts": [{"id": host.id, "label": host.label} for host in state.hosts],
        "domains": [
            {"name": each.name, "generation": each.generation, "opened_by": list(each.recipients)}
            for each in state.domains
        ],
        "problems": list(state.problems),
    }
    common.output.answer(document, *_lines(state))
    return ExitStatus.DONE


@key.command(epilog=_ADD_EPILOG)
@click.argument("kind", type=click.Choice(["passphrase", "recovery", "host"]))
@click.option("--label", help="What the list says of it; a host's own name otherwise.")
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    help="File with the new passphrase, which is asked for otherwise.",
)
@click.option(
    "--recovery-file",
    type=click.Path(path_type=Path),
    help="New file for the recovery key, which is printed otherwise.",
)
@click.option(
    "--machine",
    "machines",
    multiple=True,
    help="A machine that others backed up, and this host is to back up or read too.",
)
@verb
def add(
    common: Common,
    *,
    kind: str,
    label: str | None,
    new_passphrase_file: Path | None,
    recovery_file: Path | None,
    machines: tuple[str, ...],
) -> ExitStatus:
    """Let a new passphrase, a new recovery key, or this host open the vault.

    Needs a passphrase or recovery key that opens it already.
    """
    environment = begin(common)
    document: dict[str, object] = {"schema": "quiesce.key/1", "kind": kind}
    lines = []
    if kind == "host":
        record, files = keycare.add_this_host(
            environment, machines, label=label or keycare.host_label()
        )
        document |= {"name": record.id, "key_files": [str(path) for path in files]}
        lines += [f"  key file  {shown(path)}" for path in files]
    elif kind == "recovery":
        slot, spelt = keycare.add_recovery(
            environment, label=label or "", recovery_file=recovery_file
        )
        document |= {"name": slot.name, "recovery_key": spelt}
        lines += [] if spelt is None else recovery_lines(spelt)
    else:
        new = PassphraseSources(new_passphrase_file, ask=ask)
        document["name"] = keycare.add_passphrase(environment, new, label=label or "").name
    common.output.answer(document, f"added the {kind} {document['name']}", *lines)
    return ExitStatus.DONE


@key.command(epilog="Example: quiesce vault key remove passphrase-1f3a09bc")
@click.argument("name")
@verb
def remove(common: Common, *, name: str) -> ExitStatus:
    """Take the slot or host NAME away. The last slot stays.

    Whoever has used it may have kept what it opens: after a host, rotate the keys of its machines
    with --new-ids.
    """
    keycare.remove(begin(common), name)
    common.output.answer({"schema": "quiesce.key/1", "removed": name}, f"removed {name}")
    return ExitStatus.DONE


@key.command(epilog="Example: quiesce vault key share db1 --host 5fc6acf0ec752601")
@click.argument("machine")
@click.option("--host", required=True, metavar="ID", help="The host's id, out of the list.")
@verb
def share(common: Common, *, machine: str, host: str) -> ExitStatus:
    """Let another host back up and read MACHINE too."""
    is_new = keycare.share(begin(common), machine, host)
    what = "opens" if is_new else "opened already"
    document = {"schema": "quiesce.key/1", "machine": machine, "host": host, "is_new": is_new}
    common.output.answer(document, f"{host} {what} {shown(machine)}")
    return ExitStatus.DONE


@key.command(epilog="Example: quiesce vault key rotate db1")
@click.argument("machines", metavar="[MACHINE...]", nargs=-1)
@click.option(
    "--new-ids",
    is_flag=True,
    help="Somebody may know the old key: share nothing with what is there. The next backup of each"
    " machine stores everything again.",
)
@verb
def rotate(common: Common, *, machines: tuple[str, ...], new_ids: bool) -> ExitStatus:
    """Write with new keys from now on, for each MACHINE or all. What is there stays readable."""
    made = keycare.rotate(begin(common), machines, new_ids=new_ids)
    document = {"schema": "quiesce.key/1", "generations": made}
    lines = [f"{domain}  generation {generation}" for domain, generation in made.items()]
    common.output.answer(document, *lines)
    return ExitStatus.DONE


def _lines(state: KeyState) -> Iterator[str]:
    yield "slots"
    for slot in state.slots:
        yield f"  {slot.name}  {shown(slot.label)}"
    yield "hosts"
    for host in state.hosts:
        yield f"  {host.id}  {shown(host.label)}"
    yield "machines"
    for each in state.domains:
        yield f"  {each.name}  generation {each.generation}, opened by {', '.join(each.recipients)}"
    for problem in state.problems:
        yield f"[bold red]damaged[/]: {shown(problem)}"


def recovery_lines(recovery: str) -> Iterator[str]:
    """Yield what a person is told of the recovery key, once."""
    half = len(recovery) // 2
    yield ""
    yield "  recovery key, shown once: print it, and keep it apart from the vault and this host"
    yield f"    [bold]{recovery[:half].rstrip('-')}[/]"
    yield f"    [bold]{recovery[half:].lstrip('-')}[/]"
    yield "  without it, the passphrase or a key file nobody reads the vault again"
