import errno
import os
import subprocess
from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.ports import BlobStore
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.memory import MemoryStore
from store_suite import StoreSuite


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


class TestStores(StoreSuite):
    """In memory, and in a directory with and without unnamed files."""


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
