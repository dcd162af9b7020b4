"""What `vault init` asks of a store, and how it says that the store cannot do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.stores.memory import MemoryStore
from quiesce.vault.stores.probing import Probed, probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Overwriting(MemoryStore):
    def create(self, name: str, data: bytes | bytearray) -> bool:
        super().delete([name])
        return super().create(name, data)


class LyingAboutOverwriting(Overwriting):
    def create(self, name: str, data: bytes | bytearray) -> bool:
        was_there = name in set(self.list(""))
        super().create(name, data)
        return not was_there


class Unraced(MemoryStore):
    """Tells everybody who races that they have won."""

    def create(self, name: str, data: bytes | bytearray) -> bool:
        return super().create(name, data) or name.endswith("raced")


class ListingLate(MemoryStore):
    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(super().list(prefix))[:-1]


class IgnoringRanges(MemoryStore):
    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        return super().get(name)


class Keeping(MemoryStore):
    def delete(self, names: Sequence[str]) -> None:
        raise QuiesceError("VaultUnavailable", "the store refuses it: AccessDenied")


def test_a_store_that_does_everything_is_left_as_it_was() -> None:
    store = MemoryStore()

    assert probe(store, "1") == Probed(may_delete=True)
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Overwriting, "no conditional create"),
        (LyingAboutOverwriting, "no conditional create"),
        (Unraced, "no conditional create"),
        (ListingLate, "no list after write"),
        (IgnoringRanges, "a range"),
    ],
)
def test_a_store_that_does_too_little_is_refused_by_name(kind: type[MemoryStore], why: str) -> None:
    store = kind()
    with pytest.raises(QuiesceError, match=why) as caught:
        probe(store, "1")

    assert caught.value.name == "VaultUnsupported"
    assert "conditional writes" in caught.value.action
    assert list(MemoryStore.list(store, "")) == []


def test_who_may_not_delete_may_make_a_vault() -> None:
    assert probe(Keeping(), "1") == Probed(may_delete=False)
