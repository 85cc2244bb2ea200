"""A collection that ends anywhere, or meets anybody anywhere, loses nothing; and a later one finishes the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial

import pytest
from tests.collections.garden import Garden, open_garden
from tests.collections.interrupted import Crash, CrashingStore, MeanwhileStore, When
from tests.collections.test_prune import noise

from seedcorn.testing.damage import copy_store


def plant(garden: Garden) -> None:
    """Something to mark, to repack, to expire, to merge; and something that stays."""
    second = garden.repository.machine("second")
    big = garden.back_up({"a": noise(1, 300_000), "b": noise(2, 1_100_000)})
    old = garden.back_up({"x": noise(3)}, machine=second, tree="other")
    for number in range(8):
        garden.back_up({"b": noise(2, 1_100_000), f"n{number}": noise(10 + number, 100)})
    unconfirmed = garden.back_up({"y": noise(4)}, machine=second, tree="other")
    garden.back_up({"x": noise(5), "z": noise(6)}, machine=second, tree="other")
    (receipt,) = [key for key in garden.keys("receipts") if key.endswith(unconfirmed.hex())]
    del garden.store.objects[receipt]
    garden.expected.pop(unconfirmed)
    garden.forget(big, old)


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


@pytest.mark.parametrize("when", When)
def test_a_crash_at_any_call(garden: Garden, when: When, record_property: Callable[[str, object], None]) -> None:
    pristine, calls = garden.store, count_calls(garden)
    record_property("crashes", calls)
    for at in range(1, calls + 1):
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


def test_another_collection_before_any_call(garden: Garden) -> None:
    pristine = garden.store
    for at in range(1, count_calls(garden) + 1):
        garden.use(copy_store(pristine))
        garden.prune(store=MeanwhileStore(garden.store, at, lambda: garden.prune(state=garden.state())), state=garden.state())
        garden.assert_whole()
        state = garden.state()
        garden.prune(state=state)
        garden.assert_clean(state)
        state.close()


def test_a_backup_before_any_call(garden: Garden) -> None:
    """Of content that the collection is just about to take."""
    pristine, expected = garden.store, dict(garden.expected)
    for at in range(1, count_calls(garden) + 1):
        garden.use(copy_store(pristine))
        garden.expected = dict(expected)
        with closing(garden.repository.machine_again()) as host:
            back_up = partial(garden.back_up, {"a": noise(1, 300_000), "n": b"new"}, machine=host)
            garden.prune(store=MeanwhileStore(garden.store, at, back_up), state=garden.state())
        garden.assert_whole()


def test_a_collection_before_any_call_of_a_backup(garden: Garden) -> None:
    pristine, expected = garden.store, dict(garden.expected)
    at = calls = 0
    while at <= calls:
        at += 1
        garden.use(copy_store(pristine))
        garden.expected = dict(expected)
        store = MeanwhileStore(garden.store, at, lambda: garden.prune(state=garden.state()))
        with closing(garden.repository.machine_again(store)) as host:
            garden.back_up({"a": noise(1, 300_000), "n": b"new"}, machine=host)
        calls = store.calls
        garden.assert_whole()
    assert at > 10
