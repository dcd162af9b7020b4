"""Create a blob through a store whose answers may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from quiesce.ports import BlobStore

_ATTEMPTS: Final = 3


def upload(store: BlobStore, name: str, data: bytes | bytearray) -> None:
    """Create *name*, whose content can only be *data*, whatever became of the answers.

    When this returns, *name* is in the store with just these bytes. Raises QuiesceError VaultFull
    or VaultUnavailable where the store fails, VaultDamaged where *name* has other bytes.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            if store.create(name, data):
                return
        except QuiesceError:
            found = _found(store, name)
            if found is None and attempts_left:
                continue
            if found is None:
                raise
        else:
            found = _found(store, name)
        if found != data:
            raise QuiesceError("VaultDamaged", f"{name} exists with other content")
        return


def _found(store: BlobStore, name: str) -> bytes | None:
    try:
        return store.get(name)
    except KeyError:
        return None
