"""Every damage against every kind of object that a repair deals with: then only what is lost is wrong, and what was readable still is."""

from __future__ import annotations

from itertools import product

import pytest

from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.ops.check.check import AffectedPath, CheckOptions, Examination, check, examine
from seedcorn.ops.check.repair import execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair
from seedcorn.testing.damage import DAMAGES, Damage, Pristine, apply_damage, copy_store
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import read_file

READ = CheckOptions(read_data=True)
KINDS = ("data pack", "listing pack", "segment")


@pytest.mark.parametrize(("kind", "damage"), list(product(KINDS, DAMAGES)), ids=str)
def test_only_what_is_lost_is_wrong_afterwards(kind: str, damage: Damage, pristine: Pristine) -> None:
    damaged = copy_store(pristine.store)
    key = apply_damage(damage, damaged, kind, of=pristine.repository.first.host_file.key.host.hex())
    browser, examination = look(pristine, damaged)
    plan = plan_repair(browser, examination, RepairOptions(delete_damaged=True))
    assert not plan.is_empty
    execute_repair(browser, examination, plan, VoidMonitor())
    after, again = look(pristine, damaged)
    assert plan_repair(after, again, RepairOptions(delete_damaged=True)).is_empty
    assert all(problem.object_name.startswith("snapshots/") or ":" in problem.object_name for problem in again.result.problems)
    if kind == "segment":
        assert again.result.problems == ()
    assert lost(again) <= lost(examination) or not lost(examination)
    the_rest_can_be_read(pristine, after, again)
    if damage.name != "delete it":
        assert key not in damaged.objects or damaged.objects[key] == pristine.store.objects[key]


def look(pristine: Pristine, store: MemoryStore) -> tuple[Browser, Examination]:
    browser = open_browser(pristine.repository.owner(store), pristine.repository.new_state())
    return browser, examine(browser, READ, SystemClock(), VoidMonitor())


def lost(examination: Examination) -> set[AffectedPath]:
    return set(examination.result.affected)


def the_rest_can_be_read(pristine: Pristine, browser: Browser, examination: Examination) -> None:
    for snapshot in browser.snapshots:
        affected = {path.path for path in examination.result.affected if path.snapshot == snapshot.id}
        expected = pristine.trees[snapshot.key]
        if not affected:
            walked = browser.walk(browser.entry(snapshot, b"/"), VoidMonitor())
            assert {entry.path: read_file(browser, entry.node) for entry in walked if expected[entry.path] is not None} == {
                path: content for path, content in expected.items() if content is not None
            }


def test_the_pristine_repository_needs_no_repair(pristine: Pristine) -> None:
    browser, examination = look(pristine, copy_store(pristine.store))
    assert plan_repair(browser, examination, RepairOptions(delete_damaged=True)).is_empty
    assert check(browser, READ, SystemClock(), VoidMonitor()).exit_code == 0


@pytest.mark.parametrize(("kind", "damage"), list(product(("host record", "snapshot", "receipt"), DAMAGES)), ids=str)
def test_a_small_object_is_put_once_more_by_a_machine_that_remembers_it(kind: str, damage: Damage, pristine: Pristine) -> None:
    damaged = copy_store(pristine.store)
    remembering = pristine.repository.new_state()
    open_browser(pristine.repository.owner(damaged), remembering)
    key = apply_damage(damage, damaged, kind, of=pristine.repository.first.host_file.key.host.hex())
    bad = damaged.objects.get(key)
    browser = open_browser(pristine.repository.owner(damaged), remembering)
    examination = examine(browser, READ, SystemClock(), VoidMonitor())
    plan = plan_repair(browser, examination, RepairOptions())
    if damage.name == "delete it":
        assert plan.put_back == ()
        return
    assert key in {small.key for small in plan.put_back} and plan.unknown == ()
    execute_repair(browser, examination, plan, VoidMonitor())
    assert damaged.objects.get(key) == bad
    after, again = look(pristine, damaged)
    assert again.result.problems == ()
    assert {snapshot.key for snapshot in after.snapshots} == pristine.trees.keys()
    the_rest_can_be_read(pristine, after, again)
