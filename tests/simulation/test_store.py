"""Each fault does what its name says, is counted, and is survived by nobody's luck: the store that has them is itself tested."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from seedcorn.errors import ObjectExistsError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.testing.simulation.connection import Connection, CrashMode, CrashPoint
from seedcorn.testing.simulation.faults import FaultKind, FaultPlan, Faults
from seedcorn.testing.simulation.scheduler import Actor, Crash, Scheduler
from seedcorn.testing.simulation.store import SimulatedStore


def store_with(*kinds: FaultKind) -> SimulatedStore:
    """A store in which ``kinds`` befall every call that they can, the first of them first."""
    scheduler = Scheduler(random.Random(1), random.Random(2))
    return SimulatedStore(scheduler, FaultPlan(Faults(dict.fromkeys(kinds, 1.0)), random.Random(3)))


def act(store: SimulatedStore, body: Callable[[Connection], None], *, crash: CrashPoint | None = None) -> None:
    """Let one actor do something with a connection of its own."""
    store.scheduler.add("somebody", lambda actor: body(Connection(store, actor, crash=crash)))
    store.scheduler.run()


def filled(store: SimulatedStore, count: int = 12) -> SimulatedStore:
    for number in range(count):
        store.contents.put(f"packs/{number:02}", b"content %d" % number)
    return store


def test_without_faults_it_keeps_the_promises_of_a_store() -> None:
    def body(connection: Connection) -> None:
        connection.put("a/1", b"one")
        connection.put("a/1", b"one")
        with pytest.raises(ObjectExistsError):
            connection.put("a/1", b"other")
        assert connection.get("a/1") == b"one"
        assert connection.get_range("a/1", 1, 2) == b"ne"
        assert connection.head("a/1").size_bytes == 3
        for number in range(2, 20):
            connection.put(f"a/{number:02}", b"more")
        assert len(list(connection.list("a/"))) == 19
        connection.delete(["a/1", "a/none"])
        with pytest.raises(ObjectNotFoundError):
            connection.get("a/1")

    store = store_with()
    act(store, body)
    assert not store.plan.counts
    assert [str(operation) for operation in store.log[:3]] == [
        "somebody put a/1 ok",
        "somebody put a/1 ok",
        "somebody put a/1 ObjectExistsError",
    ]


@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE_APPLY, FaultKind.STORM])
def test_an_error_before(kind: FaultKind) -> None:
    def body(connection: Connection) -> None:
        with pytest.raises(StoreUnavailableError):
            connection.put("a", b"x")

    store = store_with(kind)
    act(store, body)
    assert store.contents.objects == {}
    assert store.plan.counts[kind] == 1


def test_a_lost_answer() -> None:
    def body(connection: Connection) -> None:
        with pytest.raises(StoreUnavailableError):
            connection.put("a", b"x")
        assert connection.acknowledged == set()

    store = store_with(FaultKind.LOST_ANSWER)
    act(store, body)
    assert store.contents.objects == {"a": b"x"}


def test_a_late_put_arrives_after_some_operations() -> None:
    def body(connection: Connection) -> None:
        with pytest.raises(StoreUnavailableError):
            connection.put("a", b"x")
        assert store.contents.objects == {}
        store.plan.stop()
        while not store.contents.objects:
            with pytest.raises(ObjectNotFoundError):
                connection.head("b")

    store = store_with(FaultKind.LATE_PUT)
    act(store, body)
    assert 1 < len(store.log) < 150


def test_a_late_put_overwrites_nothing() -> None:
    def body(connection: Connection) -> None:
        with pytest.raises(StoreUnavailableError):
            connection.put("a", b"late")
        store.contents.put("a", b"in time")

    store = store_with(FaultKind.LATE_PUT)
    act(store, body)
    store.settle()
    assert store.contents.objects == {"a": b"in time"}


@pytest.mark.parametrize("kind", [FaultKind.TRUNCATED_BODY, FaultKind.FLIPPED_BODY])
def test_a_bad_body(kind: FaultKind) -> None:
    def body(connection: Connection) -> None:
        got = connection.get("packs/00")
        assert got != b"content 0" and (len(got) == 9) == (kind is FaultKind.FLIPPED_BODY)
        if kind is FaultKind.TRUNCATED_BODY:
            with pytest.raises(StoreError):
                connection.get_range("packs/00", 0, 9)

    store = filled(store_with(kind))
    act(store, body)
    assert store.contents.objects["packs/00"] == b"content 0"


def test_a_listing_that_breaks_off() -> None:
    def body(connection: Connection) -> None:
        listing = connection.list("packs/")
        assert [next(listing).key, next(listing).key] == ["packs/00", "packs/01"]
        with pytest.raises(StoreUnavailableError):
            next(listing)

    act(filled(store_with(FaultKind.LIST_CUT)), body)


def test_a_listing_that_is_empty() -> None:
    store = filled(store_with(FaultKind.LIST_EMPTY))
    act(store, lambda connection: _assert(not list(connection.list("packs/"))))
    assert store.plan.counts[FaultKind.LIST_EMPTY] == 1


def test_a_put_without_its_condition() -> None:
    def body(connection: Connection) -> None:
        connection.put("new", b"x")
        assert not store.plan.counts
        connection.put("packs/00", b"other")

    store = filled(store_with(FaultKind.IGNORED_CONDITION))
    act(store, body)
    assert store.contents.objects["packs/00"] == b"other"
    assert store.plan.counts[FaultKind.IGNORED_CONDITION] == 1


def test_an_unfinished_delete() -> None:
    def body(connection: Connection) -> None:
        try:
            connection.delete(sorted(store.contents.objects))
        except StoreUnavailableError:
            return

    store = filled(store_with(FaultKind.UNFINISHED_DELETE))
    removals: list[int] = []
    store.after_removal = lambda: removals.append(len(store.contents.objects))
    act(store, body)
    assert 0 < removals[0] < 12


def test_a_skewed_time() -> None:
    store = store_with(FaultKind.SKEWED_TIME)
    act(store, lambda connection: connection.put("a", b"x"))
    assert abs(store.contents.head("a").modified_ns - store.scheduler.now_ns) > 60 * 10**9


@pytest.mark.parametrize("kind", [FaultKind.STALE_GET, FaultKind.STALE_LIST])
def test_a_store_that_lags_behind(kind: FaultKind) -> None:
    def body(connection: Connection) -> None:
        connection.put("a/b", b"x")
        if kind is FaultKind.STALE_LIST:
            assert connection.get("a/b") == b"x"
            assert list(connection.list("a/")) == []
        else:
            assert len(list(connection.list("a/"))) == 1
            with pytest.raises(ObjectNotFoundError):
                connection.get("a/b")
        store.settle()
        assert connection.get("a/b") == b"x" and len(list(connection.list("a/"))) == 1

    store = store_with(kind)
    act(store, body)
    assert store.plan.counts[kind]


def test_a_rollback_takes_back_the_last_writes_in_their_order() -> None:
    def body(connection: Connection) -> None:
        for number in range(6):
            connection.put(f"a/{number}", b"x")
        connection.delete(["packs/00"])
        store.roll_back()

    store = filled(store_with())
    gone: list[frozenset[str]] = []
    store.on_rollback = gone.append
    act(store, body)
    assert "packs/00" in store.contents.objects  # deleted last, so it is back first
    kept = [key for key in store.contents.objects if key.startswith("a/")]
    assert kept == [f"a/{number}" for number in range(len(kept))]
    assert gone == [frozenset(f"a/{number}" for number in range(len(kept), 6))]
    store.roll_back()
    assert store.plan.counts[FaultKind.ROLLBACK] == 1  # once in a run


def test_a_suspended_client_sleeps_for_long_and_its_boot_clock_knows() -> None:
    def body(actor: Actor) -> None:
        before = actor.clock.elapsed_ns()
        Connection(store, actor).put("a", b"x")
        assert actor.clock.elapsed_ns() - before > 3600 * 10**9

    store = store_with(FaultKind.SUSPENSION)
    store.scheduler.add("laptop", body)
    store.scheduler.run()
    assert store.contents.objects == {"a": b"x"}


def test_a_clock_step_moves_the_wall_clock_alone() -> None:
    def body(actor: Actor) -> None:
        connection = Connection(store, actor)
        boot, steps = actor.clock.elapsed_ns() - actor.clock.now_ns(), set()
        for number in range(20):
            connection.put(f"a/{number}", b"x")
            steps.add(actor.clock.elapsed_ns() - actor.clock.now_ns() - boot)
        assert len(steps) > 3
        assert actor.clock.elapsed_ns() < store.scheduler.now_ns

    store = store_with(FaultKind.CLOCK_STEP)
    store.scheduler.add("old battery", body)
    store.scheduler.run()


@pytest.mark.parametrize(("mode", "stored", "acknowledged"), [(CrashMode.BEFORE, False, False), (CrashMode.UNACKNOWLEDGED, True, False)])
def test_a_crash_at_a_call(mode: CrashMode, stored: bool, acknowledged: bool) -> None:
    def body(connection: Connection) -> None:
        connection.put("a", b"x")
        with pytest.raises(Crash):
            connection.put("b", b"x")
        assert ("b" in connection.acknowledged) == acknowledged
        with pytest.raises(Crash):  # and it stays dead
            connection.get("a")

    store = store_with()
    act(store, body, crash=CrashPoint(2, mode))
    assert ("b" in store.contents.objects) == stored


def test_a_crash_after_a_call_comes_once_the_answer_has_been_worked_with() -> None:
    def body(connection: Connection) -> None:
        connection.put("a", b"x")
        assert "a" in connection.acknowledged
        with pytest.raises(Crash):
            connection.finish()

    act(store_with(), body, crash=CrashPoint(1, CrashMode.AFTER))


def _assert(fact: bool) -> None:
    assert fact
