from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs import prune as prune_job
from quiesce.policy.retention import KeepRules
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.collecting import Terms
from quiesce.vault.format import names
from quiesce.vault.log import SessionState
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    CHUNK,
    EVIDENCE,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from quiesce.model.point import PointSummary
    from quiesce.vault.collecting import Collected

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
RULES = KeepRules(last=2)
WEEK = timedelta(days=7)


class World:
    """A vault with a clock that the test turns."""

    def __init__(self) -> None:
        self.now = START
        self.store = MemoryStore(clock=self.clock)
        self.vault = small_vault(self.store)
        self.disks: dict[str, dict[str, bytes]] = {}

    def clock(self) -> float:
        return self.now.timestamp()

    def back_up(self, seed: int, machine: str = "web1", **more: object) -> PointSummary:
        shared = pattern(999, 2 * CHUNK)
        disks = {"vda": shared + pattern(seed, 3 * CHUNK)}
        created = more.pop("created_at", self.now).isoformat().replace("+00:00", "Z")
        with self.vault.session(machine=machine, uuid=None, sid=ulid.new()) as session:
            copied(session, disks)
            point = session.commit(EVIDENCE, created_at=created)
        self.disks[point.id] = disks
        return point

    def daily(self, many: int) -> list[PointSummary]:
        points = []
        for seed in range(many):
            points.append(self.back_up(seed))
            self.now += timedelta(days=1)
        return points

    def prune(self, rules: KeepRules = RULES, undelete: timedelta = WEEK) -> Collected:
        maintenance = Maintenance(self.store, open_vault(self.store))
        planned = prune_job.plan(maintenance, Terms(rules, undelete, self.now))
        (done,) = prune_job.apply(maintenance, planned, progress=SilentProgress())
        return done

    def packs(self) -> set[str]:
        return set(self.store.list("domains/web1/packs/"))

    def states(self) -> dict[str, str]:
        return {point.id: point.state for point in open_vault(self.store).points()}

    def check(self) -> None:
        """Every point that is left reads back as it was written."""
        vault = open_vault(self.store)
        for point in vault.points():
            assert read_back(vault, point) == self.disks[point.id]
        assert vault.alarms() == ()


@pytest.fixture
def world() -> World:
    return World()


def test_what_no_rule_keeps_is_forgotten_then_purged_and_its_packs_are_deleted(
    world: World,
) -> None:
    points = world.daily(4)
    before = world.packs()
    first = world.prune()

    assert [point.id for point in first.forgotten] == [point.id for point in points[:2][::-1]]
    assert first.deleted == 0
    assert world.packs() == before
    world.check()

    world.now += WEEK
    second = world.prune()

    assert set(second.purged) == {point.id for point in points[:2]}
    assert second.freed_bytes > 0
    assert before - world.packs() != set()
    assert world.states() == {point.id: "live" for point in points[2:]}
    world.check()
    assert world.prune().deleted == 0


def test_a_forgotten_point_is_recalled_until_it_is_purged(world: World) -> None:
    points = world.daily(3)
    world.prune()
    world.vault.recall(points[0])
    world.now += 2 * WEEK

    assert world.prune(KeepRules()).purged == ()
    assert world.states()[points[0].id] == "live"
    world.check()


def test_who_is_recalled_and_forgotten_again_has_the_whole_window_again(world: World) -> None:
    points = world.daily(3)
    world.prune()
    world.now += WEEK - timedelta(hours=1)
    world.vault.recall(points[0])
    world.vault.forget(points[0])
    world.now += timedelta(hours=2)

    assert world.prune().purged == ()


def test_a_held_point_is_neither_forgotten_nor_purged(world: World) -> None:
    points = world.daily(4)
    world.vault.hold(points[0], hold_id="h")
    world.prune()
    assert world.states()[points[0].id] == "live"
    assert world.states()[points[1].id] == "forgotten"

    world.vault.hold(points[1], hold_id="i")
    world.now += 2 * WEEK
    assert world.prune().purged == ()
    with pytest.raises(QuiesceError) as caught:
        world.vault.forget(points[0])
    assert caught.value.name == "PointHeld"

    world.vault.unhold(points[1])
    assert world.prune().purged == (points[1].id,)


def test_a_legal_hold_ends_only_where_that_is_meant(world: World) -> None:
    (point,) = world.daily(1)
    world.vault.hold(point, hold_id="h", legal=True)

    with pytest.raises(QuiesceError) as caught:
        world.vault.unhold(point)
    assert caught.value.name == "PointHeld"
    assert world.vault.unhold(point, legal=True) == ("h",)
    assert world.vault.unhold(point) == ()


def test_a_point_with_a_forged_clock_is_not_forgotten(world: World) -> None:
    world.daily(2)
    doubtful = world.back_up(7, created_at=START - timedelta(days=300))
    world.now += timedelta(days=1)
    world.daily(3)
    done = world.prune()

    assert len(done.forgotten) == 3
    assert "the store says later" in done.plan.retention["web1"].unclear[doubtful.id]
    assert world.states()[doubtful.id] == "live"


def test_in_a_copied_directory_nothing_is_forgotten(world: World) -> None:
    world.daily(5)
    late = (world.now + timedelta(days=100)).timestamp()
    world.store._stored_at_s = dict.fromkeys(world.store._blobs, late)

    assert world.prune().forgotten == ()


