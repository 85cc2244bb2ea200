"""A disk turns a bit in a small object: who is stopped by it, and that a machine which remembers it lets all others go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.collections.garden import HOUR_NS, Garden, StoreClock, noise, open_garden

from seedcorn.errors import IntegrityError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.names import SPARES, spare_key
from seedcorn.ops.check.check import CheckOptions, examine
from seedcorn.ops.check.repair import execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair
from seedcorn.ops.gc.plan import CollectionOptions
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore


@pytest.fixture
def garden() -> Iterator[Garden]:
    """Two snapshots that are needed, records of a collection that has taken a third, and one that is forgotten."""
    with open_garden() as made:
        gone = made.back_up({"z": noise(9)})
        made.back_up({"a": noise(1)})
        made.forget(gone)
        made.prune()
        later = made.back_up({"b": noise(2)})
        made.back_up({"c": noise(3)})
        made.forget(later)
        made.repository.browser()  # the owner's machine has seen everything
        yield made


def rot(garden: Garden, key: str) -> bytes:
    garden.store.objects[key] = flip_byte(garden.store.objects[key], len(garden.store.objects[key]) // 2)
    return garden.store.objects[key]


def repair(garden: Garden) -> None:
    browser = garden.repository.browser()
    examination = examine(browser, CheckOptions(), SystemClock(), VoidMonitor())
    plan = plan_repair(browser, examination, RepairOptions())
    assert plan.put_back
    execute_repair(browser, examination, plan, VoidMonitor())


@pytest.mark.parametrize("room", ["gc", "forget", "hosts", "receipts", "snapshots"])
def test_what_one_machine_remembers_all_others_can_read(garden: Garden, room: str) -> None:
    key = next(key for key in garden.keys(room) if not key.endswith(".done"))
    bad = rot(garden, key)
    if room != "receipts":
        with pytest.raises(IntegrityError, match="as long as this is so"):
            garden.prune(state=garden.state())
    repair(garden)
    assert garden.store.objects[key] == bad, "nothing is ever overwritten, nor removed in between"
    garden.assert_whole()
    garden.repository.first.forget_state()
    garden.back_up({"a": noise(1), "n": noise(4)})
    for _ in range(2):
        garden.prune(state=garden.state())
        garden.assert_whole()
    garden.assert_clean(garden.state())


def test_a_host_that_has_not_read_a_damaged_sweep_backs_up_again(garden: Garden) -> None:
    rot(garden, next(key for key in garden.keys("gc") if key.endswith(".sweep")))
    garden.repository.first.forget_state()
    with pytest.raises(IntegrityError, match="gc/"):
        garden.back_up({"n": noise(4)})
    repair(garden)
    garden.back_up({"n": noise(4)})
    garden.assert_whole()


def test_a_damaged_done_record_stops_nobody(garden: Garden) -> None:
    """A collection that was cut off before it put that has left the same: its packs count as deleted."""
    rot(garden, next(key for key in garden.keys("gc") if key.endswith(".done")))
    garden.repository.first.forget_state()
    garden.back_up({"a": noise(1), "n": noise(4)})
    for _ in range(2):
        garden.prune(state=garden.state())
    browser = garden.browser()
    assert {snapshot.id for snapshot in browser.snapshots} == garden.expected.keys()
    assert [problem.object_name for problem in browser.problems] == [key for key in garden.keys("gc") if key.endswith(".done")][:1]


def test_a_damaged_mark_stops_nobody_and_goes_after_the_grace() -> None:
    clock, usual = StoreClock(), CollectionOptions(allow_large=True)
    with open_garden(MemoryStore(clock)) as garden:
        gone = garden.back_up({"z": noise(9)})
        garden.back_up({"a": noise(1)})
        garden.forget(gone)
        clock.now_ns += 25 * HOUR_NS
        assert garden.prune(usual).marked_packs
        (key,) = [key for key in garden.keys("gc") if key.endswith(".mark")]
        rot(garden, key)
        garden.repository.first.forget_state()
        garden.back_up({"a": noise(1), "n": noise(4)})
        assert garden.prune(usual, state=garden.state()).marked_packs, "what it named is marked once more"
        clock.now_ns += 73 * HOUR_NS
        assert garden.prune(usual, state=garden.state()).deleted_packs
        assert not [key for key in garden.keys("gc") if key.endswith(".mark")]
        garden.assert_whole()


def test_a_spare_goes_with_what_it_stands_for(garden: Garden) -> None:
    """With its snapshot, once that has been forgotten."""
    lost = next(iter(garden.expected))
    key = next(key for key in garden.keys("snapshots") if key.endswith(lost.hex()))
    kept = next(key for key in garden.keys("gc") if key.endswith(".sweep"))
    rot(garden, key)
    rot(garden, kept)
    repair(garden)
    assert garden.keys(SPARES.rstrip("/")) == sorted(map(spare_key, (key, kept)))
    garden.forget(lost)
    for _ in range(2):
        garden.prune(state=garden.state())
    assert key not in garden.store.objects
    assert garden.keys(SPARES.rstrip("/")) == [spare_key(kept)]
    garden.assert_whole()
