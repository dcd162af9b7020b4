"""Fill packs and upload them while more are being filled."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from quiesce.vault.format import names, pack
from quiesce.vault.format.map import Place, Ref
from quiesce.vault.upload import upload

if TYPE_CHECKING:
    from types import TracebackType

    from quiesce.ports import BlobStore
    from quiesce.vault.format.header import VaultHeader

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

    At most three packs are in memory at once. Leaving the context waits for the uploads that were
    begun, so that a next session can use them, without their errors; `flush` reports those.
    """

    def __init__(self, store: BlobStore, head: VaultHeader, domain: str, sid: str) -> None:
        self._store = store
        self._head = head
        self._domain = domain
        self._sid = sid
        self._places: list[Place | None] = []
        self._numbers: dict[Place, int] = {}
        self._open: dict[str, tuple[int, pack.PackBuilder]] = {}
        self._uploads: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self.written_bytes = 0

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
        place = self._places[spot.number]
        if place is None:
            return None
        return Ref(spot.chunk_id, place, spot.offset, spot.stored_bytes, spot.flags)

    def is_sealed(self, number: int) -> bool:
        """Return whether pack *number* has its name."""
        return self._places[number] is not None

    def add(
        self, kind: str, chunk_id: bytes, stored: bytes, plain_bytes: int, *, flags: int
    ) -> Spot:
        """Append a chunk to the pack of *kind* being filled; a full one is sealed and uploaded.

        Raises what an earlier upload raised.
        """
        if kind in self._open and not self._open[kind][1].has_room(len(stored)):
            self.seal(kind)
        if kind not in self._open:
            self._open[kind] = (
                len(self._places),
                pack.PackBuilder(self._head.vault_id, kind, self._head.pack_bytes),
            )
            self._places.append(None)
        number, builder = self._open[kind]
        offset = builder.add(chunk_id, stored, plain_bytes, flags)
        if builder.full:
            self.seal(kind)
        return Spot(chunk_id, number, offset, len(stored), flags)

    def seal(self, kind: str) -> None:
        """Name the pack of *kind* being filled and begin its upload; nothing where there is none.

        A pack of maps and manifests is stored twice, since losing it loses what it describes.
        """
        if kind not in self._open:
            return
        number, builder = self._open.pop(kind)
        sealed = builder.seal()
        name = pack.pack_of(self._sid, kind, sealed)
        twin: bytes | None = None
        if kind == names.META:
            copy = builder.twin_of(sealed)
            copy_name = pack.pack_of(self._sid, kind, copy)
            twin = copy_name.digest
            self._upload(copy_name, copy)
        place = Place(name, twin)
        self._places[number] = place
        self._numbers[place] = number
        self._upload(name, sealed)

    def flush(self) -> None:
        """Seal everything and return when it is durable. Raises what an upload raised."""
        for kind in tuple(self._open):
            self.seal(kind)
        while self._uploads:
            self._uploads.popleft().result()

    def _upload(self, name: names.PackName, data: bytearray) -> None:
        while len(self._uploads) >= _UPLOADS:
            self._uploads.popleft().result()
        blob = names.pack_name(self._domain, name)
        self._uploads.append(self._pool.submit(upload, self._store, blob, data))
        self.written_bytes += len(data)
