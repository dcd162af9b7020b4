"""Begin a session: who the machine is, what it goes on from, what it takes over."""

from __future__ import annotations

import uuid as uuids
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import entry as entries
from quiesce.vault.log import SessionState
from quiesce.vault.packer import PackWriter
from quiesce.vault.reading import PointReader
from quiesce.vault.session import WritingSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.ports import BlobStore
    from quiesce.vault.domain import Domain
    from quiesce.vault.log import LogState


@dataclass(frozen=True, slots=True)
class Intent:
    """What a caller of `Vault.session` wants; see there."""

    sid: str
    machine: str
    uuid: str | None
    same_machine: bool


@contextmanager
def writing_session(store: BlobStore, domain: Domain, intent: Intent) -> Iterator[WritingSession]:
    """Open a session as `Vault.session` says."""
    keys = domain.keys_to_write()
    minted = str(uuids.uuid4())
    domain.append(lambda state: _open_on(domain, state, intent, minted))
    opened = domain.state.opened[intent.sid]
    for sid in _open_sessions(domain.state, intent):
        domain.append(partial(_abort_on, sid))
    with PackWriter(store, domain, keys, intent.sid) as packs:
        base = _base_reader(store, domain, opened.base)
        session = WritingSession(store, domain, opened, packs=packs, base=base)
        try:
            yield session
        except BaseException:
            with suppress(QuiesceError):
                _leave(domain, session)
            raise
        _leave(domain, session)


def _leave(domain: Domain, session: WritingSession) -> None:
    # What is uploaded stays with the open session, for the next one to adopt (ADR 0011).
    state = domain.refresh()
    if state.session(session.sid) is SessionState.OPEN and session.leaves_nothing():
        domain.append(partial(_abort_on, session.sid))


def _open_on(domain: Domain, state: LogState, intent: Intent, minted: str) -> entries.Open | None:
    if state.session(intent.sid) is SessionState.OPEN:
        if state.opened_at[intent.sid] in domain.forged:
            raise QuiesceError("SessionLost", f"somebody else has opened session {intent.sid}")
        return None
    known = _known_uuid(state, intent.machine)
    given = None if intent.uuid is None else intent.uuid.lower()
    if known is not None and given not in {None, known} and not intent.same_machine:
        raise QuiesceError(
            "MachineIdentityChanged",
            f"{intent.machine} had the UUID {known} and has {given} now",
        )
    interrupted = _open_sessions(state, intent)
    points = [
        kept.snapshot.sid
        for kept in domain.points()
        if state.opened[kept.snapshot.sid].machine == intent.machine
    ]
    return entries.Open(
        sid=intent.sid,
        machine=intent.machine,
        uuid=given or known or minted,
        base=points[-1] if points else None,
        adopts=interrupted[-1] if interrupted else None,
    )


def _abort_on(sid: str, state: LogState) -> entries.Abort | None:
    return entries.Abort(sid) if state.session(sid) is SessionState.OPEN else None


def _known_uuid(state: LogState, machine: str) -> str | None:
    known = [opened.uuid for opened in state.opened.values() if opened.machine == machine]
    return known[-1] if known else None


def _open_sessions(state: LogState, intent: Intent) -> list[str]:
    return [
        sid
        for sid, opened in state.opened.items()
        if sid != intent.sid
        and opened.machine == intent.machine
        and state.session(sid) is SessionState.OPEN
    ]


def _base_reader(store: BlobStore, domain: Domain, base: str | None) -> PointReader | None:
    if base is None or base not in domain.state.points:
        return None
    try:
        return PointReader(store, domain, domain.state.points[base].snapshot)
    except QuiesceError as exc:
        if exc.name != "VaultDamaged":
            raise
        return None
