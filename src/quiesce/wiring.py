"""The composition root: the only module that names concrete classes."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce import config
from quiesce.channel.qga import Qga
from quiesce.config import MachineSettings, Settings
from quiesce.errors import QuiesceError
from quiesce.jobs import backup as backup_job
from quiesce.jobs import doctor as doctor_job
from quiesce.jobs import prune as prune_job
from quiesce.jobs import restore as restore_job
from quiesce.jobs import undo as undo_job
from quiesce.jobs.account import Account
from quiesce.jobs.one_run import noted
from quiesce.model.undo import UndoNote
from quiesce.policy.retention import KeepRules
from quiesce.ports import ThawAnswer
from quiesce.providers import carriers, cleanup, handed, images
from quiesce.providers.disk_files import DiskSource
from quiesce.providers.disks import Disks
from quiesce.providers.qemu import Qemu
from quiesce.system import ulid
from quiesce.system.deadline import Deadline
from quiesce.vault import measuring
from quiesce.vault.collecting import Terms
from quiesce.vault.looking import look
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.mirroring import Mirror
from quiesce.vault.scrubbing import Budget, Clock, Scrub, Scrubbed
from quiesce.vault.stores import address, probing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from quiesce.environment import Environment
    from quiesce.jobs.account import BackupRun
    from quiesce.jobs.doctor import Examined
    from quiesce.jobs.undo import Recovered
    from quiesce.model.disk import Disk
    from quiesce.model.point import PointSummary
    from quiesce.ports import BlockWriter, Guard, MachineFacts, Progress
    from quiesce.vault.collecting import Collected
    from quiesce.vault.format.entry import Hold
    from quiesce.vault.maintenance import Planned
    from quiesce.vault.measuring import DomainSize
    from quiesce.vault.mirroring import Mirrored
    from quiesce.vault.repository import Vault

_THAW_S = 8.0


@dataclass(frozen=True)
class MachineOptions:
    """What the command line says of a machine, in place of the settings."""

    qmp: Path | None = None
    qga: Path | None = None
    definition: Path | None = None
    scratch: Path | None = None
    same_machine: bool = False
    disks: tuple[str, ...] = ()
    at_rest: bool = False
    changed: tuple[Path, ...] = ()
    report: Path | None = None
    vault_on_disk: bool = False


@dataclass(frozen=True)
class Restored:
    """A point that was restored: its disks with their paths, and how long it took."""

    point: PointSummary
    disks: tuple[tuple[Disk, Path], ...]
    took_s: float


@dataclass(frozen=True)
class Holds:
    """A point, and what holds it."""

    point: PointSummary
    holds: tuple[Hold, ...]


def examine(env: Environment) -> Examined:
    """Try the vault as it can be used from here; see `jobs.doctor.examine`."""
    return doctor_job.examine(env.store(), env.vault_url, token=ulid.new())


def open_vault(env: Environment) -> Vault:
    """Open the vault with what this host has; see `Access.open` and `Vault.open`."""
    return env.access.open(env.store())


def hold(env: Environment, selector: str, *, legal: bool) -> Holds:
    """Hold the point *selector* and return what holds it now."""
    vault = open_vault(env)
    point = vault.find(selector)
    vault.hold(point, hold_id=ulid.new(), legal=legal)
    return Holds(point, vault.holds(point))


def unhold(env: Environment, selector: str, *, legal: bool) -> Holds:
    """End the holds of the point *selector*, and return what holds it still."""
    vault = open_vault(env)
    point = vault.find(selector)
    vault.unhold(point, legal=legal)
    return Holds(point, vault.holds(point))


def plan_prune(env: Environment) -> tuple[Maintenance, tuple[Planned, ...]]:
    """Return what a prune of the vault would do by the settings, and who would do it."""
    kept = env.settings.retention
    terms = Terms(
        KeepRules(
            last=kept.keep_last,
            hourly=kept.keep_hourly,
            daily=kept.keep_daily,
            weekly=kept.keep_weekly,
            monthly=kept.keep_monthly,
            yearly=kept.keep_yearly,
        ),
        timedelta(days=kept.undelete_days),
        datetime.now().astimezone(),
    )
    store = env.store()
    maintenance = Maintenance(store, env.access.open(store))
    return maintenance, prune_job.plan(maintenance, terms)


def prune(
    env: Environment,
    maintenance: Maintenance,
    planned: Sequence[Planned],
    *,
    limit_percent: int | None,
    progress: Progress,
) -> tuple[Collected, ...]:
    """Do what was planned. Raises QuiesceError PruneRefused before anything is done."""
    limit = env.settings.retention.limit_percent if limit_percent is None else limit_percent
    prune_job.check(planned, limit_percent=limit)
    return prune_job.apply(maintenance, planned, progress=progress)


def scrub(
    env: Environment, budget: Budget, *, opens: bool, progress: Progress
) -> tuple[Scrubbed, ...]:
    """Read the vault's packs back as far as *budget* goes; with *opens* chunk by chunk."""
    store = env.store()
    clock = Clock(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", time.monotonic)
    return Scrub(store, env.access.open_if_any(store), clock, opens=opens).run(budget, progress)


def stats(env: Environment, *, progress: Progress) -> tuple[DomainSize, ...]:
    """Return what points, machines and domains take in the vault."""
    store = env.store()
    return tuple(
        measuring.measure(store, look(store, domain), progress)
        for domain in env.access.open_if_any(store).domains()
    )


def mirror(env: Environment, url: str, *, progress: Progress) -> tuple[Mirrored, ...]:
    """Copy the vault to *url*; see `vault.mirroring.Mirror`. A new place is probed first."""
    target = address.open_store(url, os.environ)
    copier = Mirror(env.store(), target)
    if not copier.is_begun():
        probing.probe(target, ulid.new())
    return copier.run(progress)


def backup(env: Environment, name: str, given: MachineOptions, *, progress: Progress) -> BackupRun:
    """Back up the machine *name* and return how it went, also where it could not begin."""
    scratch = given.scratch or env.settings.scratch.directory or env.state_dir / "scratch"
    try:
        settings = _machine_settings(env.settings, name, given)
        vault = open_vault(env)
        machine = _machine(env, name, settings, given, scratch)
    except QuiesceError as exc:
        account = Account(name, ulid.new(), wants_agent=True)
        account.fail(exc)
        return account.told()
    return backup_job.backup(
        machine,
        vault=vault,
        supervisor=_supervisor(env, name, settings, scratch),
        progress=progress,
        same_machine=given.same_machine,
    )


def _machine(
    env: Environment, name: str, settings: MachineSettings, given: MachineOptions, scratch: Path
) -> backup_job.Machine:
    refuse = None if given.vault_on_disk else partial(_refuse_vault_on_disk, env, scratch)
    if settings.qmp is None:
        provider = _disks(settings, given, scratch)
        return backup_job.Machine(name, provider, None, wants_agent=False, refuse=refuse)
    if given.at_rest or given.changed or given.report is not None:
        raise QuiesceError(
            "IncorrectSettings",
            f"{name} is a QEMU VM: --at-rest, --changed and --report are for disks alone",
            action="leave them out, or name its disks: --disk PATH",
        )
    return backup_job.Machine(
        name=name,
        provider=Qemu(settings.qmp, scratch_root=scratch, definition_file=settings.definition),
        guest=_guest(settings) if settings.agent else None,
        wants_agent=settings.agent,
        refuse=refuse,
    )


def _disks(settings: MachineSettings, given: MachineOptions, scratch: Path) -> Disks:
    lists = tuple(handed.read_changes(path) for path in given.changed)
    if lists and len(lists) != len(settings.disks):
        raise QuiesceError(
            "IncorrectChangeList",
            f"{len(lists)} change lists for {len(settings.disks)} disks",
            action="give --changed once for each disk, in their order",
        )
    return Disks(
        [DiskSource.parse(text) for text in settings.disks],
        scratch_root=scratch,
        definition_file=settings.definition,
        at_rest=given.at_rest,
        changed=lists,
        report=None if given.report is None else handed.read_report(given.report),
    )


def _refuse_vault_on_disk(env: Environment, scratch: Path, facts: MachineFacts) -> None:
    directory = address.parse(env.vault_url).directory
    if directory is not None:
        carriers.refuse_on_disk("vault", directory, facts.places)
    carriers.refuse_on_disk("scratch", scratch, facts.places)


def _guest(machine: MachineSettings) -> Qga | None:
    if machine.qga is None:
        return None
    return Qga(machine.qga, shipped=config.guest_program() if machine.renew else None)


def recover(env: Environment) -> tuple[Recovered, ...]:
    """Undo what earlier commands left behind whose supervisor is dead too."""
    return tuple(undo_job.recover_left_behind(env.state_dir, undo))


def supervise(*, state_dir: Path, session: str) -> None:
    """Be the supervisor of *session*."""
    undo_job.supervise(state_dir=state_dir, session=session, undo=undo)


def undo(note: UndoNote, descriptor: int | None) -> None:
    """Let the machine go on, thaw and release the guest, and remove what is left; `ports.Undo`."""
    try:
        with cleanup.connected(note, descriptor) as connection:
            if connection is not None:
                cleanup.go_on(connection, note)
            is_thawed = connection is None or _is_thawed(note)
            cleanup.sweep(connection, note)
    except QuiesceError:
        _is_thawed(note)
        raise
    except (OSError, LookupError, TypeError, ValueError) as exc:
        _is_thawed(note)
        raise QuiesceError("UndoIncomplete", f"cannot undo: {exc!r}") from exc
    if not is_thawed:
        raise QuiesceError("UndoIncomplete", "the guest agent does not answer the thaw")


def _is_thawed(note: UndoNote) -> bool:
    """Thaw and release the guest where it may be at rest; return whether it answered."""
    if not note.at_rest or note.qga is None:
        return True
    with closing(Qga(Path(note.qga))) as guest:
        return guest.thaw(deadline=Deadline.after(_THAW_S)) != ThawAnswer(thawed=None)


def restore(
    env: Environment, selector: str, directory: Path, *, image_format: str, progress: Progress
) -> Restored:
    """Restore the point *selector* into new files in *directory*.

    Raises QuiesceError TargetExists before anything is written; nothing half-restored is left.
    """
    vault = open_vault(env)
    point = vault.find(selector)
    _make_directory(directory)
    paths = [(disk, directory / f"{disk.name}.{image_format}") for disk in point.disks]
    began = time.monotonic()
    with ExitStack() as stack:
        targets = {
            disk.name: stack.enter_context(_writer(image_format)(path, disk.size_bytes))
            for disk, path in paths
        }
        restore_job.restore(vault, point, targets, progress=progress)
    return Restored(point, tuple(paths), time.monotonic() - began)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        message = f"cannot use {directory}: {exc.strerror}"
        raise QuiesceError("RestoreFailed", message) from exc


def _machine_settings(settings: Settings, name: str, given: MachineOptions) -> MachineSettings:
    if given.qmp is not None:
        return MachineSettings(qmp=given.qmp, qga=given.qga, definition=given.definition)
    if given.disks:
        return MachineSettings(disks=given.disks, definition=given.definition)
    if name not in settings.machine:
        raise QuiesceError("MachineNotFound", f"no machine {name} in the settings")
    changes = {"qga": given.qga, "definition": given.definition}
    return settings.machine[name].model_copy(
        update={key: value for key, value in changes.items() if value is not None}
    )


def _supervisor(
    env: Environment, name: str, machine: MachineSettings, scratch: Path
) -> Callable[[str], AbstractContextManager[Guard]]:
    def supervised(session: str) -> AbstractContextManager[Guard]:
        note = UndoNote(
            session=session,
            machine=name,
            qmp="" if machine.qmp is None else str(machine.qmp.absolute()),
            qga=None if machine.qga is None else str(machine.qga.absolute()),
            prefix=cleanup.prefix(session),
            scratch_dir=str(cleanup.scratch_directory(scratch, session)),
        )
        if machine.qmp is None:
            return noted(note, state_dir=env.state_dir)
        command = undo_job.supervisor_command(env.state_dir, session)
        return undo_job.supervised(note, state_dir=env.state_dir, undo=undo, command=command)

    return supervised


def _writer(image_format: str) -> Callable[[Path, int], AbstractContextManager[BlockWriter]]:
    return {"raw": images.raw_image, "qcow2": images.qcow2_image}[image_format]
