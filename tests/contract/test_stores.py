import errno
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.ports import BlobStore, PrunableStore
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


@pytest.fixture(params=["memory", "directory", "directory without O_TMPFILE"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BlobStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "directory without O_TMPFILE":
        without_unnamed_files(monkeypatch)
    return DirectoryStore(tmp_path / "new" / "store")


def test_a_created_blob_is_read_back(store: BlobStore) -> None:
    assert store.create("a/b", b"0123456789") is True
    assert store.get("a/b") == b"0123456789"
    assert store.size("a/b") == 10


def test_a_blob_is_never_overwritten(store: BlobStore) -> None:
    store.create("a", b"first")

    assert store.create("a", b"second") is False
    assert store.create("a", b"first") is False
    assert store.get("a") == b"first"


def test_a_bytearray_is_kept_as_it_was(store: BlobStore) -> None:
    data = bytearray(b"kept")
    store.create("a", data)
    data[:] = b"gone"

    assert store.get("a") == b"kept"


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
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
    store: BlobStore, start: int, length: int | None, expected: bytes
) -> None:
    store.create("a", b"0123456789")

    assert store.get("a", start, length) == expected


@pytest.mark.parametrize("name", ["missing", "a/missing", "a", "blob/below"])
def test_a_missing_blob_is_a_key_error(store: BlobStore, name: str) -> None:
    store.create("a/there", b"")
    store.create("blob", b"")

    with pytest.raises(KeyError):
        store.get(name)
    with pytest.raises(KeyError):
        store.size(name)


def test_names_are_listed_in_order(store: BlobStore) -> None:
    names = ["a/10", "a/2", "a-b/1", "a/b/c", "a.b/1", "b"]
    for name in names:
        store.create(name, b"")

    assert list(store.list("")) == sorted(names)
    assert list(store.list("a/")) == ["a/10", "a/2", "a/b/c"]
    assert list(store.list("a")) == sorted(names)[:-1]
    assert list(store.list("a/1")) == ["a/10"]
    assert list(store.list("nothing/")) == []


def test_a_created_blob_is_listed_at_once(store: BlobStore) -> None:
    for number in range(50):
        store.create(f"log/{number:012d}", b"")

        assert len(list(store.list("log/"))) == number + 1


def test_folders_are_named_once(store: BlobStore) -> None:
    for name in ["d/b/log/1", "d/b/log/2", "d/a/log/1", "d/plain", "e/x/y"]:
        store.create(name, b"")

    assert list(store.folders("d/")) == ["a", "b"]
    assert list(store.folders("nothing/")) == []


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "a\n", "x" * 200],
)
def test_names_that_are_no_names_are_refused(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob's name"):
        store.create(name, b"")
    with pytest.raises(ValueError, match="not a blob's name"):
        store.get(name)


def test_of_many_creators_one_wins(store: BlobStore) -> None:
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


def test_deleted_blobs_are_gone_and_can_be_created_again(store: PrunableStore) -> None:
    for name in ["p/s/1", "p/s/2", "p/t/1"]:
        store.create(name, b"old")
    store.delete(["p/s/1", "p/s/2", "p/s/never"])

    assert list(store.list("")) == ["p/t/1"]
    with pytest.raises(KeyError):
        store.get("p/s/1")
    store.delete(["p/s/1", "q/1"])
    assert store.create("p/s/1", b"new") is True
    assert store.get("p/s/1") == b"new"


def test_only_names_can_be_deleted(store: PrunableStore) -> None:
    store.create("a", b"")

    with pytest.raises(ValueError, match="not a blob's name"):
        store.delete(["a", "../a"])
    assert list(store.list("")) == ["a"]


def test_blobs_are_listed_with_size_and_time(store: PrunableStore) -> None:
    before = time.time()
    store.create("a/1", b"12345")
    store.create("a/2", b"")
    store.create("b", b"")
    found = list(store.blobs("a/"))

    assert [(blob.name, blob.size_bytes) for blob in found] == [("a/1", 5), ("a/2", 0)]
    assert all(before - 2 <= blob.stored_at_s <= time.time() + 2 for blob in found)
    assert list(store.blobs("nothing/")) == []


# --- the directory alone -----------------------------------------------------------------------


def test_what_is_created_is_for_its_owner_alone(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "store").create("a/b", b"secret")

    modes = {path: path.stat().st_mode & 0o077 for path in (tmp_path / "store").rglob("*")}
    assert set(modes.values()) == {0}


def test_nothing_but_blobs_is_left(store: BlobStore, tmp_path: Path) -> None:
    store.create("a/b", b"1")
    store.create("a/b", b"2")

    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"b"}


def test_other_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".partial").write_bytes(b"")
    (tmp_path / "with blank").write_bytes(b"")

    assert list(DirectoryStore(tmp_path).list("")) == []


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "link":
        path.symlink_to("/etc/hostname")
    else:
        os.mkfifo(path)

    with pytest.raises(QuiesceError):
        DirectoryStore(tmp_path).get("a")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_full_file_system_leaves_nothing_visible(
    tiny: Path, unnamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unnamed:
        without_unnamed_files(monkeypatch)
    store = DirectoryStore(tiny)
    store.create("a/small", b"x")

    with pytest.raises(QuiesceError) as caught:
        store.create("a/large", bytes(1 << 20))

    assert caught.value.name == "VaultFull"
    assert [path.name for path in tiny.rglob("*")] == ["a", "small"]
    assert store.create("a/other", b"fits") is True


def test_a_file_system_without_links_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)

    with pytest.raises(QuiesceError) as caught:
        DirectoryStore(tmp_path).create("a", b"")
    assert caught.value.name == "VaultUnsupported"


def test_a_link_whose_reply_is_lost_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_unnamed_files(monkeypatch)
    real = os.link

    def link_and_complain(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, "retransmitted")

    monkeypatch.setattr(os, "link", link_and_complain)

    assert DirectoryStore(tmp_path).create("a", b"mine") is True


def test_a_directory_that_was_emptied_goes_and_comes_again_for_another_writer(
    tmp_path: Path,
) -> None:
    writer, keeper = DirectoryStore(tmp_path), DirectoryStore(tmp_path)
    writer.create("p/s/1", b"1")
    keeper.delete(["p/s/1"])

    assert not (tmp_path / "p" / "s").exists()
    assert writer.create("p/s/2", b"2") is True
    assert keeper.get("p/s/2") == b"2"


def test_a_deletion_is_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    for name in ("a/1", "a/2", "a/3"):
        store.create(name, b"")
    events: list[str] = []
    for name in ("unlink", "fsync"):
        real = getattr(os, name)

        def spy(*args: object, _name: str = name, _real: object = real, **kwargs: object) -> object:
            events.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, spy)
    store.delete(["a/1", "a/2"])

    assert events == ["unlink", "unlink", "fsync"]


def test_data_and_names_are_forced_before_create_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path / "store")
    events: list[str] = []
    for name in ("write", "fdatasync", "link", "fsync", "mkdir"):
        real = getattr(os, name)

        def spy(*args: object, _name: str = name, _real: object = real, **kwargs: object) -> object:
            events.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, spy)

    store.create("a/b", b"1")
    first, events[:] = events.copy(), []
    store.create("a/c", b"2")

    assert first[-4:] == ["write", "fdatasync", "link", "fsync"]
    assert first[:-4].count("mkdir") == first[:-4].count("fsync")
    assert events == ["write", "fdatasync", "link", "fsync"]
