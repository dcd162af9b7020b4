"""One backup, told in order: look, hold, freeze, snapshot, thaw, release, copy, commit, report."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.jobs import handed
from quiesce.jobs.account import Account, BackupRun
from quiesce.jobs.interruption import interruptible
from quiesce.policy import limits
from quiesce.policy.claim import claim, may_take
from quiesce.ports import ThawAnswer
from quiesce.system import ulid
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from quiesce.ports import (
        Guard,
        Guest,
        MachineFacts,
        PreparedSnapshot,
        Progress,
        Snapshot,
        SnapshotProvider,
    )
    from quiesce.vault.repository import Vault
    from quiesce.vault.session import WritingSession

_PREPARE_S = 60.0
_LOOK_S = 30.0
_REPORT_S = 30.0
_RENEW_S = 60.0


@dataclass(frozen=True)
class Machine:
    """What is backed up.

    *guest* is None where no way to a guest agent is known; *wants_agent* is false where the
    settings say that there is none on purpose, which then lowers nothing. *refuse* raises
    QuiesceError where a machine as it was found is not to be backed up here.
    """

    name: str
    provider: SnapshotProvider
    guest: Guest | None
    wants_agent: bool = True
    refuse: Callable[[MachineFacts], None] | None = None


def backup(
    machine: Machine,
    *,
    vault: Vault,
    supervisor: Callable[[str], AbstractContextManager[Guard]],
    progress: Progress,
    same_machine: bool = False,
) -> BackupRun:
    """Back *machine* up into *vault* and return how it went, also where it failed.

    *supervisor* makes the guard of a session id, as a context. Whatever happens, when this
    returns or raises the guest has been thawed and released, the machine runs if it ran, and
    nothing of the backup is left on it; where that could not be done, the run's error is
    UndoIncomplete. Raises what is no QuiesceError; KeyboardInterrupt where SIGINT, SIGTERM or
    SIGHUP came, which waits for what is being put back.
    """
    account = Account(machine.name, ulid.new(), wants_agent=machine.wants_agent)
    try:
        with interruptible() as interruption, contextlib.ExitStack() as stack:
            guard = stack.enter_context(supervisor(account.session))
            if machine.guest is not None:
                stack.callback(machine.guest.close)
            progress.stage("prepare")
            prepared = stack.enter_context(_prepared(machine.provider, guard, account.session))
            account.facts = prepared.facts
            if machine.refuse is not None:
                machine.refuse(prepared.facts)
            store = stack.enter_context(
                vault.session(
                    machine=machine.name,
                    uuid=prepared.facts.uuid,
                    sid=account.session,
                    same_machine=same_machine,
                )
            )
            account.alarms = vault.alarms(machine.name)
            _take_over_report(account, vault)
            with interruption.allowed(), account.keeping_errors():
                _protect(
                    account,
                    guest=machine.guest,
                    prepared=prepared,
                    guard=guard,
                    store=store,
                    progress=progress,
                )
    except QuiesceError as exc:
        account.fail(exc)
    return account.told()


@contextlib.contextmanager
def _prepared(provider: SnapshotProvider, guard: Guard, session: str) -> Iterator[PreparedSnapshot]:
    """Prepare the snapshot; an error of putting back is UndoIncomplete, whatever it was.

    An interruption stays one.
    """
    body_error: BaseException | None = None
    is_entered = False
    deadline = Deadline.after(_PREPARE_S)
    try:
        with provider.prepared(session=session, guard=guard, deadline=deadline) as prepared:
            is_entered = True
            try:
                yield prepared
            except BaseException as exc:
                body_error = exc
                raise
    except QuiesceError as exc:
        if not is_entered or exc is body_error:
            raise
        if body_error is not None and not isinstance(body_error, QuiesceError):
            raise body_error from exc
        raise QuiesceError("UndoIncomplete", f"not everything was put back: {exc}") from exc


def _take_over_report(account: Account, vault: Vault) -> None:
    """Keep the report that was handed over with the disks, where it is not used already."""
    alone = None if account.facts is None else account.facts.alone
    if alone is not None and alone.report is not None:
        warnings = handed.refuse_used(vault, account.machine, alone.report)
        account.alarms = (*account.alarms, *warnings)
        account.report = alone.report


def _protect(
    account: Account,
    *,
    guest: Guest | None,
    prepared: PreparedSnapshot,
    guard: Guard,
    store: WritingSession,
    progress: Progress,
) -> None:
    _look(guest, prepared.facts, account)
    account.lap("prepare_s")
    progress.stage("hold" if account.outlook.agent else "snapshot")
    with _at_rest(guest, guard, account):
        if may_take(account.seen()):
            account.take(prepared)
    _read_report(guest, account)
    account.claim = claim(account.seen())
    _renew(guest, account)
    if not account.claim.keep:
        return
    account.lap(None)
    _copy(prepared.open(), store, progress, account)
    account.lap("copy_s")
    progress.stage("commit")
    account.point = store.commit(account.evidence(), created_at=account.created_at)
    account.lap("commit_s")


def _look(guest: Guest | None, facts: MachineFacts, account: Account) -> None:
    """Ask the guest what it would do; a paused machine is not asked."""
    if guest is not None and facts.running:
        account.outlook = guest.look(
            session=account.session,
            disks=len(facts.disks),
            deadline=Deadline.after(_LOOK_S),
        )


@contextlib.contextmanager
def _at_rest(guest: Guest | None, guard: Guard, account: Account) -> Iterator[None]:
    """Hold and freeze, and thaw and release on leaving, in whatever way."""
    if guest is None or not account.outlook.agent:
        account.freeze_sent_s = time.monotonic()
        yield
        account.thaw_answered_s = time.monotonic()
        return
    check = account.outlook.check
    guard.note(at_rest=True)
    try:
        account.freeze_sent_s = time.monotonic()
        account.freeze = guest.freeze(
            account.outlook, deadline=Deadline.after(limits.freeze_s(check))
        )
        account.frozen_at_s = time.monotonic()
        yield
    finally:
        account.thaw_sent_s = time.monotonic()
        account.thaw = guest.thaw(deadline=Deadline.after(limits.thaw_s(check)))
        account.thaw_answered_s = time.monotonic()
        if _is_answered(account.thaw):
            guard.note(at_rest=False)


def _is_answered(thaw: ThawAnswer) -> bool:
    return thaw != ThawAnswer(thawed=None)


def _read_report(guest: Guest | None, account: Account) -> None:
    outlook = account.outlook
    is_mute = outlook.damaged and outlook.hook is None
    if guest is not None and outlook.agent and outlook.hook is not False and not is_mute:
        account.report = guest.report(session=account.session, deadline=Deadline.after(_REPORT_S))


def _renew(guest: Guest | None, account: Account) -> None:
    """Renew what is damaged in the guest, for the next backup: this one has had its window."""
    if guest is not None and account.outlook.damaged:
        account.renewal = guest.renew(deadline=Deadline.after(_RENEW_S))


def _copy(snapshot: Snapshot, store: WritingSession, progress: Progress, account: Account) -> None:
    for one in snapshot.disks:
        copied = store.copy_disk(one.disk, one.reader, progress=progress, changed=one.changed)
        account.copied.append(copied)
    snapshot.check()
