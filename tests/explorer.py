"""Run the real writer, collector, repacker and reader under every schedule that a strategy wants.

Each actor is the real code on a store of its own, which stops before each operation. A strategy
says who goes on, and what becomes of the operation: done, refused, done without a reply, done much
later, or the end of the process. After each schedule every point must read back as it was written.
"""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from greenlet import getcurrent, greenlet

from quiesce.errors import QuiesceError
from quiesce.jobs import prune as prune_job
from quiesce.policy.retention import KeepRules
from quiesce.system import ulid
from quiesce.testing.fakes import SilentProgress
from quiesce.vault import collecting, copying, packer, repacking
from quiesce.vault.collecting import Terms
from quiesce.vault.format import entry as entries
from quiesce.vault.format import names
from quiesce.vault.format.pack import RAW
from quiesce.vault.log import PointState, SessionState
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.reading import PointReader
from quiesce.vault.session import WritingSession
from quiesce.vault.stores.memory import MemoryStore
from vault_box import (
    EVIDENCE,
    Died,
    back_up,
    copied,
    open_vault,
    pattern,
    read_back,
    small_vault,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest

    from quiesce.ports import StoredBlob
    from quiesce.vault.domain import Domain
    from quiesce.vault.log import LogState

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
CREATED = "2026-01-05T12:00:00.000Z"
TERMS = Terms(KeepRules(last=2), timedelta(days=7), START + timedelta(days=50))
GREEDY = Terms(KeepRules(last=1), timedelta(0), START + timedelta(days=50))
SHARED = pattern(1, 3000)

FATES = {
    "create": ("refused", "lost", "late", "crash before", "crash after"),
    "delete": ("refused", "lost", "late", "crash after"),
    "read": ("refused", "crash before"),
}


class ViolationError(AssertionError):
    """What must hold in every schedule does not."""


class Inline:
    """An executor that does everything at once, in the caller's thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, act: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(act(*args))
        except Exception as exc:  # noqa: BLE001 - as an executor does
            future.set_exception(exc)
        return future

    def shutdown(self, **_: Any) -> None:
        pass


def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the vault's executors do everything in the caller's thread, in order.

    An entry that several actors read is parsed once: half of the time goes there otherwise.
    """
    for module in (packer, copying):
        monkeypatch.setattr(module, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(entries, "parse", lru_cache(4096)(entries.parse))


@dataclass
class Operation:
    """What an actor is about to do."""

    kind: str
    name: str
    act: Callable[[], Any]


class ActorStore:
    """The store as one actor has it."""

    def __init__(self, store: MemoryStore, *, fine: bool) -> None:
        self._store = store
        self._fine = fine
        self.dead = False

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        # What is there never changes, unless it is deleted: no other order says anything else.
        if not (self._fine and "/packs/" in name) and name in self._store._blobs:
            self._alive()
            return self._store.get(name, start_bytes, length_bytes)
        return self._do("read", name, lambda: self._store.get(name, start_bytes, length_bytes))

    def size(self, name: str) -> int:
        self._alive()
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[str]:
        return self._do("read", prefix, lambda: iter(tuple(self._store.list(prefix))))

    def folders(self, prefix: str) -> Iterator[str]:
        self._alive()
        return self._store.folders(prefix)

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        return self._do("read", prefix, lambda: iter(tuple(self._store.blobs(prefix))))

    def create(self, name: str, data: bytes | bytearray) -> bool:
        kept = bytes(data)
        return self._do("create", name, lambda: self._store.create(name, kept))

    def delete(self, names: Sequence[str]) -> None:
        kept = tuple(names)
        return self._do("delete", f"{len(kept)} packs", lambda: self._store.delete(kept))

    def _alive(self) -> None:
        if self.dead:
            raise Died

    def _do(self, kind: str, name: str, act: Callable[[], Any]) -> Any:
        self._alive()
        fate = getcurrent().parent.switch(Operation(kind, name, act))
        if fate.startswith("crash"):
            self.dead = True
        if fate in {"do", "lost", "crash after"}:
            result = act()
        if fate == "do":
            return result
        if self.dead:
            raise Died
        raise QuiesceError("VaultUnavailable", f"{kind} {name}: {fate}")


@dataclass
class Actor:
    """One process; *pending* is what it is about to do, None when it has ended."""

    name: str
    run: greenlet
    pending: Operation | None = None
    error: BaseException | None = None


class Option(NamedTuple):
    """What can happen next: *who* does its operation with a *fate*; None: a late one lands."""

    who: int | None
    fate: str


@dataclass
class World:
    """A vault, what is in its points, and who is at work on it."""

    store: MemoryStore
    contents: dict[str, dict[str, bytes]]
    actors: list[Actor] = field(default_factory=list)
    late: list[Callable[[], Any]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    def clone(self) -> World:
        copy = MemoryStore(self.store._clock)
        copy._blobs, copy._stored_at_s = dict(self.store._blobs), dict(self.store._stored_at_s)
        return World(copy, dict(self.contents))

    def add(self, body: Body, *, fine: bool = False) -> None:
        store = ActorStore(self.store, fine=fine)
        actor = Actor(body.__name__, greenlet(lambda: self._live(actor, body, store)))
        self.actors.append(actor)

    def _live(self, actor: Actor, body: Body, store: ActorStore) -> None:
        try:
            body(self, store)
        except (QuiesceError, Died, ViolationError) as exc:
            actor.error = exc

    def explore(self, pick: Callable[[World, int | None], Option]) -> None:
        """Let everybody work to the end, in the order that *pick* wants."""
        for actor in self.actors:
            actor.pending = actor.run.switch()
        last: int | None = None
        while any(actor.pending for actor in self.actors):
            option = pick(self, last)
            if option.who is None:
                self.trace.append("late request lands")
                self._land(self.late.pop(0))
                continue
            last = option.who
            actor = self.actors[last]
            operation = actor.pending
            self.trace.append(
                f"{last} {actor.name}: {operation.kind} {operation.name} {option.fate}"
            )
            if option.fate == "late":
                self.late.append(operation.act)
            actor.pending = actor.run.switch(option.fate)
            if isinstance(actor.error, ViolationError):
                raise actor.error
            if operation.kind == "delete":
                self.check_packs()

    def _land(self, act: Callable[[], Any]) -> None:
        act()
        self.check_packs()

    # --- what must hold ------------------------------------------------------------------------

    def state(self) -> LogState:
        return open_vault(self.store)._domain("web1").refresh()

    def check_packs(self) -> None:
        """Every pack that a point lists is in the store."""
        for pack in self.state().live_packs:
            if f"domains/web1/packs/{pack.text}" not in self.store._blobs:
                raise ViolationError(f"{pack.text} is listed and gone\n" + "\n".join(self.trace))

    def check(self) -> None:
        """Everything that must hold when nobody is at work, before and after late requests."""
        self._check_once()
        if self.late:
            while self.late:
                self._land(self.late.pop())
            self._check_once()

    def _check_once(self) -> None:
        self.check_packs()
        vault = open_vault(self.store)
        for point in vault.points():
            try:
                found = read_back(vault, point)
            except QuiesceError as exc:
                raise ViolationError(f"{point.id}: {exc}\n" + "\n".join(self.trace)) from exc
            if found != self.contents[point.id]:
                raise ViolationError(f"{point.id} has other content\n" + "\n".join(self.trace))
        state = vault._domain("web1").refresh()
        for sid, said in self.said.items():
            is_made = state.session(sid) is SessionState.COMMITTED
            if (said == "committed") != is_made and said in {"committed", "SessionLost"}:
                raise ViolationError(f"{sid} said {said}\n" + "\n".join(self.trace))
        if state.alarms:
            raise ViolationError(f"{state.alarms}\n" + "\n".join(self.trace))

    def check_next_runs(self) -> None:
        """A backup and a prune after all that need nobody's help."""
        vault = open_vault(self.store)
        content = {"a": pattern(77, 3000), "b": SHARED}
        point = back_up(vault, content)
        self.contents[point.id] = content
        self._check_once()
        maintenance = Maintenance(self.store, open_vault(self.store))
        prune_job.apply(maintenance, prune_job.plan(maintenance, GREEDY), progress=SilentProgress())
        self._check_once()


Body = "Callable[[World, ActorStore], None]"


def prepared() -> World:
    """Return a vault with a forgotten point, and one that shares a pack with it."""
    world = World(MemoryStore(clock=START.timestamp), {})
    vault = small_vault(world.store, encrypted=False)
    points = []
    for seed in (2, 3):
        content = {"a": pattern(seed, 3000), "b": SHARED}
        points.append(back_up(vault, content))
        world.contents[points[-1].id] = content
    vault.forget(points[0])
    return world


def mostly_dead() -> World:
    """Return `prepared` with the forgotten point purged, so that its pack is worth a repack."""
    world = prepared()
    domain = open_vault(world.store)._domain("web1")
    oldest = next(iter(domain.refresh().points))
    domain.append(lambda state: entries.Purge(oldest) if oldest in state.points else None)
    return world


def interrupted() -> World:
    """Return `prepared` with a session that died after its uploads."""
    world = prepared()
    with open_vault(world.store).session(machine="web1", uuid=None, sid=ulid.new()) as session:
        copied(session, {"a": pattern(60, 3000)})
        session._packs.flush()
    return world


# --- the actors --------------------------------------------------------------------------------


def write(world: World, store: ActorStore) -> None:
    """Back the machine up."""
    sid = ulid.new()
    seed = 10 + len(world.contents)
    content = {"a": pattern(seed, 3000), "b": SHARED}
    world.contents[sid] = content
    try:
        with open_vault(store).session(machine="web1", uuid=None, sid=sid) as session:
            copied(session, content)
            session.commit(EVIDENCE, created_at=CREATED)
        world.said[sid] = "committed"
    except QuiesceError as exc:
        world.said.setdefault(sid, exc.name)
        raise


def write_again(world: World, store: ActorStore) -> None:
    """Store the oldest point again, going on from it, as a writer that knows more chunks would."""
    vault = open_vault(store)
    domain = vault._domain("web1")
    oldest = next(iter(domain.refresh().points), None)
    if oldest is not None:
        _write_from(world, store, domain, base=oldest, content=world.contents[oldest])


def write_early(world: World, store: ActorStore) -> None:
    """Upload before the session is opened."""
    domain = open_vault(store)._domain("web1")
    content = {"a": pattern(40 + len(world.contents), 3000), "b": SHARED}
    _write_from(world, store, domain, base=None, content=content, early=True)


def _write_from(
    world: World,
    store: ActorStore,
    domain: Domain,
    *,
    base: str | None,
    content: dict[str, bytes],
    early: bool = False,
) -> None:
    sid = ulid.new()
    world.contents[sid] = content
    keys = domain.keys_to_write()
    if early:
        with packer.PackWriter(store, domain, keys, sid) as packs:
            plain = content["a"]
            packs.add(names.DATA, keys.chunk_id(plain), plain, len(plain), flags=RAW)
            packs.flush()

    def open_on(state: LogState) -> entries.Open | None:
        is_new = state.session(sid) is SessionState.UNKNOWN
        return entries.Open(sid, "web1", "uuid", base) if is_new else None

    domain.append(open_on)
    kept = domain.state.points.get(base)
    reader = None if kept is None else PointReader(store, domain, kept.snapshot)
    with packer.PackWriter(store, domain, keys, sid) as packs:
        opened = domain.state.opened[sid]
        session = WritingSession(store, domain, opened, packs=packs, base=reader)
        copied(session, content)
        session.commit(EVIDENCE, created_at=CREATED)
    world.said[sid] = "committed"


def prune(world: World, store: ActorStore) -> None:
    """Forget, purge, give up, repack and collect."""
    maintenance = Maintenance(store, open_vault(store))
    prune_job.apply(maintenance, prune_job.plan(maintenance, TERMS), progress=SilentProgress())


def prune_greedily(world: World, store: ActorStore) -> None:
    """Prune with rules that leave one point, and purge at once."""
    maintenance = Maintenance(store, open_vault(store))
    for _ in range(2):
        prune_job.apply(maintenance, prune_job.plan(maintenance, GREEDY), progress=SilentProgress())


def collect(world: World, store: ActorStore) -> None:
    """Only delete what is dead."""
    vault = open_vault(store)
    domain = vault._domain("web1")
    found = collecting.survey(store, "web1")
    dead = [each.blob.name for each in found.packs if domain.refresh().is_dead(each.pack)]
    store.delete(dead)


def collect_stale(world: World, store: ActorStore) -> None:
    """Delete what is dead by a fold that was made before the packs were listed."""
    state = open_vault(store)._domain("web1").refresh()
    found = collecting.survey(store, "web1")
    store.delete([each.blob.name for each in found.packs if state.is_dead(each.pack)])


def repack(world: World, store: ActorStore) -> None:
    """Only repack."""
    vault = open_vault(store)
    found = collecting.survey(store, "web1")
    sizes = {each.pack: each.blob.size_bytes for each in found.packs}
    repacking.repack(store, vault._domain("web1"), sizes)


def purge_oldest(world: World, store: ActorStore) -> None:
    """Forget and purge the oldest point, whoever goes on from it."""
    domain = open_vault(store)._domain("web1")
    sid = next(iter(domain.refresh().points), None)

    def forget_on(state: LogState) -> entries.Forget | None:
        kept = state.points.get(sid)
        return None if kept is None or kept.state is PointState.FORGOTTEN else entries.Forget(sid)

    def purge_on(state: LogState) -> entries.Purge | None:
        kept = state.points.get(sid)
        is_there = kept is not None and kept.state is PointState.FORGOTTEN
        return entries.Purge(sid) if is_there else None

    domain.append(forget_on)
    domain.append(purge_on)


def recall_oldest(world: World, store: ActorStore) -> None:
    """Recall the oldest point, where it is still there."""
    vault = open_vault(store)
    points = vault.points()
    if points:
        vault.recall(points[0])


def read(world: World, store: ActorStore) -> None:
    """Restore the newest point; a point that is purged meanwhile may be lost to it."""
    vault = open_vault(store)
    points = vault.points()
    if not points:
        return
    point = points[-1]
    try:
        found = read_back(vault, point)
    except QuiesceError as exc:
        if exc.name == "VaultDamaged" and point.id in world.state().points:
            raise ViolationError(f"a reader lost {point.id}: {exc}") from exc
        raise
    if found != world.contents[point.id]:
        raise ViolationError(f"a reader was given other content of {point.id}")


# --- strategies --------------------------------------------------------------------------------


def options_of(world: World, last: int | None, *, faults: bool) -> list[Option]:
    """Return what can happen next, the plainest first."""
    ready = [at for at, actor in enumerate(world.actors) if actor.pending is not None]
    if last in ready:
        ready.remove(last)
        ready.insert(0, last)
    options = [Option(at, "do") for at in ready]
    options += [Option(None, "do")] if world.late else []
    if faults:
        options += [
            Option(at, fate) for at in ready[:1] for fate in FATES[world.actors[at].pending.kind]
        ]
    return options


class Exhaustive:
    """Every schedule with at most so many preemptions and faults, depth first."""

    def __init__(self, *, preemptions: int, faults: int) -> None:
        self._limits = {"preemptions": preemptions, "faults": faults}
        self._prefix: list[int] = []
        self._taken: list[tuple[int, int]] = []
        self._left: Counter[str] = Counter()
        self.ended = False

    def begin(self) -> None:
        self._taken = []
        self._left = Counter(self._limits)

    def pick(self, world: World, last: int | None) -> Option:
        options = options_of(world, last, faults=self._left["faults"] > 0)
        is_free = options[0].who != last
        if not is_free and self._left["preemptions"] == 0:
            options = [each for each in options if each.who in {last, None}]
        at = len(self._taken)
        chosen = self._prefix[at] if at < len(self._prefix) else 0
        self._taken.append((chosen, len(options)))
        option = options[chosen]
        if option.fate != "do":
            self._left["faults"] -= 1
        elif option.who not in {last, None} and not is_free:
            self._left["preemptions"] -= 1
        return option

    def end(self) -> None:
        """Go on to the next schedule."""
        while self._taken and self._taken[-1][0] + 1 >= self._taken[-1][1]:
            self._taken.pop()
        self.ended = not self._taken
        if self._taken:
            chosen, _ = self._taken.pop()
            self._prefix = [*(each for each, _ in self._taken), chosen + 1]


class Seeded:
    """One random schedule of a seed, with a few faults."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - schedules, not secrets
        self._stay = self._random.choice([0.2, 0.6, 0.9])
        self._faults = self._random.choice([0, 1, 3])

    def pick(self, world: World, last: int | None) -> Option:
        options = options_of(world, last, faults=self._faults > 0)
        plain = [option for option in options if option.fate == "do"]
        faulty = [option for option in options if option.fate != "do"]
        if faulty and self._random.random() < 0.05:
            self._faults -= 1
            return self._random.choice(faulty)
        if plain[0].who == last and self._random.random() < self._stay:
            return plain[0]
        return self._random.choice(plain)


def explore_all(start: World, bodies: Sequence[Body], strategy: Exhaustive, limit: int) -> int:
    """Run *bodies* from *start* under every schedule of *strategy*; return how many there were."""
    schedules = 0
    while not strategy.ended and schedules < limit:
        world = start.clone()
        for body in bodies:
            world.add(body, fine=body is read)
        strategy.begin()
        world.explore(strategy.pick)
        world.check()
        strategy.end()
        schedules += 1
    return schedules


ACTORS = (
    write,
    write,
    write_again,
    write_early,
    prune,
    prune_greedily,
    collect,
    collect_stale,
    repack,
    repack,
    purge_oldest,
    recall_oldest,
    read,
)


def explore_seed(starts: Sequence[World], seed: int) -> None:
    """Run three to nine random actors under one random schedule, and a next run after it."""
    chooser = random.Random(seed)  # noqa: S311 - schedules, not secrets
    world = chooser.choice(starts).clone()
    for body in chooser.choices(ACTORS, k=chooser.choice([2, 3, 3, 4, 4, 9])):
        world.add(body, fine=body is read)
    try:
        world.explore(Seeded(seed).pick)
        world.check()
        if seed % 4 == 0:
            world.check_next_runs()
    except ViolationError as exc:
        raise ViolationError(f"seed {seed}: {exc}") from exc
