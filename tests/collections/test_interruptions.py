"""A collection that ends anywhere, or meets anybody anywhere, loses nothing; and a later one finishes the work.

Every call in the slow tests, one in seven in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from threading import Event

import pytest
from tests.collections.garden import Garden, noise, open_garden
from tests.collections.interrupted import BeforePutStore, Crash, CrashingStore, MeanwhileStore, When, strides

from seedcorn.testing.damage import copy_store
from seedcorn.testing.repositories import Machine

TIMEOUT_SECONDS = 120


def plant(garden: Garden) -> None:
    """Something to mark, to repack, to expire, to merge; and something that stays."""
    second = garden.repository.machine("second")
    big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
    old = garden.back_up({"x": noise(3)}, machine=second, tree="other")
    for number in range(8):
        garden.back_up({"b": noise(2, 2_000_000), f"n{number}": noise(10 + number, 100)})
    unconfirmed = garden.back_up({"y": noise(4)}, machine=second, tree="other")
    garden.back_up({"x": noise(5), "z": noise(6)}, machine=second, tree="other")
    garden.lose_receipt(unconfirmed)
    garden.forget(big, old)
    assert garden.plan().repack, "contents are long enough to lie in frames of their own"


@pytest.fixture(scope="module")
def planted() -> Iterator[Garden]:
    with open_garden() as made:
        plant(made)
        yield made


@pytest.fixture
def garden(planted: Garden) -> Iterator[Garden]:
    """The same people, each time with the same store."""
    pristine, expected = planted.store, dict(planted.expected)
    yield planted
    planted.use(pristine)
    planted.expected = expected


def count_calls(garden: Garden) -> int:
    """How many calls a whole collection makes."""
    store = CrashingStore(copy_store(garden.store), -1, When.BEFORE)
    garden.prune(store=store, state=garden.state())
    return store.calls


@strides
@pytest.mark.parametrize("when", When)
def test_a_crash_at_any_call(garden: Garden, when: When, stride: int, record_property: Callable[[str, object], None]) -> None:
    pristine = garden.store
    points = range(1, count_calls(garden) + 1, stride)
    record_property("crashes", len(points))
    for at in points:
        garden.use(copy_store(pristine))
        with suppress(Crash):
            garden.prune(store=CrashingStore(garden.store, at, when), state=garden.state())
        garden.assert_whole()
        state = garden.state()
        garden.prune(state=state)
        garden.prune(state=state)
        garden.assert_whole()
        garden.assert_clean(state)
        state.close()


@strides
def test_another_collection_before_any_call(garden: Garden, stride: int) -> None:
    pristine = garden.store
    for at in range(2, count_calls(garden) + 1, stride):
        garden.use(copy_store(pristine))
        garden.prune(store=MeanwhileStore(garden.store, at, lambda: garden.prune(state=garden.state())), state=garden.state())
        garden.assert_whole()
        state = garden.state()
        garden.prune(state=state)
        garden.assert_whole()
        garden.assert_clean(state)
        assert garden.most_copies() == 1
        state.close()


def test_two_collections_that_always_run_at_once(garden: Garden) -> None:
    """As two machines with one timetable do."""
    garden.use(copy_store(garden.store))
    moved = []
    for _ in range(4):
        at_once = BeforePutStore(garden.store, "packs/", lambda: moved.append(garden.prune(state=garden.state()).repacked_packs))
        moved.append(garden.prune(store=at_once, state=garden.state()).repacked_packs)
        garden.assert_whole()
        assert garden.most_copies() == 1
    assert sum(moved) == 1
    garden.assert_clean()


@strides
def test_a_backup_before_any_call(garden: Garden, stride: int) -> None:
    """Of content that the collection is just about to take."""
    pristine, expected = garden.store, dict(garden.expected)
    for at in range(3, count_calls(garden) + 1, stride):
        garden.use(copy_store(pristine))
        garden.expected = dict(expected)
        with closing(garden.repository.machine_again()) as host:
            back_up = partial(garden.back_up, {"a": noise(1, 3_000_000), "n": b"new"}, machine=host)
            garden.prune(store=MeanwhileStore(garden.store, at, back_up), state=garden.state())
        garden.assert_whole()


@pytest.mark.parametrize(("part", "kept"), [(".sweep", True), (".mark", False)])
def test_a_backup_that_began_before_the_mark_and_is_confirmed_before_the_sweep(garden: Garden, part: str, kept: bool) -> None:
    """It relies on packs that nothing else needs, and can not see that they are going.

    Confirmed just before the sweep is put, they are swept and kept; just before the mark, they are left out of the sweep.
    """
    garden.use(copy_store(garden.store))
    begun, go_on = Event(), Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(TIMEOUT_SECONDS)

    with closing(garden.repository.machine_again(BeforePutStore(garden.store, "snapshots/", wait))) as host, ThreadPoolExecutor(1) as pool:
        running = pool.submit(garden.back_up, {"a": noise(1, 3_000_000), "n": b"new"}, machine=host)
        assert begun.wait(TIMEOUT_SECONDS)

        def let_it_end() -> None:
            go_on.set()
            running.result(TIMEOUT_SECONDS)

        result = garden.prune(store=BeforePutStore(garden.store, part, let_it_end), state=garden.state())
    assert bool(result.kept_packs) is kept
    assert not [key for key in garden.keys("receipts") if key.endswith(".void")]
    garden.assert_whole()


def prune_twice(garden: Garden, machines: list[Machine]) -> None:
    """The second time it knows what the first has taken out of the index."""
    state = machines[0].state if machines else garden.state()
    garden.prune(state=state)
    garden.prune(state=state)


@strides
@pytest.mark.parametrize("where", ["elsewhere", "on the same machine"])
def test_a_collection_before_any_call_of_a_backup(garden: Garden, where: str, stride: int) -> None:
    """On the same machine it has the same state, and takes the packs out of the index that the backup relies on."""
    pristine, expected = garden.store, dict(garden.expected)
    at, calls = 0, stride
    while at + stride <= calls + 1:
        at += stride
        garden.use(copy_store(pristine))
        garden.expected = dict(expected)
        machines: list[Machine] = []
        store = MeanwhileStore(garden.store, at, partial(prune_twice, garden, machines if where == "on the same machine" else []))
        with closing(garden.repository.machine_again(store)) as host:
            machines.append(host)
            garden.back_up({"a": noise(1, 3_000_000), "n": b"new"}, machine=host)
        calls = store.calls
        garden.assert_whole()
    assert at > 10
