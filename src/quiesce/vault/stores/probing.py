"""Find out, before anything depends on it, whether a store does what a vault needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError

if TYPE_CHECKING:
    from quiesce.ports import PrunableStore

_RACERS: Final = 4
_USE: Final = (
    "use a store with conditional writes, such as S3, Azure Blob, GCS, SeaweedFS, MinIO, or a"
    " directory"
)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a store was found to do besides what a vault needs: whether we *may_delete*."""

    may_delete: bool


def probe(store: PrunableStore, token: str) -> Probed:
    """Create, race, list and delete small blobs under `probe/`, named by *token*, a new id.

    What may not be deleted stays, and harms nobody. Raises QuiesceError VaultUnsupported, saying
    what is missing, where the store overwrites, lets several creators of a name win, does not list
    what was just written, or returns something else; and what the store raises.
    """
    names = [f"probe/{token}-first", f"probe/{token}-raced"]
    may_delete = False
    try:
        _probe_creation(store, names[0])
        _probe_race(store, names[1])
        if not set(store.list("probe/")).issuperset(names):
            raise _refusal("it does not list what was just written (no list after write)")
    finally:
        with suppress(QuiesceError):
            store.delete(names)
            may_delete = True
    return Probed(may_delete)


def _probe_creation(store: PrunableStore, name: str) -> None:
    if not store.create(name, b"first"):
        raise _refusal("it says that a new name exists")
    if store.create(name, b"second") or store.get(name) != b"first":
        raise _refusal("it overwrites what is there (no conditional create)")
    if (store.get(name, 1, 3), store.size(name)) != (b"irs", len(b"first")):
        raise _refusal("it returns something else than a range that was asked for")


def _probe_race(store: PrunableStore, name: str) -> None:
    contents = [b"%d" % number for number in range(_RACERS)]
    with ThreadPoolExecutor(_RACERS, thread_name_prefix="probe") as pool:
        won = list(pool.map(lambda content: store.create(name, content), contents))
    if won.count(True) != 1 or store.get(name) != contents[won.index(True)]:
        raise _refusal("it tells several that they have created a name (no conditional create)")


def _refusal(why: str) -> QuiesceError:
    return QuiesceError("VaultUnsupported", f"the store cannot hold a vault: {why}", action=_USE)