def test_machines_in_one_vault_keep_their_own_points(world: World) -> None:
    world.daily(1)
    other = world.back_up(50, machine="db1")
    maintenance = Maintenance(world.store, open_vault(world.store))
    planned = prune_job.plan(maintenance, Terms(KeepRules(last=1), WEEK, world.now))

    assert [each.domain.name for each in planned] == ["db1", "web1"]
    assert all(each.plan.forget == () for each in planned)
    assert world.states()[other.id] == "live"


def test_the_base_of_an_open_session_is_not_purged(world: World) -> None:
    points = world.daily(3)
    session = world.vault.session(machine="web1", uuid=None, sid=ulid.new())
    with session as writing:
        base = points[-1]
        world.vault.forget(base)
        world.now += timedelta(hours=3)
        assert world.prune(undelete=timedelta(hours=1)).purged == ()
        copied(writing, world.disks[base.id])
        point = writing.commit(EVIDENCE, created_at=world.now.isoformat())
    world.disks[point.id] = world.disks[base.id]

    assert world.prune(undelete=timedelta(hours=1)).purged == (base.id,)
    world.check()


def interrupted(world: World, seed: int = 70) -> str:
    sid = ulid.new()
    with world.vault.session(machine="web1", uuid=None, sid=sid) as session:
        copied(session, {"vda": pattern(seed, 9 * CHUNK)})
        session._packs.flush()
    return sid


def test_a_session_is_given_up_when_it_has_had_no_new_pack_for_two_days(world: World) -> None:
    world.daily(1)
    sid = interrupted(world)
    mine = {name for name in world.packs() if sid in name}
    world.now += timedelta(hours=47)
    assert world.prune().aborted == ()
    assert mine <= world.packs()

    world.now += timedelta(hours=2)
    done = world.prune()

    assert done.aborted == (sid,)
    assert done.deleted == len(mine)
    assert mine.isdisjoint(world.packs())
    world.check()


def test_a_session_that_still_uploads_is_not_given_up(world: World) -> None:
    world.daily(1)
    sid = interrupted(world)
    world.now += timedelta(hours=47)
    world.store.create(names.pack_name("web1", names.PackName(sid, "d", bytes(32))), b"")
    world.now += timedelta(hours=47)

    assert world.prune().aborted == ()


def test_a_pack_of_an_unknown_session_is_told_and_left_alone(world: World) -> None:
    world.daily(1)
    stray = names.pack_name("web1", names.PackName(ulid.new(), "d", bytes(32)))
    world.store.create(stray, b"stray")
    world.store.create("domains/web1/packs/other", b"no pack")
    world.now += 10 * WEEK
    done = world.prune()

    assert [each.blob.name for each in done.unknown] == [stray]
    assert {stray, "domains/web1/packs/other"} <= world.packs()


def test_a_session_opened_after_the_fold_keeps_its_packs(world: World) -> None:
    world.daily(1)
    maintenance = Maintenance(world.store, open_vault(world.store))
    planned = prune_job.plan(maintenance, Terms(RULES, WEEK, world.now))
    sid = interrupted(world)
    mine = {name for name in world.packs() if sid in name}
    prune_job.apply(maintenance, planned, progress=SilentProgress())

    assert mine <= world.packs()


def test_what_changed_since_the_plan_is_not_done(world: World) -> None:
    points = world.daily(4)
    maintenance = Maintenance(world.store, open_vault(world.store))
    terms = Terms(RULES, WEEK, world.now)
    planned = prune_job.plan(maintenance, terms)
    world.vault.hold(points[0], hold_id="h")
    (done,) = prune_job.apply(maintenance, planned, progress=SilentProgress())
    assert [point.id for point in done.forgotten] == [points[1].id]

    world.now += WEEK
    planned = prune_job.plan(maintenance, Terms(RULES, WEEK, world.now))
    world.vault.recall(points[1])
    (done,) = prune_job.apply(maintenance, planned, progress=SilentProgress())
    assert done.purged == ()


def test_a_prune_that_would_forget_too_much_is_refused_before_anything_is_done(
    world: World,
) -> None:
    world.daily(8)
    maintenance = Maintenance(world.store, open_vault(world.store))
    planned = prune_job.plan(maintenance, Terms(KeepRules(last=1), WEEK, world.now))

    with pytest.raises(QuiesceError) as caught:
        prune_job.check(planned, limit_percent=50)
    assert caught.value.name == "PruneRefused"
    assert "7 of 8 points of web1" in caught.value.message
    prune_job.check(planned, limit_percent=90)


def test_care_of_a_vault_from_the_future_is_refused_by_name(world: World) -> None:
    raw = world.store.get("vault.json").replace(
        b'"maintain":["encrypted"]', b'"maintain":["encrypted","later"]'
    )
    world.store._blobs["vault.json"] = raw

    with pytest.raises(QuiesceError, match="later"):
        Maintenance(world.store, open_vault(world.store))
    back_up(open_vault(world.store), {"vda": b"x"})


def test_a_point_of_an_aborted_session_is_never_made(world: World) -> None:
    world.daily(1)
    session = world.vault.session(machine="web1", uuid=None, sid=ulid.new())
    with pytest.raises(QuiesceError) as caught, session as writing:
        copied(writing, {"vda": pattern(80, 9 * CHUNK)})
        writing._packs.flush()
        world.now += timedelta(days=3)
        assert world.prune().aborted == (writing.sid,)
        writing.commit(EVIDENCE, created_at=world.now.isoformat())

    assert caught.value.name == "SessionLost"
    assert world.vault._domain("web1").refresh().session(writing.sid) is SessionState.ABORTED
    world.check()
