"""Hosts that back up small trees, an operator who forgets, maintainers who collect: and what must hold after any of it.

Owns what is expected of every snapshot. A store is in memory, and every machine has a state of its own.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.workshop import scratch

from seedcorn.events import RecordingMonitor
from seedcorn.ids import SnapshotId
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.ops.deep.deep import Deep, DeepOptions, DeepResult
from seedcorn.ops.deep.plan import MAX_DEAD, DeepPlan, plan_deep
from seedcorn.ops.gc.plan import CollectionOptions, CollectionPlan
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.gc.sweep import CollectionResult, Collector
from seedcorn.ops.retention.forget import choose_snapshots, forget_snapshots, undelete_snapshots
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import OpenedSegment
from seedcorn.repo.maintenance import MaintainRepository, maintained_by_owner
from seedcorn.repo.rewriting.segments import fetch_segment
from seedcorn.repo.state.state import State
from seedcorn.store.api import Store
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository, make_tree, read_tree

__all__ = ["ALONE", "HOUR_NS", "NOW", "Garden", "StoreClock", "noise", "open_garden", "plant_poor_pack"]

NOW = CollectionOptions(grace_ns=0, allow_large=True)
ALONE = DeepOptions(PackerOptions(workers=0))  # one thread, so that a crash is heard by who has to
HOUR_NS = 3600 * 10**9
Files = Mapping[str, bytes]


class StoreClock:
    """A second goes by whenever it is asked, and more when the test says so."""

    now_ns = 10**18

    def __call__(self) -> int:
        self.now_ns += 10**9
        return self.now_ns


def noise(seed: int, size: int = 8_000) -> bytes:
    """Content that does not compress. Without a size, it is of at most four chunks: longer lists of chunks lie among the listings."""
    return random.Random(seed).randbytes(size)


class Garden:
    """One repository and its people."""

    def __init__(self, repository: SmallRepository, store: MemoryStore, folder: Path) -> None:
        self.repository = repository
        self.store = store
        self._folder = folder
        self._numbers = itertools.count(1)
        self._states: list[State] = []
        self.expected: dict[SnapshotId, dict[bytes, bytes | None]] = {}

    def use(self, store: MemoryStore) -> None:
        """Go on with a copy of the store."""
        self.store = self.repository.store = store

    # -- hosts -------------------------------------------------------------------------------------------------------------------------------

    def back_up(self, files: Files, *, machine: Machine | None = None, tree: str = "tree") -> SnapshotId:
        """Back up exactly these files from the folder ``tree``; what has to come back is remembered."""
        folder = self._folder / tree
        for old in sorted(folder.rglob("*"), reverse=True):
            if old.is_file():
                old.unlink()
        make_tree(folder, files)
        result = (machine or self.repository.first).backup(folder)
        assert result.snapshot is not None and not result.problems
        self.expected[result.snapshot] = {bytes(folder / name): content for name, content in files.items()}
        return result.snapshot

    def lose_receipt(self, snapshot: SnapshotId) -> None:
        """It was never confirmed, as far as anybody can tell, and nothing has to come back."""
        (receipt,) = [key for key in self.keys("receipts") if key.endswith(snapshot.hex())]
        del self.store.objects[receipt]
        self.expected.pop(snapshot)

    # -- maintainers -------------------------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """That of a machine that has seen nothing yet."""
        return self.repository.new_state()

    def maintainer(self, store: Store | None = None) -> MaintainRepository:
        return maintained_by_owner(self.repository.owner(store))

    def open_segment(self, key: str) -> OpenedSegment:
        """What a maintainer reads in it."""
        maintainer = self.maintainer()
        return fetch_segment(maintainer, load_registry(self.store, maintainer.repository, maintainer.key.public), key)

    def forget(self, *snapshots: SnapshotId) -> None:
        maintainer = self.maintainer()
        roots = Surveyor(maintainer, self.repository.owner_state()).survey().roots
        forget_snapshots(maintainer, roots, choose_snapshots(roots, [snapshot.hex() for snapshot in snapshots]), self.repository.clock)
        for snapshot in snapshots:
            self.expected.pop(snapshot)

    def undelete(self, snapshot: SnapshotId, files: dict[bytes, bytes | None]) -> None:
        undelete_snapshots(self.maintainer(), self.repository.owner_state(), [snapshot.hex()], self.repository.clock)
        self.expected[snapshot] = files

    def collector(self, options: CollectionOptions = NOW, *, store: Store | None = None, state: State | None = None) -> Collector:
        return Collector(self.maintainer(store), state or self.repository.owner_state(), options, RecordingMonitor())

    def plan(self, options: CollectionOptions = NOW) -> CollectionPlan:
        return self.collector(options).plan(dry_run=True)

    def prune(self, options: CollectionOptions = NOW, *, store: Store | None = None, state: State | None = None) -> CollectionResult:
        collector = self.collector(options, store=store, state=state)
        return collector.carry_out(collector.plan())

    # -- the owner who reads ----------------------------------------------------------------------------------------------------------------

    def deep(
        self, options: DeepOptions = ALONE, *, max_dead: float = MAX_DEAD, store: Store | None = None, state: State | None = None
    ) -> tuple[DeepPlan, DeepResult]:
        """Write anew what is used of poor frames; nothing is pruned."""
        repository, state = self.repository.owner(store), state or self.repository.owner_state()
        survey = Surveyor(maintained_by_owner(repository), state).survey()
        plan = plan_deep(repository, state, survey, max_dead)
        return plan, Deep(repository, state, survey, plan, options, self.repository.clock, RecordingMonitor()).carry_out()

    # -- what must hold ----------------------------------------------------------------------------------------------------------------------

    def browser(self) -> Browser:
        """The view of an owner who has never seen the repository."""
        return open_browser(self.repository.owner(), self.state())

    def assert_whole(self, *, but: Collection[str] = ()) -> None:
        """Every snapshot that is confirmed and not forgotten comes back, and there is nothing to complain about but the objects of these keys."""
        browser = self.browser()
        assert {problem.object_name for problem in browser.problems} == set(but)
        assert {snapshot.id for snapshot in browser.snapshots} >= self.expected.keys()
        for snapshot, files in self.expected.items():
            found = read_tree(browser, snapshot.hex())
            assert {path: content for path, content in found.items() if content is not None} == files
        browser.state.close()

    def most_copies(self) -> int:
        """In how many packs of the store the frame is listed that is listed in most."""
        survey = Surveyor(self.maintainer(), self.state()).survey()
        lists = (record for pack in survey.packs.values() if pack.present for record in pack.records)
        return max(Counter((number, seq) for record in lists for number, seqs in record.frames().items() for seq in seqs).values())

    def keys(self, room: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(room + "/"))

    def assert_clean(self, state: State | None = None) -> None:
        """No garbage is left: a collection from here finds nothing to do."""
        assert self.collector(state=state).plan(dry_run=True).is_empty
        assert not [key for key in self.keys("gc") if key.endswith(".mark") or "probe" in key]


def plant_poor_pack(garden: Garden) -> None:
    """A pack of which less than half is needed, and a snapshot that needs that."""
    big = garden.back_up({"a": noise(1, 3_000_000), "b": noise(2, 2_000_000)})
    garden.back_up({"b": noise(2, 2_000_000)})
    garden.forget(big)
    assert garden.plan().repack, "contents are long enough to lie in frames of their own"


@contextmanager
def open_garden(store: MemoryStore | None = None, *, trust_hosts: bool = False) -> Iterator[Garden]:
    """A new repository with one host."""
    store = store or MemoryStore()
    with scratch() as folder, SmallRepository(store, folder / "states", trust_hosts=trust_hosts) as repository:
        yield Garden(repository, store, folder)
