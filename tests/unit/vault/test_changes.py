"""A change list: what is read, what is taken from the point before, what comes out."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.model.changes import ChangeList
from quiesce.model.disk import Disk
from quiesce.model.extent import Extent
from quiesce.policy.changes import reason_against
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, EVIDENCE, SparseReader, open_vault, pattern, read_back, small_vault

WHEN = "2026-11-23T10:00:00.000Z"
LATER_S = datetime(2026, 11, 24, tzinfo=timezone.utc).timestamp()
EARLIER_S = datetime(2026, 11, 22, tzinfo=timezone.utc).timestamp()


class Reader(SparseReader):
    """Counts what is read."""

    def __init__(self, size_bytes, data):
        super().__init__(size_bytes, data)
        self.read_bytes = 0

    def read(self, start_bytes, length_bytes):
        self.read_bytes += length_bytes
        return super().read(start_bytes, length_bytes)


def back_up(vault, reader, changed=None):
    disk = Disk("vda", reader.size_bytes)
    with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied = session.copy_disk(disk, reader, progress=SilentProgress(), changed=changed)
        return copied, session.commit(EVIDENCE, created_at=WHEN)


def whole(reader):
    return reader.read(0, reader.size_bytes)


def listed(*positions, since=None, made_at_s=LATER_S):
    extents = tuple(Extent(at * CHUNK, CHUNK) for at in sorted(positions))
    return ChangeList(extents, since, made_at_s)


def test_only_what_changed_is_read():
    vault = small_vault(MemoryStore())
    data = {at: pattern(at, CHUNK) for at in range(0, 1000, 3)}
    back_up(vault, Reader(1024 * CHUNK, data))
    data = {**data, 3: pattern(5000, CHUNK), 700: pattern(5001, CHUNK)}
    data.pop(9)
    reader = Reader(1024 * CHUNK, data)

    copied, point = back_up(vault, reader, listed(3, 9, 700))

    assert copied.mode == "incremental"
    assert copied.new_bytes == 2 * CHUNK
    # Two chunks, and one of each of the four leaves that is read to be sure.
    assert reader.read_bytes == copied.read_bytes == 6 * CHUNK
    assert read_back(vault, point)["vda"] == whole(reader)


@settings(max_examples=50)
@given(
    before=st.dictionaries(st.integers(0, 599), st.integers(0, 3), max_size=40),
    after=st.dictionaries(st.integers(0, 599), st.integers(0, 3), max_size=40),
    sizes=st.tuples(st.integers(1, 600 * CHUNK), st.integers(1, 600 * CHUNK)),
    grain=st.sampled_from([1, 4096, CHUNK, 3 * CHUNK]),
)
def test_whatever_changes_the_point_is_the_disk(before, after, sizes, grain):
    disks = []
    for written, size in zip((before, {**before, **after}), sizes, strict=True):
        kept = {at: value for at, value in written.items() if at * CHUNK < size}
        chunks = {
            at: pattern(value, min(CHUNK, size - at * CHUNK)) if value else b"\0"
            for at, value in kept.items()
        }
        disks.append(Reader(size, chunks))
    vault = small_vault(MemoryStore())
    back_up(vault, disks[0])
    old, new = (whole(disk) for disk in disks)
    changed = []
    for at in range(0, len(new), CHUNK):
        if new[at : at + CHUNK] != old[at : at + CHUNK]:
            start = at - at % grain
            end = -(-min(at + CHUNK, len(new)) // grain) * grain
            if changed and start < changed[-1].end_bytes:
                start = changed[-1].end_bytes
            changed.append(Extent(start, end - start))

    copied, point = back_up(vault, disks[1], ChangeList(tuple(changed), None, LATER_S))

    assert copied.mode == "incremental"
    assert read_back(vault, point)["vda"] == new


def test_a_list_that_leaves_a_change_out_is_found_by_the_sample():
    vault = small_vault(MemoryStore())
    back_up(vault, Reader(4 * CHUNK, {1: pattern(1, CHUNK)}))

    with pytest.raises(QuiesceError, match="are not in the change list") as caught:
        back_up(vault, Reader(4 * CHUNK, {1: pattern(2, CHUNK)}), listed(2))

    assert caught.value.name == "IncorrectChangeList"
    assert len(vault.points()) == 1


def test_what_the_vault_has_lost_is_read_again():
    store = MemoryStore()
    vault = small_vault(store)
    data = {at: pattern(at, CHUNK) for at in range(40)}
    back_up(vault, Reader(64 * CHUNK, data))
    pack = next(name for name in store.list("") if "/d-" in name)
    store._blobs.pop(pack)  # the store has no way to lose a blob
    reader = Reader(64 * CHUNK, data)

    copied, point = back_up(open_vault(store), reader, listed())

    assert copied.mode == "incremental"
    assert 0 < copied.new_bytes < 40 * CHUNK
    assert "gone or damaged" in copied.why
    assert read_back(open_vault(store), point)["vda"] == whole(reader)


@pytest.mark.parametrize(
    ("since", "made_at_s", "told"),
    [
        ("01JD7Z9K000000000000000001", LATER_S, "counts from"),
        (None, EARLIER_S, "is older than"),
    ],
)
def test_a_list_of_another_point_is_not_used(since, made_at_s, told):
    vault = small_vault(MemoryStore())
    back_up(vault, Reader(4 * CHUNK, {1: pattern(1, CHUNK)}))
    reader = Reader(4 * CHUNK, {1: pattern(2, CHUNK)})

    copied, point = back_up(vault, reader, listed(since=since, made_at_s=made_at_s))

    assert copied.mode == "compare"
    assert told in copied.why
    assert read_back(vault, point)["vda"] == whole(reader)


def test_a_list_that_names_the_newest_point_is_used_whatever_its_age():
    base = "01JD7Z9K000000000000000001"
    changes = ChangeList((), base.lower(), 0.0)
    assert reason_against(changes, base=base, created_at=WHEN) is None
    unnamed = ChangeList((), None, LATER_S)
    assert "not known" in str(reason_against(unnamed, base=base, created_at=""))


def test_without_an_earlier_point_everything_is_read():
    vault = small_vault(MemoryStore())
    reader = Reader(4 * CHUNK, {1: pattern(1, CHUNK)})

    copied, point = back_up(vault, reader, listed())

    assert copied.mode == "full"
    assert read_back(vault, point)["vda"] == whole(reader)
