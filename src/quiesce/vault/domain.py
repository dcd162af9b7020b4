"""One domain's log as it lies in a store: folded to its tail, and appended to."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.format.sealing import signature_check
from quiesce.vault.keys.author import EntryAuthor
from quiesce.vault.keys.holders import Keys
from quiesce.vault.keys.ring import KeyRing
from quiesce.vault.log import LogState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quiesce.ports import BlobStore
    from quiesce.vault.format.entry import Body, Entry
    from quiesce.vault.format.header import VaultHeader
    from quiesce.vault.format.sealing import DomainKeys
    from quiesce.vault.log import KeptPoint

_ATTEMPTS: Final = 3
_READERS: Final = 8
# So many entries wait at most: one may be 1.6 MB.
_WINDOW: Final = 32


class Domain:
    """A domain of a vault. *state* is what was folded last; `refresh` folds on to the tail.

    *forged* are the entries that nobody who holds the keys vouches for, with what is wrong.
    """

    def __init__(
        self, store: BlobStore, head: VaultHeader, name: str, keys: Keys | None = None
    ) -> None:
        self.name = name
        self.head = head
        self.forged: dict[int, str] = {}
        self._store = store
        self._checked = False
        self._ring = KeyRing(store, head, keys or Keys())
        self._keys: DomainKeys | None = None
        self._newest_key = 0
        public = head.public_keys
        self.state = LogState(
            entries.genesis(head.vault_id, name),
            None if public is None else signature_check(public.keeper, head.vault_id, name),
        )

    @property
    def keys(self) -> DomainKeys:
        """The keys to read with. Raises QuiesceError VaultLocked where none opens here."""
        if self._keys is None:
            self._keys = self._ring.domain(self.name)
        return self._keys

    def keys_to_write(self) -> DomainKeys:
        """Return the keys to write with, minted where the domain is new; see `KeyRing.to_write`."""
        is_new = self.refresh().tail == 0
        self._keys = self._ring.to_write(self.name, self._store, is_new=is_new)
        if self._keys.current < self._newest_key:
            raise QuiesceError(
                "VaultDamaged",
                f"generation {self._newest_key} of the keys of domain {self.name} is missing",
            )
        return self._keys

    def points(self) -> tuple[KeptPoint, ...]:
        """Return the points that are not purged and not forged, as last folded."""
        points = self.state.points.values()
        return tuple(kept for kept in points if kept.number not in self.forged)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is damaged or forged in the log, as last folded."""
        return (*self.state.alarms, *self.forged.values())

    def refresh(self) -> LogState:
        """Fold every entry up to the tail, which is where the next number is absent.

        Raises QuiesceError VaultDamaged where an entry is missing before a later one.
        """
        beyond = self._last_listed()
        for known in self._ahead(beyond):
            self._apply(known)
        while (raw := self._entry(self.state.tail + 1)) is not None:
            self._apply(raw)
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
                self._apply(raw)
                return

    def _apply(self, raw: bytes) -> None:
        entry = self.state.apply(raw)
        if entry is not None and entry.seal is not None and entry.seal.signature is not None:
            # The fold has seen to the signature.
            self._newest_key = max(self._newest_key, entry.seal.generation or 0)
            return
        if entry is not None and self.head.public_keys is not None:
            objection = self._objection_of_holders(entry)
            if objection is not None:
                self.forged[entry.number] = objection

    def _objection_of_holders(self, entry: Entry) -> str | None:
        if entry.seal is None or entry.seal.mac is None or entry.seal.generation is None:
            return f"entry {entry.number} is by nobody who holds a key"
        keys = self._keys_of(entry.seal.generation)
        if keys is None:
            return None
        mac = keys.mac(entry.seal.generation, entry.seal.authenticated)
        if mac is None or not secrets.compare_digest(mac, entry.seal.mac):
            return f"entry {entry.number} is by nobody who holds the key it names"
        # Not before: whoever has no key could name one that never was, and so stop every writer.
        self._newest_key = max(self._newest_key, entry.seal.generation)
        return None

    def _keys_of(self, generation: int) -> DomainKeys | None:
        # Without any key of the domain nobody can tell; then nothing of it can be read either.
        keys = self.keys_or_none()
        if keys is not None and generation > keys.current:
            self._keys = None
            keys = self.keys_or_none()
        return keys

    def keys_or_none(self) -> DomainKeys | None:
        """Return `keys`, None where none opens here."""
        try:
            return self.keys
        except QuiesceError as exc:
            if exc.name not in {"VaultLocked", "VaultDamaged"}:
                raise
            return None

    def _next(self, body: Body) -> bytes:
        objection = self.state.objection(body)
        if objection is not None:
            raise QuiesceError("SessionLost", objection)
        # The id makes every attempt's bytes unlike any other's, so that reading back tells whose.
        entry = entries.Entry(self.state.tail + 1, self.state.prev, secrets.token_hex(16), body)
        if self.head.public_keys is None:
            return entries.encode(entry)
        return entries.encode(entry, self._author(body))

    def _author(self, body: Body) -> EntryAuthor:
        keeper, must_sign = self._ring.keys.keeper, self.state.takes_away(body)
        if must_sign and keeper is None:
            raise QuiesceError("KeeperKeyMissing", "the keeper's key is not on this host")
        keys = self.keys_or_none()
        signs = must_sign or keys is None
        return EntryAuthor(self.head.vault_id, self.name, keys, keeper if signs else None)

    def _ahead(self, last: int) -> Iterator[bytes]:
        """Yield the entries after the tail up to *last*, several read at once, or up to a gap.

        Where there are few, nothing: they are read one by one as quickly.
        """
        if last - self.state.tail < _WINDOW:
            return
        with ThreadPoolExecutor(_READERS, thread_name_prefix="log") as pool:
            for first in range(self.state.tail + 1, last + 1, _WINDOW):
                for raw in pool.map(self._entry, range(first, min(first + _WINDOW, last + 1))):
                    if raw is None:
                        return
                    yield raw

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
