"""A store in a bucket of an object store: S3, Azure Blob or GCS, all through obstore."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from quiesce.errors import QuiesceError
from quiesce.ports import StoredBlob
from quiesce.vault.stores.blobs import check_name, is_name
from quiesce.vault.stores.passing import PassingFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import GetOptions
    from obstore.store import ObjectStore

_NO_BUCKET: Final = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_FULL: Final = {"QuotaExceeded", "XMinioStorageFull", "AccountStorageCapacityExceeded"}
_UNDECIDED: Final = {"ConditionalRequestConflict", "OperationAborted", "ContainerBeingDeleted"}
_REFUSED: Final = {"401", "403", "AccessDenied"}
_PASSING: Final = {"408", "425", "429", "500", "502", "503", "504"}
_STATUS: Final = re.compile(r"(?:status code: |\(code: )([0-9]{3})")
_CODE: Final = re.compile(r"(?:<Code>\s*|\(code: )([A-Za-z][A-Za-z0-9]{0,63})")
_PAST_END: Final = re.compile(r"status code: 416|Wanted range starting at")
_URL: Final = re.compile(r"https?://\S+")


class BucketStore:
    """Keeps each blob as an object of *remote*; several threads may use it at once.

    *remote* must not retry on its own, for then it takes its own object for another's. *place* is
    how it is called in messages. What may pass is raised as `PassingFailure`.
    """

    def __init__(self, remote: ObjectStore, place: str) -> None:
        self._remote = remote
        self._place = place

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """Return the bytes of *name* in the range (`ports.BlobReader`)."""
        check_name(name)
        if length_bytes == 0:
            self.size(name)
            return b""
        with self._translated(f"read {name}"):
            try:
                options = _options(start_bytes, length_bytes)
                return bytes(obstore.get(self._remote, name, options=options).bytes())
            except FileNotFoundError as exc:
                self._refuse_missing_bucket(exc)
                raise KeyError(name) from None
            except BaseError as exc:
                if _PAST_END.search(str(exc)) is None or start_bytes < self.size(name):
                    raise
                return b""

    def size(self, name: str) -> int:
        """Return the size of *name* (`ports.BlobReader`)."""
        check_name(name)
        with self._translated(f"read {name}"):
            try:
                return obstore.head(self._remote, name)["size"]
            except FileNotFoundError:
                raise KeyError(name) from None

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with *prefix* (`ports.BlobReader`); all are in memory then."""
        for blob in self.blobs(prefix):
            yield blob.name

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the folders under *prefix* (`ports.BlobReader`)."""
        parent, slash, start = prefix.rpartition("/")
        with self._translated(f"list {prefix}"):
            found = obstore.list_with_delimiter(self._remote, parent or None)["common_prefixes"]
        folders = sorted(folder[len(parent + slash) :] for folder in found)
        for folder in folders:
            if is_name(folder) and folder.startswith(start):
                yield folder[len(start) :]

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Create *name* unless it exists (`ports.BlobStore`), in one request."""
        check_name(name)
        with self._translated(f"create {name}"):
            try:
                obstore.put(self._remote, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError as exc:
                # Somebody is creating it at this moment: what comes of it is not known yet.
                if _code(exc) in _UNDECIDED:
                    raise
                return False
            return True

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """Yield the blobs whose names begin with *prefix* (`ports.PrunableStore`)."""
        # Object stores know whole folders only, and not all of them list in the order of names.
        parent, _, _ = prefix.rpartition("/")
        with self._translated(f"list {prefix}"):
            found = [
                StoredBlob(meta["path"], meta["size"], meta["last_modified"].timestamp())
                for page in obstore.list(self._remote, parent or None, chunk_size=1000)
                for meta in page
                if meta["path"].startswith(prefix) and is_name(meta["path"])
            ]
        yield from sorted(found, key=lambda blob: blob.name)

    def delete(self, names: Sequence[str]) -> None:
        """Delete *names* (`ports.PrunableStore`)."""
        for name in names:
            check_name(name)
        with self._translated(f"delete {len(names)} blobs"):
            try:
                obstore.delete(self._remote, names)
            except FileNotFoundError as exc:
                self._refuse_missing_bucket(exc)
                # What stood behind the missing one may be there still.
                for name in names:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._remote, name)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as exc:
            raise self._error(f"cannot {what} in {self._place}", exc) from None

    def _refuse_missing_bucket(self, exc: Exception) -> None:
        if _code(exc) in _NO_BUCKET:
            raise exc

    def _error(self, what: str, exc: Exception) -> QuiesceError:
        code, status = _code(exc), _status(exc)
        if code in _NO_BUCKET or isinstance(exc, FileNotFoundError):
            return QuiesceError(
                "VaultUnavailable",
                f"{what}: there is no such bucket or container",
                action="make the bucket, or mend the vault's URL",
            )
        why = code or status or _reason(exc)
        if code in _FULL or status == "507":
            return QuiesceError("VaultFull", f"{what}: {why}")
        if _is_refused(exc, code, status):
            return QuiesceError(
                "VaultUnavailable",
                f"{what}: the store refuses it: {why}",
                action="see whose credentials are in the environment, and what they may do",
            )
        if status is None or status in _PASSING or code in _UNDECIDED:
            return PassingFailure(f"{what}: {why}")
        return QuiesceError("VaultUnavailable", f"{what}: {why}")


def _is_refused(exc: Exception, code: str | None, status: str | None) -> bool:
    is_so = isinstance(exc, (PermissionDeniedError, UnauthenticatedError))
    return is_so or code in _REFUSED or status in _REFUSED


def _options(start_bytes: int, length_bytes: int | None) -> GetOptions:
    if length_bytes is not None:
        return {"range": (start_bytes, start_bytes + length_bytes)}
    return {"range": {"offset": start_bytes}} if start_bytes else {}


def _code(exc: Exception) -> str | None:
    found = _CODE.search(str(exc))
    return None if found is None else found[1]


def _status(exc: Exception) -> str | None:
    found = _STATUS.search(str(exc))
    return None if found is None else found[1]


def _reason(exc: Exception) -> str:
    # A URL can carry a signature, which is nobody's business.
    line = str(exc).partition("\n")[0]
    return _URL.sub("…", line.rpartition(" - ")[2])[:200]
