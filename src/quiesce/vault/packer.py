"""Fill packs and upload them while more are being filled."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from quiesce.vault.format import names, pack
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.format.sealing import SALT_BYTES
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from types import TracebackType

    from quiesce.ports import BlobStore
    from quiesce.vault.domain import Domain
    from quiesce.vault.format.names import PackName
    from quiesce.vault.format.sealing import DomainKeys, PackSeal

_UPLOADS: Final = 2


class Spot(NamedTuple):
    """Where a chunk will lie: as a `Ref`, in a pack that may have no name yet."""

    chunk_id: bytes
    number: int
    offset: int
    stored_bytes: int
    flags: int


class PackWriter:
    """The packs of one session, and all others that it refers to, by number.

    *written_bytes* are those of uploads that are done, after `flush` of all; *has_begun*: there is
    one.

    At most three packs are in memory at once; those of data are encrypted, named and uploaded by
    other threads, so that a place may have a name only later. Leaving the context waits for the
    uploads that were begun, so that a next session can use them, without their errors; `flush`
    reports those.
    """

    def __init__(self, store: BlobStore, domain: Domain, keys: DomainKeys, sid: str) -> None:
        self._store = store
        self._head = domain.head
        self._domain = domain.name
        self._sid = sid
        self.keys = keys
        self._places: list[Place | None] = []
        self._naming: dict[int, Future[PackName]] = {}
        self._numbers: dict[Place, int] = {}
        self._open: dict[str, tuple[int, pack.PackBuilder]] = {}
        self._uploads: deque[Future[int]] = deque()
        self._spare: deque[bytearray] = deque()
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self.written_bytes = 0
        self.has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    @property
    def vault_id(self) -> bytes:
        """The vault that the packs belong to."""
        return self._head.vault_id

    def number_of(self, place: Place) -> int:
        """Return the number of *place*, a pack that is in the store already."""
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self._places)
            self._places.append(place)
        return number

    def spot_of(self, ref: Ref) -> Spot:
        """Return *ref* as a spot."""
        return Spot(
            ref.chunk_id, self.number_of(ref.place), ref.offset, ref.stored_bytes, ref.flags
        )

    def ref_of(self, spot: Spot) -> Ref | None:
        """Return *spot* as a reference, None as long as its pack is not sealed."""
        if not self.is_sealed(spot.number):
            return None
        place = self._places[spot.number]
        if place is None:
            raise AssertionError("a sealed pack has no name")
        return Ref(spot.chunk_id, place, spot.offset, spot.stored_bytes, spot.flags)

    def is_sealed(self, number: int) -> bool:
        """Return whether pack *number* has its name."""
        naming = self._naming.get(number)
        if naming is not None and naming.done():
            self._name(number, Place(naming.result()))
        return self._places[number] is not None

    def add(
        self, kind: str, chunk_id: bytes, stored: bytes, plain_bytes: int, *, flags: int
    ) -> Spot:
        """Append a chunk to the pack of *kind* being filled; a full one is sealed and uploaded.

        Raises what an earlier upload raised.
        """
        if kind in self._open and not self._open[kind][1].has_room(len(stored)):
            self._close(kind)
        if kind not in self._open:
            builder = pack.PackBuilder(
                self._head.vault_id, kind, self._head.pack_bytes, self._new_seal(kind)
            )
            self._open[kind] = (len(self._places), builder)
            self._places.append(None)
        number, builder = self._open[kind]
        offset, stored_bytes = builder.add(chunk_id, stored, plain_bytes, flags)
        if builder.full:
            self._close(kind)
        return Spot(chunk_id, number, offset, stored_bytes, flags)

    def seal(self, kind: str) -> None:
        """Name every pack of *kind* and begin its upload; nothing where there is none.

        A pack of maps and manifests is stored twice, since losing it loses what it describes.
        """
        if kind in self._open:
            self._close(kind)
        for number, naming in tuple(self._naming.items()):
            self._name(number, Place(naming.result()))

    def _new_seal(self, kind: str) -> PackSeal:
        salt = os.urandom(SALT_BYTES) if self.keys.is_sealed else bytes(SALT_BYTES)
        return self.keys.pack(kind, self.keys.current, salt)

    def _close(self, kind: str) -> None:
        number, builder = self._open.pop(kind)
        self.has_begun = True
        if kind == names.DATA:
            self._make_room()
            naming: Future[PackName] = Future()
            self._naming[number] = naming
            self._uploads.append(self._pool.submit(self._seal_and_upload, builder, naming))
            return
        sealed = builder.seal()
        name = pack.pack_of(self._sid, kind, sealed)
        copy = builder.twin_of(sealed)
        copy_name = pack.pack_of(self._sid, kind, copy)
        self._upload(copy_name, copy)
        self._name(number, Place(name, copy_name.digest))
        self._upload(name, sealed)

    def _seal_and_upload(self, builder: pack.PackBuilder, naming: Future[PackName]) -> int:
        try:
            sealed = builder.seal(self._spare.pop() if self._spare else None)
            name = pack.pack_of(self._sid, names.DATA, sealed)
        except BaseException as exc:
            naming.set_exception(exc)
            raise
        naming.set_result(name)
        length = self._put(name, sealed)
        self._spare.append(sealed)
        return length

    def _name(self, number: int, place: Place) -> None:
        self._naming.pop(number, None)
        self._places[number] = place
        self._numbers[place] = number

    def flush(self) -> None:
        """Seal everything and return when it is durable. Raises what an upload raised."""
        for kind in (names.DATA, names.META):
            self.seal(kind)
        while self._uploads:
            self._wait_for_one()

    def _upload(self, name: PackName, data: bytearray) -> None:
        self._make_room()
        self._uploads.append(self._pool.submit(self._put, name, data))

    def _put(self, name: PackName, data: bytearray) -> int:
        upload(self._store, names.pack_name(self._domain, name), data)
        return len(data)

    def _make_room(self) -> None:
        while len(self._uploads) >= _UPLOADS:
            self._wait_for_one()

    def _wait_for_one(self) -> None:
        self.written_bytes += self._uploads.popleft().result()
