"""One domain's log as it lies in a store: folded to its tail, and appended to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.log import LogState

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.ports import BlobStore
    from quiesce.vault.format.entry import Body

_ATTEMPTS: Final = 3


class Domain:
    """A domain of a vault. *state* is what was folded last; `refresh` folds on to the tail."""

    def __init__(self, store: BlobStore, vault_id: bytes, name: str) -> None:
        self.name = name
        self._store = store
        self._checked = False
        self.state = LogState(entries.genesis(vault_id, name))

    def refresh(self) -> LogState:
        """Fold every entry up to the tail, which is where the next number is absent.

        Raises QuiesceError VaultDamaged where an entry is missing before a later one.
        """
        beyond = self._last_listed()
        while (raw := self._entry(self.state.tail + 1)) is not None:
            self.state.apply(raw)
        if beyond > self.state.tail:
            missing = names.log_name(self.name, self.state.tail + 1)
            raise QuiesceError("VaultDamaged", f"{missing} is missing, later entries are there")
        return self.state

    def append(self, body_on: Callable[[LogState], Body | None]) -> None:
        """Append what *body_on* makes of the state, or nothing where it returns None.

        It is asked again whenever another entry came first, so it looks first whether its aim is
        reached already, and raises where it no longer can be. Raises QuiesceError SessionLost
        where what it returns would be void, VaultFull or VaultUnavailable where the store fails;
        the entry may then still come to be.
        """
        failures = 0
        while (body := body_on(self.refresh())) is not None:
            raw = self._next(body)
            number = self.state.tail + 1
            try:
                done = self._store.create(names.log_name(self.name, number), raw)
            except QuiesceError:
                failures += 1
                found = self._entry(number)
                if found is None and failures == _ATTEMPTS:
                    raise
                done = found == raw
            else:
                done = done or self._entry(number) == raw
            if done:
                self.state.apply(raw)
                return

    def _next(self, body: Body) -> bytes:
        objection = self.state.objection(body)
        if objection is not None:
            raise QuiesceError("SessionLost", objection)
        # The id makes every attempt's bytes unlike any other's, so that reading back tells whose.
        entry = entries.Entry(self.state.tail + 1, self.state.prev, secrets.token_hex(16), body)
        return entries.encode(entry)

    def _entry(self, number: int) -> bytes | None:
        name = names.log_name(self.name, number)
        try:
            raw = self._store.get(name, 0, entries.MAX_ENTRY_BYTES + 1)
        except KeyError:
            return None
        if len(raw) > entries.MAX_ENTRY_BYTES:
            raise QuiesceError("VaultDamaged", f"{name} is larger than an entry can be")
        return raw

    def _last_listed(self) -> int:
        if self._checked:
            return 0
        last = 0
        prefix = names.log_prefix(self.name)
        for name in self._store.list(prefix):
            number = name[len(prefix) :]
            if len(number) == len("000000000001") and number.isdecimal() and number.isascii():
                last = int(number)
        self._checked = True
        return last
