"""What `quiesce vault init` and `quiesce vault key …` do."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.system import ulid
from quiesce.system.files import create_durably
from quiesce.vault.format import names
from quiesce.vault.keys import creation, slots
from quiesce.vault.keys.care import KeyCare
from quiesce.vault.keys.holders import Keys
from quiesce.vault.keys.passphrase import normal
from quiesce.vault.keys.slots import Kind
from quiesce.vault.repository import Vault
from quiesce.vault.stores import probing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quiesce.environment import Environment
    from quiesce.ports import BlobStore
    from quiesce.vault.keys.care import KeyState
    from quiesce.vault.keys.holders import RootKey
    from quiesce.vault.keys.passphrase import PassphraseSources
    from quiesce.vault.keys.records import HostRecord
    from quiesce.vault.keys.slots import Slot
    from quiesce.vault.stores.probing import Probed


@dataclass(frozen=True)
class Made:
    """A vault that was made, where this host's keys are, and what opens the vault elsewhere.

    *recovery* is the recovery key as it is printed, None where it went into a file.
    """

    url: str
    probed: Probed
    slots: tuple[Slot, ...]
    key_files: tuple[Path, ...]
    recovery: str | None = field(default=None, repr=False)


def create_plain_vault(env: Environment) -> Made:
    """Make a vault without encryption.

    Raises QuiesceError VaultUnsupported where its store does too little, VaultExists,
    VaultUnavailable.
    """
    store = env.store()
    probed = probing.probe(store, ulid.new())
    Vault.create(store, creation.plain_vault())
    return Made(env.vault_url, probed, (), ())


def create_vault(env: Environment, *, recovery_file: Path | None = None) -> Made:
    """Make an encrypted vault; this host becomes its first host, and its keeper.

    A passphrase, where one is given, and a recovery key open it elsewhere. The recovery key goes
    into the new *recovery_file*, or is returned. Nothing that exists is touched: raises
    QuiesceError VaultExists, KeyExists or KeyFileUnusable then, and as `create_plain_vault`.
    """
    store = env.store()
    _refuse_existing(store)
    env.key_directory.refuse_pinned(env.vault_url)
    passphrase = env.passphrase.read(f"new passphrase of {env.vault_url}")
    probed = probing.probe(store, ulid.new())
    new = creation.new_vault()
    added = [] if passphrase is None else [(Kind.PASSPHRASE, normal(passphrase), "at init")]
    secret = creation.new_recovery_secret()
    added.append((Kind.RECOVERY, secret, "at init"))
    recovery = handed_out(secret, recovery_file)
    made = tuple(
        creation.add_slot(store, new.root, opener, kind=kind, label=label, vault_hash=new.head.hash)
        for kind, opener, label in added
    )
    new.admit_host(store, label=host_label())
    files = env.key_directory.save(new.keys, vault=new.head, url=env.vault_url)
    try:
        Vault.create(store, new.head)
    except QuiesceError:
        env.key_directory.remove(files)
        raise
    return Made(env.vault_url, probed, made, files, recovery)


def handed_out(secret: bytes, recovery_file: Path | None) -> str | None:
    """Put the recovery key *secret* into the new *recovery_file*, or return it to be printed."""
    spelt = slots.recovery_text(secret)
    if recovery_file is None:
        return spelt
    try:
        create_durably(recovery_file, f"{spelt}\n".encode())
    except FileExistsError as exc:
        raise QuiesceError("KeyExists", f"{recovery_file} exists") from exc
    except OSError as exc:
        message = f"cannot write {recovery_file}: {exc.strerror}"
        raise QuiesceError("KeyFileUnusable", message) from exc
    return None


def host_label() -> str:
    """Return what this host is called in `vault key list`."""
    return f"{socket.gethostname()}, uid {os.geteuid()}"[:200]


def _refuse_existing(store: BlobStore) -> None:
    try:
        Vault.header_of(store)
    except QuiesceError as exc:
        if exc.name == "VaultNotFound":
            return
        if exc.name not in {"VaultDamaged", "VaultUnsupported"}:
            raise
    raise QuiesceError("VaultExists", "there is a vault already")


def key_state(env: Environment) -> KeyState:
    """Return everything that opens something in the vault; nobody is asked for anything."""
    store = env.store()
    return KeyCare(store, Vault.header_of(store), Keys()).state()


def add_passphrase(env: Environment, new: PassphraseSources, *, label: str) -> Slot:
    """Let another passphrase, out of *new*, open the vault. Raises as `Access.root`."""
    care, root = _care_as_root(env)
    passphrase = new.read(f"new passphrase of {env.vault_url}")
    if passphrase is None:
        raise QuiesceError("PassphraseUnavailable", "no new passphrase was given")
    return care.add_slot(root, normal(passphrase), kind=Kind.PASSPHRASE, label=label)


def add_recovery(
    env: Environment, *, label: str, recovery_file: Path | None
) -> tuple[Slot, str | None]:
    """Let a new recovery key open the vault; return it where it went into no file."""
    care, root = _care_as_root(env)
    secret = creation.new_recovery_secret()
    spelt = handed_out(secret, recovery_file)
    return care.add_slot(root, secret, kind=Kind.RECOVERY, label=label), spelt


def add_this_host(
    env: Environment, machines: Sequence[str], *, label: str
) -> tuple[HostRecord, tuple[Path, ...]]:
    """Make this host one of the vault's, for *machines* that others have backed up before.

    Returns its record, and where its key is. Raises QuiesceError KeyExists where it is one already.
    """
    care, root = _care_as_root(env)
    domains = [names.domain_of(machine) for machine in machines]
    env.key_directory.refuse_pinned(env.vault_url)
    host = creation.new_host()
    record = care.admit(root, host, label=label)
    for domain in domains:
        care.share(domain, record)
    return record, env.key_directory.save(Keys(host=host), vault=care.head, url=env.vault_url)


def share(env: Environment, machine: str, host: str) -> bool:
    """Let the host *host* back up and read *machine* too; False: it could already."""
    care = _care(env)
    return care.share(names.domain_of(machine), care.host(host))


def rotate(env: Environment, machines: Sequence[str], *, new_ids: bool) -> dict[str, int]:
    """Give the domains of *machines*, or all, a new generation of keys; return them by domain."""
    care = _care(env)
    domains = [names.domain_of(machine) for machine in machines]
    if not domains:
        domains = [each.name for each in care.state().domains]
    return {domain: care.rotate(domain, new_ids=new_ids) for domain in domains}


def remove(env: Environment, name: str) -> None:
    """Take the slot or the host *name* away."""
    _care(env).remove(name)


def _care(env: Environment) -> KeyCare:
    store = env.store()
    head = Vault.header_of(store)
    return KeyCare(store, head, env.access.keys(store, head) or Keys())


def _care_as_root(env: Environment) -> tuple[KeyCare, RootKey]:
    store = env.store()
    head = Vault.header_of(store)
    root = env.access.root(store, head)
    return KeyCare(store, head, Keys(keeper=root.keeper, root=root)), root
