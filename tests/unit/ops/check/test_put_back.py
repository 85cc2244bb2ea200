"""Small objects that a disk has damaged, and a machine that remembers them: what a repair puts back, and that nothing is ever missing meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.ops.check.test_records import RECORDS, Recorded

from seedcorn.errors import IntegrityError, StoreUnavailableError
from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.collection import CollectionRecord, HostPacks, Stage
from seedcorn.format.names import host_key, parse_pack_key, spare_key
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckOptions, Examination, examine
from seedcorn.ops.check.put_back import PutBack
from seedcorn.ops.check.repair import RepairResult, execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, RepairPlan, plan_repair
from seedcorn.ops.check.scrub import ScrubOptions, scrub
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.roots.collections import build_collection
from seedcorn.repo.roots.verified import read_verified
from seedcorn.store.api import Buffer, Store
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

KINDS = (*RECORDS, "host record", "snapshot")


class Remembering(Recorded):
    """A repository of which the owner's machine has seen everything, and other machines nothing."""

    def put(self, kind: str) -> str:
        """The key of an object of a kind, which the owner's machine has read."""
        if kind == "done relocation":
            super().put("relocation")
        key = {"host record": host_key(self.host, 1), "snapshot": keys_by_kind(self.store)["snapshot"][0]}.get(kind) or super().put(kind)
        owner, state = self.repository.owner(), self.repository.owner_state()
        Surveyor(maintained_by_owner(owner), state).survey()
        read_verified(self.store, state, owner.repository, owner.key.public)
        return key

    def rot(self, key: str) -> bytes:
        """A disk has turned a bit; what the object is then."""
        self.store.objects[key] = flip_byte(self.store.objects[key], len(self.store.objects[key]) // 2)
        return self.store.objects[key]

    def look(self, store: Store | None = None, *, fresh: bool = False) -> tuple[Browser, Examination]:
        browser = self.repository.browser(store=store, fresh=fresh)
        return browser, examine(browser, CheckOptions(), SystemClock(), VoidMonitor())

    def plan(self, *, fresh: bool = False) -> RepairPlan:
        return plan_repair(*self.look(fresh=fresh), RepairOptions())

    def repair(self, store: Store | None = None) -> RepairResult:
        browser, examination = self.look(store)
        return execute_repair(browser, examination, plan_repair(browser, examination, RepairOptions()), VoidMonitor())


@pytest.fixture
def remembering(tmp_path: Path) -> Iterator[Remembering]:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        yield Remembering(repository, store, make_tree(tmp_path / "tree", {"f": os.urandom(5_000)}))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_is_put_once_more_beside_it(kind: str, remembering: Remembering) -> None:
    key = remembering.put(kind)
    good = remembering.store.objects[key]
    assert remembering.problems() == []
    bad = remembering.rot(key)
    assert key in remembering.problems()
    assert remembering.plan().put_back == (PutBack(key, len(good)),)
    recording = RecordingStore(remembering.store)
    assert remembering.repair(recording).put_back == (key,)
    assert [(call.verb, call.key) for call in recording.calls if call.verb in ("put", "delete")] == [("put", spare_key(key))]
    assert (remembering.store.objects[key], remembering.store.objects[spare_key(key)]) == (bad, good)
    assert remembering.problems() == [], "to a machine that has never seen it"
    assert remembering.plan().is_empty and remembering.plan().unknown == ()


@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_remember_it_puts_nothing_and_says_so(kind: str, remembering: Remembering) -> None:
    key = remembering.put(kind)
    remembering.rot(key)
    plan = remembering.plan(fresh=True)
    assert (plan.put_back, plan.unknown, plan.is_empty) == ((), (key,), True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_listed_is_not_put_back(kind: str, remembering: Remembering) -> None:
    del remembering.store.objects[remembering.put(kind)]
    plan = remembering.plan()
    assert (plan.put_back, plan.unknown) == ((), ())


def test_what_this_machine_remembers_is_verified_again(remembering: Remembering) -> None:
    key = remembering.put("sweep")
    good = remembering.store.objects[key]
    remembering.rot(key)
    browser, examination = remembering.look()
    plan = plan_repair(browser, examination, RepairOptions())
    browser.state.cache_object(key, flip_byte(good, 70))
    with pytest.raises(IntegrityError, match="not remembered any more"):
        execute_repair(browser, examination, plan, VoidMonitor())
    assert spare_key(key) not in remembering.store.objects
    later = plan_repair(browser, examination, RepairOptions())
    assert (later.put_back, later.unknown) == ((), (key,))


def test_a_spare_that_has_been_damaged_itself_is_put_anew(remembering: Remembering) -> None:
    key = remembering.put("sweep")
    good = remembering.store.objects[key]
    remembering.rot(key)
    remembering.repair()
    remembering.rot(spare_key(key))
    assert remembering.problems() == [key]
    assert remembering.plan().put_back == (PutBack(key, len(good), replaces_spare=True),)
    assert remembering.repair().put_back == (key,)
    assert remembering.store.objects[spare_key(key)] == good
    assert remembering.problems() == []


def test_somebody_else_has_put_something_there_meanwhile(remembering: Remembering) -> None:
    key = remembering.put("sweep")
    remembering.rot(key)
    browser, examination = remembering.look()
    plan = plan_repair(browser, examination, RepairOptions())
    remembering.store.put(spare_key(key), b"something else")
    with pytest.raises(IntegrityError, match="not as it was"):
        execute_repair(browser, examination, plan, VoidMonitor())
    assert remembering.store.objects[spare_key(key)] == b"something else"


class _Failing(WrappedStore):
    """The call of that number fails, after it has been done or before."""

    def __init__(self, inner: Store, fails_at: int, *, done: bool) -> None:
        super().__init__(inner)
        self._left = fails_at
        self._done = done

    def put(self, key: str, data: Buffer) -> None:
        self._call(lambda: self._inner.put(key, data))

    def delete(self, keys: object) -> None:
        self._call(lambda: self._inner.delete(keys))  # type: ignore[arg-type]

    def _call(self, call: object) -> None:
        self._left -= 1
        if self._left != 0 or self._done:
            call()  # type: ignore[operator]
        if self._left == 0:
            raise StoreUnavailableError("gone")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_it_may_be_killed_anywhere_and_the_object_is_listed_all_the_time(fails_at: int, done: bool, remembering: Remembering) -> None:
    key = remembering.put("sweep")
    remembering.rot(key)
    remembering.repair()
    remembering.rot(spare_key(key))
    with suppress(StoreUnavailableError):
        remembering.repair(_Failing(remembering.store, fails_at, done=done))
    assert key in remembering.store.objects
    remembering.repair()
    assert remembering.problems() == []


def test_the_record_of_a_host_and_what_it_has_signed_in_one_go(remembering: Remembering) -> None:
    keys = [remembering.put(kind) for kind in ("receipt", "snapshot", "host record")]
    for key in keys:
        remembering.rot(key)
    assert {one.key for one in remembering.plan().put_back} == set(keys)
    remembering.repair()
    assert remembering.problems() == []


def test_of_a_host_whose_record_is_not_remembered_nothing_can_be_judged(remembering: Remembering) -> None:
    key = remembering.put("receipt")
    remembering.rot(host_key(remembering.host, 1))
    plan = remembering.plan(fresh=True)
    assert (plan.put_back, plan.unknown) == ((), (host_key(remembering.host, 1),))
    assert key in remembering.problems()


def test_packs_of_a_sweep_that_only_this_machine_can_read_are_left_alone(remembering: Remembering) -> None:
    """It was cut off after it had taken them out of the index."""
    remembering.put("forget record")
    for segment in keys_by_kind(remembering.store)["segment"]:
        del remembering.store.objects[segment]
    packs = sorted(key for key in remembering.store.objects if key.startswith("packs/"))
    assert [pack.key for pack in remembering.plan().list_again] == packs
    names = tuple(name[1] for key in packs if (name := parse_pack_key(key)))
    owner = remembering.repository.owner()
    record = CollectionRecord(
        repository=owner.repository, number=1, collection=b"collect!", stage=Stage.SWEEP, packs=(HostPacks(remembering.host, names),), relocations=()
    )
    key, data = build_collection(record, owner.key.maintain_key().sign)
    remembering.store.put(key, data)
    assert remembering.plan().swept == tuple(packs)
    remembering.rot(key)
    plan = remembering.plan()
    assert (plan.list_again, plan.swept) == ((), tuple(packs))
    assert [one.key for one in plan.put_back] == [key]


def test_a_check_notes_what_is_read_from_spares_and_scrub_is_content(remembering: Remembering) -> None:
    for kind in ("snapshot", "verified record"):
        remembering.rot(remembering.put(kind))
    assert len(scrub(remembering.store, ScrubOptions(), SystemClock(), VoidMonitor()).problems) == 2
    remembering.repair()
    monitor = RecordingMonitor()
    result = examine(remembering.repository.browser(fresh=True), CheckOptions(), SystemClock(), monitor).result
    assert result.problems == ()
    assert [note.partition(":")[0] for note in monitor.notes] == ["2 damaged objects put once more by a repair, and read from there"]
    assert scrub(remembering.store, ScrubOptions(), SystemClock(), VoidMonitor()).problems == ()


def test_a_good_object_that_is_said_to_lack_something_is_not_put_back(remembering: Remembering) -> None:
    del remembering.store.objects[keys_by_kind(remembering.store)["segment"][0]]
    remembering.put("snapshot")
    browser, examination = remembering.look()
    assert any(problem.object_name.startswith("snapshots/") for problem in examination.result.problems)
    plan = plan_repair(browser, examination, RepairOptions())
    assert (plan.put_back, plan.unknown) == ((), ())
