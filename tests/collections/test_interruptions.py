"""A collection that ends anywhere, or meets anybody anywhere, loses nothing; and a later one finishes the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.collections.garden import Garden, open_garden
from tests.collections.interrupted import Crash, CrashingStore, MeanwhileStore, When
from tests.collections.test_prune import noise

from seedcorn.ids import SnapshotId
from seedcorn.testing.damage import copy_store
from seedcorn.testing.memory_store import MemoryStore

Story = Callable[[Path, Callable[[Garden], None]], None]


def planted(garden: Garden) -> None:
    """Something to mark, to repack, to expire, to merge; and something that stays."""
    second = garden.repository.machine("second")
    big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
    old = garden.back_up({"x": noise(3)}, machine=second, tree="other")
    for number in range(8):
        garden.back_up({"b": noise(2, 2_000_000), f"n{number}": noise(10 + number, 100)})
    unconfirmed = garden.back_up({"y": noise(4)}, machine=second, tree="other")
    garden.back_up({"x": noise(5), "z": noise(6)}, machine=second, tree="other")
    (receipt,) = [key for key in garden.keys("receipts") if key.endswith(unconfirmed.hex())]
    del garden.store.objects[receipt]
    garden.expected.pop(unconfirmed)
    garden.forget(big, old)


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> object:
    with open_garden(tmp_path_factory.mktemp("garden")) as made:
        planted(made)
        yield made


def counted(garden: Garden) -> int:
    """How many calls a whole collection makes."""
    store = CrashingStore(copy_store(garden.store), -1, When.BEFORE)
    garden.prune(store=store, state=garden.state())
    return store.calls


def in_copy(garden: Garden, store: MemoryStore) -> Garden:
    """The same people with another store."""
    garden.repository.store = store
    garden.store = store
    return garden


@pytest.mark.parametrize("when", When)
def test_a_crash_at_any_call(garden: Garden, when: When) -> None:
    pristine = garden.store
    expected = dict(garden.expected)
    try:
        for at in range(1, counted(garden) + 1):
            store = copy_store(pristine)
            try:
                garden.prune(store=CrashingStore(store, at, when), state=garden.state())
            except Crash:
                pass
            in_copy(garden, store)
            garden.assert_whole()
            garden.prune(store=store, state=garden.state())
            garden.assert_whole()
            garden.prune(store=store, state=garden.state())
            garden.assert_whole()
            garden.assert_clean()
            assert garden.expected == expected
    finally:
        in_copy(garden, pristine)
