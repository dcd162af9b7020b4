"""What every store does: the same tests for all of them, against the real thing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quiesce.ports import BlobStore, PrunableStore


class StoreSuite:
    """Inherited by a test class whose module has a fixture `store`: a new, empty store."""

    def test_a_created_blob_is_read_back(self, store: BlobStore) -> None:
        assert store.create("a/b", b"0123456789") is True
        assert store.get("a/b") == b"0123456789"
        assert store.size("a/b") == 10

    def test_a_blob_is_never_overwritten(self, store: BlobStore) -> None:
        store.create("a", b"first")

        assert store.create("a", b"second") is False
        assert store.create("a", b"first") is False
        assert store.get("a") == b"first"

    def test_a_bytearray_is_kept_as_it_was(self, store: BlobStore) -> None:
        data = bytearray(b"kept")
        store.create("a", data)
        data[:] = b"gone"

        assert store.get("a") == b"kept"

    def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        assert store.create("a", b"") is True
        assert store.create("a", b"") is False
        assert store.get("a") == b""

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 3, b"012"),
            (7, 3, b"789"),
            (7, 30, b"789"),
            (10, 5, b""),
            (99, 1, b""),
            (4, None, b"456789"),
        ],
    )
    def test_a_range_ends_where_the_blob_ends(
        self, store: BlobStore, start: int, length: int | None, expected: bytes
    ) -> None:
        store.create("a", b"0123456789")

        assert store.get("a", start, length) == expected

    @pytest.mark.parametrize("name", ["missing", "a/missing", "a", "blob/below"])
    def test_a_missing_blob_is_a_key_error(self, store: BlobStore, name: str) -> None:
        store.create("a/there", b"")
        store.create("blob", b"")

        with pytest.raises(KeyError):
            store.get(name)
        with pytest.raises(KeyError):
            store.size(name)

    def test_names_are_listed_in_order(self, store: BlobStore) -> None:
        names = ["a/10", "a/2", "a-b/1", "a/b/c", "a.b/1", "b"]
        for name in names:
            store.create(name, b"")

        assert list(store.list("")) == sorted(names)
        assert list(store.list("a/")) == ["a/10", "a/2", "a/b/c"]
        assert list(store.list("a")) == sorted(names)[:-1]
        assert list(store.list("a/1")) == ["a/10"]
        assert list(store.list("nothing/")) == []

    def test_a_created_blob_is_listed_at_once(self, store: BlobStore) -> None:
        for number in range(50):
            store.create(f"log/{number:012d}", b"")

            assert len(list(store.list("log/"))) == number + 1

    def test_folders_are_named_once(self, store: BlobStore) -> None:
        for name in ["d/b/log/1", "d/b/log/2", "d/a/log/1", "d/plain", "e/x/y"]:
            store.create(name, b"")

        assert list(store.folders("d/")) == ["a", "b"]
        assert list(store.folders("nothing/")) == []

    @pytest.mark.parametrize(
        "name",
        ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "a\n", "x" * 200],
    )
    def test_names_that_are_no_names_are_refused(self, store: BlobStore, name: str) -> None:
        with pytest.raises(ValueError, match="not a blob's name"):
            store.create(name, b"")
        with pytest.raises(ValueError, match="not a blob's name"):
            store.get(name)

    def test_of_many_creators_one_wins(self, store: BlobStore) -> None:
        barrier = threading.Barrier(8)
        won: list[bytes] = []

        def create(content: bytes) -> None:
            barrier.wait()
            if store.create("race/1", content):
                won.append(content)

        threads = [threading.Thread(target=create, args=(bytes([n]) * 4096,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(won) == 1
        assert store.get("race/1") == won[0]

    def test_deleted_blobs_are_gone_and_can_be_created_again(self, store: PrunableStore) -> None:
        for name in ["p/s/1", "p/s/2", "p/t/1"]:
            store.create(name, b"old")
        store.delete(["p/s/1", "p/s/2", "p/s/never"])

        assert list(store.list("")) == ["p/t/1"]
        with pytest.raises(KeyError):
            store.get("p/s/1")
        store.delete(["p/s/1", "q/1"])
        assert store.create("p/s/1", b"new") is True
        assert store.get("p/s/1") == b"new"

    def test_only_names_can_be_deleted(self, store: PrunableStore) -> None:
        store.create("a", b"")

        with pytest.raises(ValueError, match="not a blob's name"):
            store.delete(["a", "../a"])
        assert list(store.list("")) == ["a"]

    def test_blobs_are_listed_with_size_and_time(self, store: PrunableStore) -> None:
        before = time.time()
        store.create("a/1", b"12345")
        store.create("a/2", b"")
        store.create("b", b"")
        found = list(store.blobs("a/"))

        assert [(blob.name, blob.size_bytes) for blob in found] == [("a/1", 5), ("a/2", 0)]
        assert all(before - 2 <= blob.stored_at_s <= time.time() + 2 for blob in found)
        assert list(store.blobs("nothing/")) == []
