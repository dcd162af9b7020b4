"""Examine one pack: whether it is there, is what its name says, and opens chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.vault.format import chunk, names, pack
from quiesce.vault.format.header import MAX_PACK_BYTES

if TYPE_CHECKING:
    from quiesce.ports import BlobReader
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.names import PackName


class Examiner:
    """Examines packs of one domain; several threads may use it at once.

    With *opens* every chunk is opened and compared with its id, which needs the domain's key.
    """

    def __init__(self, store: BlobReader, domain: Domain, *, opens: bool) -> None:
        self._store = store
        self._domain = domain
        self._opens = opens

    def __call__(self, name: PackName) -> tuple[int, str | None]:
        """Return how many bytes of *name* were read, and what is wrong with it, if anything is.

        Raises QuiesceError VaultUnavailable where the store fails.
        """
        try:
            raw = self._read(name)
            self._check(raw, name)
        except KeyError:
            return 0, "it is missing"
        except QuiesceError as exc:
            if exc.name != "VaultDamaged":
                raise
            return 0, exc.message
        except _DamageError as exc:
            return exc.read_bytes, str(exc)
        return len(raw), None

    def _read(self, name: PackName) -> bytes:
        raw = self._store.get(names.pack_name(self._domain.name, name), 0, MAX_PACK_BYTES + 1)
        if len(raw) > MAX_PACK_BYTES:
            raise _DamageError("it is larger than a pack can be", len(raw))
        return raw

    def _check(self, raw: bytes, name: PackName) -> None:
        if names.digest(raw) != name.digest:
            raise _DamageError(f"its {len(raw)} bytes are not those that its name says", len(raw))
        if not self._opens:
            return
        try:
            self._open(raw, name)
        except ValueError as exc:
            raise _DamageError(f"it was written wrongly: {exc}", len(raw)) from exc

    def _open(self, raw: bytes, name: PackName) -> None:
        keys = self._domain.keys
        header = pack.parse_header(raw, self._domain.head.vault_id, name.kind)
        pack_seal = keys.pack(name.kind, *header)
        trailer = raw[-pack.TRAILER_BYTES :]
        start, length = pack.footer_range(trailer, len(raw), pack_seal)
        for row in pack.parse_footer(raw[start : start + length], trailer, pack_seal):
            framed = raw[row.offset : row.offset + pack.FRAME_BYTES + row.stored_bytes]
            chunk.unpacked(framed, row.chunk_id, pack_seal, keys)


class _DamageError(Exception):
    """What is wrong with a pack of which so many bytes were read."""

    def __init__(self, why: str, read_bytes: int) -> None:
        super().__init__(why)
        self.read_bytes = read_bytes
