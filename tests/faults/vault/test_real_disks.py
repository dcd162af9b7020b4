"""A real file system that fills up, and a real process that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, back_up, open_vault, pattern, read_back, small_vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.faults

SMALL = {"vda": pattern(1, 2 * CHUNK)}
LARGE = {"vda": pattern(2, 40 * CHUNK)}


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_full_vault_fails_cleanly_and_with_room_the_next_run_goes_on(tiny: Path) -> None:
    store = DirectoryStore(tiny / "vault")
    first = back_up(small_vault(store), SMALL)

    with pytest.raises(QuiesceError) as caught:
        back_up(open_vault(store), LARGE)
    assert caught.value.name == "VaultFull"
    assert read_back(open_vault(store), first) == SMALL
    assert len(files(tiny)) == len(list(store.list("")))
    uploaded = len([name for name in store.list("") if "/d-" in name])
    assert uploaded > 3

    subprocess.run(["mount", "-o", "remount,size=24m", tiny], check=True)
    later = back_up(open_vault(store), LARGE)
    assert read_back(open_vault(store), later) == LARGE
    assert later.new_bytes < (40 - 4 * (uploaded - 2)) * CHUNK


_WRITER = """
import sys
from pathlib import Path
from vault_box import CHUNK, SparseReader, pattern, EVIDENCE, WHEN, open_vault
from quiesce.model.disk import Disk
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.directory import DirectoryStore

class Stalling(SparseReader):
    def read(self, start_bytes, length_bytes):
        if start_bytes >= 30 * CHUNK:
            sys.stdin.read()
        return super().read(start_bytes, length_bytes)

whole = pattern(2, 40 * CHUNK)
reader = Stalling(40 * CHUNK, {n: whole[n * CHUNK : (n + 1) * CHUNK] for n in range(40)})
vault = open_vault(DirectoryStore(Path(sys.argv[1])))
with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
    session.copy_disk(Disk("vda", 40 * CHUNK), reader, progress=SilentProgress())
    session.commit(EVIDENCE, created_at=WHEN)
"""


def test_a_writer_killed_while_it_copies_leaves_whole_packs_for_the_next(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "vault")
    first = back_up(small_vault(store), SMALL)
    path = ":".join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, tmp_path / "vault"],
        stdin=subprocess.PIPE,
        env={"PYTHONPATH": path},
    ) as writer:
        deadline = time.monotonic() + 60
        while len([name for name in store.list("") if "/d-" in name]) < 6:
            assert time.monotonic() < deadline
            assert writer.poll() is None
            time.sleep(0.02)
        writer.send_signal(signal.SIGKILL)
    assert len(files(tmp_path)) == len(list(store.list("")))
    assert [point.id for point in open_vault(store).points()] == [first.id]

    later = back_up(open_vault(store), LARGE)
    assert read_back(open_vault(store), later) == LARGE
    assert read_back(open_vault(store), first) == SMALL
    assert later.new_bytes < 24 * CHUNK
