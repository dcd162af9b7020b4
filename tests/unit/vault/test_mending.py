"""A prune replaces damaged packs of which nothing is lost, so that old points are whole again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.jobs import prune
from quiesce.policy.retention import KeepRules
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Collected, Terms
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.scrubbing import Budget, Clock, Scrub, Scrubbed
from quiesce.vault.stores.memory import MemoryStore
from vault_box import CHUNK, back_up, open_vault, pattern, read_back, small_vault

if TYPE_CHECKING:
    from quiesce.model.point import PointSummary

FIRST = {"vda": pattern(1, 5 * CHUNK) + bytes(256 * CHUNK) + b"compresses" * 40_000}
SECOND = {"vda": FIRST["vda"][: 4 * CHUNK] + pattern(2, CHUNK) + FIRST["vda"][5 * CHUNK :]}


class Box:
    """A vault with two points."""

    def __init__(self, *, encrypted: bool) -> None:
        self.store = MemoryStore()
        vault = small_vault(self.store, encrypted=encrypted)
        self.points = {back_up(vault, content): content for content in (FIRST, SECOND)}

    def packs(self, kind: str) -> list[str]:
        return [name for name in self.store.list("domains/web1/packs/") if f"/{kind}-" in name]

    def damage(self, name: str, how: str) -> None:
        data = self.store._blobs.pop(name)
        middle = len(data) // 3
        if how == "cut":
            self.store._blobs[name] = data[:middle]
        if how == "flipped":
            self.store._blobs[name] = data[:middle] + b"\xff\xfe" + data[middle + 2 :]

    def scrub(self) -> Scrubbed:
        clock = Clock(lambda: "2026-11-25T00:00:00Z", lambda: 0.0)
        scrub = Scrub(self.store, open_vault(self.store), clock, opens=True)
        (found,) = scrub.run(Budget(), SilentProgress())
        return found

    def back_up(self, content: dict[str, bytes]) -> None:
        self.points[back_up(open_vault(self.store), content)] = content

    def prune(self) -> Collected:
        maintenance = Maintenance(self.store, open_vault(self.store))
        terms = Terms(KeepRules(), timedelta(days=7), datetime.now(UTC))
        (done,) = prune.apply(
            maintenance, prune.plan(maintenance, terms), progress=SilentProgress()
        )
        return done

    def read(self, point: PointSummary) -> dict[str, bytes]:
        return read_back(open_vault(self.store), point)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def box(request: pytest.FixtureRequest) -> Box:
    return Box(encrypted=request.param)


@pytest.mark.parametrize("how", ["lost", "flipped"])
@pytest.mark.parametrize("number", range(2))
def test_old_points_are_whole_again_once_the_data_was_backed_up_again(
    box: Box, how: str, number: int
) -> None:
    name = box.packs("d")[number]
    box.damage(name, how)
    assert not box.scrub().is_whole
    box.back_up(FIRST)
    box.back_up(SECOND)
    done = box.prune()

    assert done.mended.packs == 1
    assert name not in box.store.list("")
    for point, content in box.points.items():
        assert box.read(point) == content
    assert box.scrub().is_whole
    assert box.prune().mended.packs == 0


def test_a_map_gets_its_second_copy_back_without_a_backup(box: Box) -> None:
    manifest = open_vault(box.store).read(next(iter(box.points))).manifest_ref.place.pack
    for name in (f"domains/web1/packs/{manifest.text}", box.packs("m")[0]):
        if name in box.store.list(""):
            box.damage(name, "lost")
            box.scrub()
            assert box.prune().mended.packs == 2
            assert box.scrub().is_whole
    for point, content in box.points.items():
        assert box.read(point) == content


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_pack_of_which_a_chunk_is_nowhere_is_left(box: Box, how: str) -> None:
    name = box.packs("d")[0]
    before = box.store._blobs[name]
    box.damage(name, how)
    box.scrub()
    box.back_up({"vda": pattern(7, CHUNK)})

    assert box.prune().mended.packs == 0
    assert not box.scrub().is_whole
    box.store._blobs[name] = before
    assert box.scrub().is_whole
    for point, content in box.points.items():
        assert box.read(point) == content


def test_where_a_map_is_lost_nothing_is_mended_and_it_is_said(box: Box) -> None:
    box.damage(box.packs("d")[0], "flipped")
    for name in box.packs("m"):
        box.damage(name, "lost")
    box.scrub()
    done = box.prune()

    assert done.mended.packs == 0
    assert "missing" in str(done.left)


def test_without_damage_nobody_reads_maps(box: Box) -> None:
    reads = []

    class Counting(MemoryStore):
        def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
            reads.append(name)
            return super().get(name, start_bytes, length_bytes)

    counting = Counting()
    counting._blobs, counting._stored_at_s = box.store._blobs, box.store._stored_at_s
    box.store = counting
    box.prune()

    assert not [name for name in reads if "/packs/" in name]
