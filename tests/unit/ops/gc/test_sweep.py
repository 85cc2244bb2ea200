"""ops/gc/sweep.py: what goes with a sweep, and what a collection says that it has done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest
from tests.unit.ops.surveys import snapshot, survey, sweep

from seedcorn.errors import IntegrityError, ObjectNotFoundError, SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.format.collection import SnapshotRef
from seedcorn.ops.gc.plan import CollectionOptions
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.gc.sweep import CollectionResult, Collector, _is_removed
from seedcorn.ops.retention.forget import forget_snapshots
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.roots.roots import RootSnapshot, Standing
from seedcorn.store.api import Buffer, ObjectInfo
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

NOW = CollectionOptions(grace_ns=0, allow_large=True)
GONE = {Standing.EXPIRED, Standing.SUPERSEDED, Standing.VOID}


@pytest.mark.parametrize("standing", Standing)
def test_the_objects_of_which_snapshots_go_with_a_sweep(standing: Standing) -> None:
    """Those that it has named and that nobody has confirmed or taken back since; never the newest one of a host."""
    root, newest = snapshot(1, {}, standing), snapshot(2, {}, standing)
    found = survey({}, [root, newest])

    def goes(one: RootSnapshot, *, expired: tuple[SnapshotRef, ...] = (), removed: tuple[SnapshotRef, ...] = ()) -> bool:
        return _is_removed(one, found, msgspec.structs.replace(sweep(), expired=expired, removed=removed))

    assert goes(root, expired=(root.ref,)) is (standing in GONE or standing is Standing.FORGOTTEN)
    assert goes(root, removed=(root.ref,)) is (standing is Standing.FORGOTTEN)
    assert not goes(root)
    assert not goes(newest, expired=(newest.ref,)) and not goes(newest, removed=(newest.ref,))


class Ground:
    """Three backups of one host, of which the first is forgotten."""

    def __init__(self, repository: SmallRepository, store: MemoryStore, folder: Path) -> None:
        self.repository = repository
        self.store = store
        self.monitor = RecordingMonitor()
        for number in range(3):
            for old in folder.glob("*"):
                old.unlink()
            repository.backup(make_tree(folder, {f"f{number}": os.urandom(5_000)}))
        maintainer = maintained_by_owner(repository.owner())
        roots = Surveyor(maintainer, repository.owner_state()).survey().roots
        forget_snapshots(maintainer, roots, [roots.snapshots[0].ref], repository.clock)

    def collector(self, options: CollectionOptions = NOW, store: WrappedStore | None = None) -> Collector:
        return Collector(maintained_by_owner(self.repository.owner(store)), self.repository.new_state(), options, self.monitor)

    def keys(self, room: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(room + "/"))

    def packs_bytes(self) -> int:
        return sum(len(self.store.objects[key]) for key in self.keys("packs"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        yield Ground(repository, store, tmp_path / "tree")


def test_a_collection_counts_what_it_does(ground: Ground) -> None:
    packs, packs_bytes = len(ground.keys("packs")), ground.packs_bytes()
    collector = ground.collector()
    done = collector.carry_out(collector.plan())
    gone, gone_bytes = packs - len(ground.keys("packs")), packs_bytes - ground.packs_bytes()
    assert gone >= 2
    assert done == CollectionResult(
        marked_packs=gone, marked_bytes=gone_bytes, deleted_packs=gone, deleted_bytes=gone_bytes, rewritten_segments=1, deleted_snapshots=1
    )
    assert len(ground.keys("snapshots")) == len(ground.keys("receipts")) == 2
    assert len(ground.keys("index")) == 2  # that of the first listed nothing else
    assert [key.rpartition(".")[2] for key in ground.keys("gc")] == ["done", "sweep"]
    again = ground.collector()
    assert set(asdict(again.carry_out(again.plan())).values()) == {0}
    assert not ground.monitor.errors and not ground.monitor.notes


def test_with_a_grace_the_first_collection_marks_and_deletes_nothing(ground: Ground) -> None:
    """All is older than a day, and younger than the grace."""
    before = set(ground.store.objects)
    ground.store._now_ns = lambda: 30 * 3600 * 10**9
    collector = ground.collector(CollectionOptions(allow_large=True))
    done = collector.carry_out(collector.plan())
    counted = {name for name, count in asdict(done).items() if count}
    assert counted == {"marked_packs", "marked_bytes"}
    assert done.marked_packs >= 2 and done.marked_bytes > 5_000
    assert {key.rpartition(".")[2] for key in set(ground.store.objects) - before} == {"mark"}
    assert before <= set(ground.store.objects)


def test_a_rehearsal_puts_nothing(ground: Ground) -> None:
    for options in (NOW, CollectionOptions()):
        recording = RecordingStore(ground.store)
        ground.collector(options, recording).plan(dry_run=True)
        assert {call.verb for call in recording.calls} == {"list", "get"}


def test_the_time_is_asked_by_a_probe_that_is_deleted_again(ground: Ground) -> None:
    recording = RecordingStore(ground.store)
    ground.collector(CollectionOptions(), recording).plan()
    asked = [(call.verb, call.key.rpartition("-")[0]) for call in recording.calls if "probe" in call.key]
    assert asked == [("put", "gc/probe"), ("head", "gc/probe"), ("delete", "gc/probe")]
    assert not [key for key in ground.keys("gc") if "probe" in key]


def test_probes_that_vanish_each_time(ground: Ground) -> None:
    class Vanishing(WrappedStore):
        def head(self, key: str) -> ObjectInfo:
            ground.store.delete([key])
            return super().head(key)

    with pytest.raises(SeedcornError, match="several collections running without pause"):
        ground.collector(CollectionOptions(), Vanishing(ground.store)).plan()


def test_an_index_that_others_rewrite_each_time(ground: Ground) -> None:
    """A sweep that has been put is left to the next collection, and nothing is deleted."""

    class Rewritten(WrappedStore):
        is_swept = False

        def put(self, key: str, data: Buffer) -> None:
            self.is_swept |= key.endswith(".sweep")
            super().put(key, data)

        def get(self, key: str) -> bytes:
            if self.is_swept and key.startswith("index/"):
                raise ObjectNotFoundError("there is no such object", key=key)
            return super().get(key)

    packs = ground.keys("packs")
    collector = ground.collector(store=Rewritten(ground.store))
    with pytest.raises(SeedcornError, match=r"rewrite the index again and again \(the last to go was index/.*run `seedcorn prune` later"):
        collector.carry_out(collector.plan())
    assert ground.keys("packs") == packs
    again = ground.collector()
    assert again.carry_out(again.plan()).deleted_packs >= 2


def test_a_collection_tells_what_is_wrong_before_it_stops(ground: Ground) -> None:
    for key in ground.keys("index")[:2]:
        ground.store.objects[key] = flip_byte(ground.store.objects[key], 200)
    with pytest.raises(IntegrityError, match=r"nothing is collected as long as this is so \(\d problems in all\)"):
        ground.collector().plan()
    assert {problem.object_name for problem in ground.monitor.errors if isinstance(problem, IntegrityError)} >= set(ground.keys("index")[:2])


def test_new_segments_are_numbered_above_all_that_are_there(ground: Ground) -> None:
    """Who lists the index meanwhile then meets the old or the new one."""
    numbers = [int(key[-75:-65]) for key in ground.keys("index")]
    for number in range(7):  # many small ones become one
        ground.repository.backup(make_tree(ground.repository._folder / "more", {f"m{number}": b"%d" % number * 500}))
    collector = ground.collector()
    result = collector.carry_out(collector.plan())
    assert result.rewritten_segments >= 8
    (key,) = ground.keys("index")
    assert int(key[-75:-65]) > max(numbers)


def test_a_pack_that_was_marked_and_is_needed_is_not_swept(ground: Ground) -> None:
    """Whatever the plan says."""
    collector = ground.collector()
    plan = collector.plan()
    needed = frozenset(name for name in plan.judgement.uses if name not in plan.judgement.collectable)
    result = collector.carry_out(replace(plan, new=plan.new | needed))
    assert result.deleted_packs >= 2
    assert len(ground.keys("packs")) == len(needed)
