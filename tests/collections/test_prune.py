"""Forget, prune, undelete: what is needed stays, what is not goes within two collections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.collections.garden import HOUR_NS, NOW, Garden, StoreClock, noise, open_garden

from seedcorn.errors import EXIT_INTEGRITY, SeedcornError, UsageError
from seedcorn.format.names import pack_key
from seedcorn.ops.gc.plan import CollectionOptions, MaxUnused
from seedcorn.store.wrappers import WrappedStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        yield made


def test_what_nothing_needs_goes_and_what_is_needed_stays(garden: Garden) -> None:
    first = garden.back_up({"a": noise(1), "b": noise(2)})
    garden.back_up({"b": noise(2), "c": noise(3)})
    garden.back_up({"c": noise(3), "d": noise(4)})
    garden.prune()
    garden.assert_whole()
    before = garden.keys("packs")
    garden.forget(first)
    garden.assert_whole()
    result = garden.prune()
    garden.assert_whole()
    assert result.deleted_packs == len(set(before) - set(garden.keys("packs"))) > 0
    assert len(garden.keys("snapshots")) == len(garden.keys("receipts")) == 2
    garden.prune()
    garden.assert_clean()


def test_a_pack_that_is_mostly_garbage_is_written_anew_without_it(garden: Garden) -> None:
    big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
    garden.back_up({"b": noise(2, 2_000_000)})
    garden.forget(big)
    plan = garden.plan()
    assert len(plan.repack) == 1
    assert plan.repack_bytes > 5_000_000 and plan.repack_used_bytes < 3_200_000
    assert not garden.plan(CollectionOptions(0, MaxUnused.parse("unlimited"))).repack
    assert not garden.plan(CollectionOptions(0, MaxUnused.parse("10M"))).repack
    result = garden.prune()
    assert result.repacked_packs == 1 and result.deleted_packs >= 1
    assert sum(len(garden.store.objects[key]) for key in garden.keys("packs")) < 3_300_000
    garden.assert_whole()
    garden.prune()
    garden.assert_clean()
    garden.back_up({"b": noise(2, 2_000_000), "c": b"new"})
    garden.assert_whole()


class _Flipping(WrappedStore):
    """Gives packs with a bit turned, as bad memory does on the way."""

    def get(self, key: str) -> bytes:
        return self._turned(key, super().get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._turned(key, super().get_range(key, start, length))

    def _turned(self, key: str, data: bytes) -> bytes:
        return flip_byte(data, len(data) * 4 // 5) if key.startswith("packs/") else data


@pytest.mark.parametrize("where", ["in the store", "on the way"])
def test_damage_is_not_moved_to_a_pack_in_which_no_scrub_would_find_it(garden: Garden, where: str) -> None:
    big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
    garden.back_up({"b": noise(2, 2_000_000)})
    garden.forget(big)
    (name,) = garden.plan().repack
    if where == "in the store":
        garden.store.objects[pack_key(*name)] = _Flipping(garden.store).get(pack_key(*name))
    result = garden.prune(store=garden.store if where == "in the store" else _Flipping(garden.store))
    assert (result.repacked_packs, result.damaged_packs, result.exit_code) == (0, 1, EXIT_INTEGRITY)
    assert pack_key(*name) in garden.keys("packs")
    if where == "on the way":
        garden.assert_whole()
        assert garden.prune().repacked_packs == 1
        garden.assert_whole()


def test_many_small_segments_become_one(garden: Garden) -> None:
    for number in range(9):
        garden.back_up({f"f{number}": noise(number)})
    assert len(garden.keys("index")) == 9
    garden.prune()
    assert len(garden.keys("index")) == 1
    garden.assert_whole()
    garden.back_up({"f0": noise(0), "f8": noise(8)})
    garden.assert_whole()
    garden.assert_clean()


def test_what_is_marked_waits_for_the_grace_by_the_stores_clock() -> None:
    clock, usual = StoreClock(), CollectionOptions(allow_large=True)
    with open_garden(MemoryStore(clock)) as garden:
        first = garden.back_up({"a": noise(1)})
        garden.back_up({"b": noise(2)})
        garden.forget(first)
        assert garden.prune(usual).marked_packs == 0  # all is younger than a day
        clock.now_ns += 25 * HOUR_NS
        packs = garden.keys("packs")
        assert garden.prune(usual).marked_packs > 0
        assert garden.prune(usual).marked_packs == 0  # once
        clock.now_ns += 71 * HOUR_NS
        assert garden.prune(usual).deleted_packs == 0
        assert garden.keys("packs") == packs
        clock.now_ns += 2 * HOUR_NS
        assert garden.prune(usual).deleted_packs > 0
        assert not [key for key in garden.keys("gc") if key.endswith(".mark")]
        garden.assert_whole()
        garden.assert_clean()


def test_an_object_whose_time_is_in_the_future_does_not_end_the_grace() -> None:
    clock, usual = StoreClock(), CollectionOptions(allow_large=True)
    with open_garden(MemoryStore(clock)) as garden:
        first = garden.back_up({"a": noise(1)})
        garden.back_up({"b": noise(2)})
        garden.forget(first)
        clock.now_ns += 25 * HOUR_NS
        garden.prune(usual)
        packs = garden.keys("packs")
        clock.now_ns += 1000 * HOUR_NS
        garden.back_up({"b": noise(2), "c": noise(3)})
        clock.now_ns -= 1000 * HOUR_NS  # the store's clock has been put right
        assert garden.prune(usual).deleted_packs == 0
        assert set(packs) <= set(garden.keys("packs"))
        clock.now_ns += 72 * HOUR_NS
        assert garden.prune(usual).deleted_packs > 0
        garden.assert_whole()


def test_a_forgotten_snapshot_can_be_taken_back_until_it_is_swept(garden: Garden) -> None:
    first = garden.back_up({"a": noise(1)})
    garden.back_up({"b": noise(2)})
    files = garden.expected[first]
    with pytest.raises(UsageError, match="not forgotten"):
        garden.undelete(first, files)
    garden.forget(first)
    garden.undelete(first, files)
    garden.prune()
    garden.assert_whole()
    garden.forget(first)
    garden.prune()
    with pytest.raises((SeedcornError, UsageError)):
        garden.undelete(first, files)
    garden.assert_whole()


def test_no_more_is_taken_than_the_plan_says(garden: Garden) -> None:
    """What somebody forgets meanwhile can still be taken back."""
    first = garden.back_up({"a": noise(1)})
    second = garden.back_up({"b": noise(2)})
    files = garden.expected[second]
    garden.back_up({"c": noise(3)})
    garden.forget(first)
    collector = garden.collector()
    plan = collector.plan()
    garden.forget(second)
    result = collector.carry_out(plan)
    assert result.deleted_packs == len(plan.new) > 0
    garden.undelete(second, files)
    garden.assert_whole()
    garden.forget(second)
    garden.prune()
    garden.prune()
    garden.assert_clean()


def test_the_newest_snapshot_of_a_host_stays_as_an_object_and_its_number_is_used_once(garden: Garden) -> None:
    only = garden.back_up({"a": noise(1)})
    garden.forget(only)
    garden.prune()
    assert len(garden.keys("snapshots")) == 1 and not garden.keys("packs") and not garden.keys("index")
    garden.assert_whole()
    with pytest.raises(SeedcornError, match="can not be taken back"):
        garden.undelete(only, {})
    garden.back_up({"a": noise(1)})
    garden.prune()
    assert [key[-75:-65] for key in garden.keys("snapshots")] == ["0000000002"]
    garden.assert_whole()
    garden.assert_clean()


def test_the_brake(garden: Garden) -> None:
    first = garden.back_up({"a": noise(1, 500_000)})
    garden.back_up({"b": noise(2)})
    garden.forget(first)
    with pytest.raises(SeedcornError, match=r"--allow-large"):
        garden.prune(CollectionOptions(grace_ns=0))
    garden.assert_whole()
    garden.prune(NOW)
    garden.assert_whole()


def test_packs_that_no_segment_lists_go(garden: Garden) -> None:
    garden.back_up({"a": noise(1)})
    killed = garden.repository.machine("killed")
    garden.back_up({"z": noise(9)}, machine=killed)
    (segment,) = [key for key in garden.keys("index") if killed.host_file.key.host.hex() in key]
    (snapshot,) = [key for key in garden.keys("snapshots") if killed.host_file.key.host.hex() in key]
    for key in (segment, snapshot, snapshot.replace("snapshots", "receipts")):
        del garden.store.objects[key]
    garden.expected.popitem()
    garden.prune(state=garden.state())
    assert not [key for key in garden.keys("packs") if killed.host_file.key.host.hex() in key]
    garden.assert_whole()
