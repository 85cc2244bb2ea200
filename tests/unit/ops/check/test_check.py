"""What a check counts, finds and names; that it looks at the store and not at what it remembers; and that many snapshots cost little."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import StoreUnavailableError
from seedcorn.events import Counter, RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.collection import CollectionRecord, HostPacks, Stage
from seedcorn.format.names import parse_numbered_key, parse_pack_key
from seedcorn.ids import PackId
from seedcorn.ops import access
from seedcorn.ops.backup import run as backup_run
from seedcorn.ops.browse import Browser
from seedcorn.ops.check import findings as check_findings
from seedcorn.ops.check.check import CheckOptions, CheckResult, check
from seedcorn.ops.check.choice import AmountOfBytes, Part, Percentage
from seedcorn.repo.index import open_segment
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.packs import entries_digest, open_pack
from seedcorn.repo.rewriting.repacking import LiveFrames, repack
from seedcorn.repo.rewriting.segments import rewrite_segments, write_segment
from seedcorn.repo.roots.collections import build_collection
from seedcorn.repo.roots.needed import needed_frames
from seedcorn.repo.roots.verified import read_verified
from seedcorn.store.wrappers import RecordingStore
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

DAY_NS = 24 * 3_600 * 10**9


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", {f"d{n % 4}/f{n}": os.urandom(n * 1_000) for n in range(20)})


def run(browser: Browser, *, read_data: bool = False, monitor: RecordingMonitor | None = None) -> CheckResult:
    return check(browser, CheckOptions(read_data=read_data), SystemClock(), monitor or VoidMonitor())


def test_an_empty_repository(repository: SmallRepository) -> None:
    result = run(repository.browser(), read_data=True)
    assert (result.exit_code, result.snapshots, result.hosts, result.packs) == (0, 0, 1, 0)


def test_a_good_repository(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    for _ in range(3):
        repository.backup(tree)
    monitor = RecordingMonitor()
    result = run(repository.browser(), read_data=True, monitor=monitor)
    assert result.problems == ()
    assert (result.exit_code, result.snapshots, result.hosts, result.segments, result.packs) == (0, 3, 1, 1, 2)
    assert result.frames == len(list(repository.browser().state.frames()))
    assert result.pack_bytes == sum(len(data) for key, data in store.objects.items() if key.startswith("packs/"))
    assert monitor.counted[Counter.CHECKED_OBJECTS] == len(store.objects)
    assert monitor.counted[Counter.CHECKED_BYTES] == result.checked_bytes == monitor.expected[Counter.CHECKED_BYTES]
    assert monitor.errors == []


def test_without_read_data_no_data_pack_is_read(repository: SmallRepository, store: MemoryStore, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.backup(tree)
    browser = repository.browser()
    (data_pack,) = keys_by_kind(store)["data pack"]
    get_range = store.get_range

    def watched(key: str, start: int, length: int) -> bytes:
        assert key != data_pack
        return get_range(key, start, length)

    monkeypatch.setattr(store, "get_range", watched)
    assert run(browser).exit_code == 0


def test_a_hundred_similar_snapshots_cost_little(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    repository.backup(tree)
    browser = repository.browser(fresh=True)
    before = store.requests.get
    run(browser)
    of_one = store.requests.get - before
    for n in range(20):
        (tree / "d1" / "f1").write_bytes(b"%d" % n)
        repository.backup(tree)
    browser = repository.browser(fresh=True)
    before = store.requests.get
    assert run(browser).snapshots == 21
    metadata = 3 * 20  # a snapshot, a receipt and a segment each
    frames = len(list(browser.state.frames()))
    assert store.requests.get - before <= of_one + metadata + frames


def test_packs_that_no_segment_lists_are_counted_and_no_problem(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    repository.backup(tree)
    store.put(f"packs/{'ab' * 16}/{'cd' * 32}", b"of a killed session")
    result = run(repository.browser(), read_data=True)
    assert (result.exit_code, result.unreferenced_packs, result.unreferenced_bytes) == (0, 1, 19)


def test_the_files_that_a_damaged_pack_takes_are_named_in_every_snapshot(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    for _ in range(2):
        repository.backup(tree)
    (key,) = keys_by_kind(store)["data pack"]
    store.objects[key] = flip_byte(store.objects[key], len(store.objects[key]) // 2)
    browser = repository.browser()
    result = run(browser, read_data=True)
    assert [problem.object_name for problem in result.problems] == [key]
    assert "1 of its" in result.problems[0].message
    assert tuple(damage.snapshot for damage in result.damage) == tuple(snapshot.id for snapshot in browser.snapshots)
    assert {path.path for path in result.affected} <= {os.fsencode(file) for file in tree.rglob("f*")}
    assert len(result.affected) == result.affected_count > 0


def test_the_list_of_files_ends_and_the_count_does_not(
    repository: SmallRepository, store: MemoryStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.backup(tree)
    (key,) = keys_by_kind(store)["data pack"]
    del store.objects[key]
    monkeypatch.setattr(check_findings, "AFFECTED_LIMIT", 5)
    result = run(repository.browser())
    assert (len(result.affected), result.affected_count) == (5, 19)  # one of the twenty files is empty


def test_a_snapshot_whose_set_of_frames_is_too_small(repository: SmallRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restoring would work today; collection would take the frames away. Such a snapshot is what a bug in the writer would make."""
    monkeypatch.setattr(backup_run, "needed_frames", lambda frames, session_of: needed_frames(type(frames)(list(frames)[1:]), session_of))
    repository.backup(tree)
    browser = repository.browser()
    (problem,) = run(browser).problems
    assert problem.object_name == browser.snapshots[0].key
    assert "lacks 1 " in problem.message


def test_a_store_that_does_not_answer_is_no_verdict(
    repository: SmallRepository, store: MemoryStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.backup(tree)
    browser = repository.browser()

    def silent(key: str) -> bytes:
        raise StoreUnavailableError("no answer", key=key)

    monkeypatch.setattr(store, "get", silent)
    with pytest.raises(StoreUnavailableError):
        run(browser)


def test_problems_of_the_browser_come_first_and_once(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    for _ in range(2):
        repository.backup(tree)
    key = keys_by_kind(store)["snapshot"][0]
    store.objects[key] = flip_byte(store.objects[key], 100)
    monitor = RecordingMonitor()
    result = run(repository.browser(fresh=True), monitor=monitor)
    assert [problem.object_name for problem in result.problems] == [key]
    assert list(result.problems) == monitor.errors


# -- which packs are read --------------------------------------------------------------------------------------------------------------------


class Days:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.day = 20_000

    def now_ns(self) -> int:
        return self.day * DAY_NS

    def elapsed_ns(self) -> int:
        return self.now_ns()


def read(repository: SmallRepository, clock: Days, **options: Any) -> CheckResult:
    return check(repository.browser(), CheckOptions(read_data=True, **options), clock, VoidMonitor())


@pytest.fixture
def many_packs(repository: SmallRepository, tree: Path) -> SmallRepository:
    """Twelve, in six runs."""
    for n in range(6):
        make_tree(tree, {f"new{n}": os.urandom(2_000)})
        repository.backup(tree)
    return repository


def test_parts_by_the_packs_ids(many_packs: SmallRepository) -> None:
    results = [read(many_packs, Days(), subset=Part(number, 3)) for number in (1, 2, 3)]
    assert sum(result.read_packs for result in results) == 12
    assert all(result.read_packs + result.skipped_packs == 12 for result in results)


def test_packs_that_were_verified_lately_are_left_out(many_packs: SmallRepository) -> None:
    clock = Days()
    assert read(many_packs, clock, max_age_ns=10 * DAY_NS).read_packs == 12
    clock.day += 9
    assert read(many_packs, clock, max_age_ns=10 * DAY_NS).skipped_packs == 12
    assert read(many_packs, clock, subset=AmountOfBytes(1), max_age_ns=9 * DAY_NS).read_packs == 1  # which is now fresh
    clock.day += 1
    assert read(many_packs, clock, max_age_ns=10 * DAY_NS).read_packs == 11
    clock.day -= 100
    assert read(many_packs, clock, max_age_ns=10 * DAY_NS).read_packs == 12  # the clock was set back: what it says is no reason to read less


def test_a_share_of_what_is_due_comes_round(many_packs: SmallRepository) -> None:
    clock = Days()
    for left in (8, 4, 0):
        due = read(many_packs, clock, subset=Percentage(33 if left == 8 else 50 if left == 4 else 100), max_age_ns=30 * DAY_NS)
        assert due.read_packs == 4
        clock.day += 1
    assert read(many_packs, clock, max_age_ns=30 * DAY_NS).read_packs == 0


def test_a_damaged_pack_is_never_fresh(many_packs: SmallRepository, store: MemoryStore) -> None:
    key = keys_by_kind(store)["data pack"][0]
    store.objects[key] = flip_byte(store.objects[key], len(store.objects[key]) // 2)
    for _ in range(2):
        result = read(many_packs, Days(), max_age_ns=10 * DAY_NS)
        assert [problem.object_name for problem in result.problems] == [key]
    assert result.read_packs == 1


def test_what_has_been_verified_is_published_once(many_packs: SmallRepository, store: MemoryStore) -> None:
    key = keys_by_kind(store)["data pack"][0]
    pristine = store.objects[key]
    store.objects[key] = flip_byte(pristine, len(pristine) // 2)
    assert read(many_packs, Days(), publish=True).published_packs == 11
    store.objects[key] = pristine
    assert read(many_packs, Days()).published_packs == 0
    assert read(many_packs, Days(), publish=True).published_packs == 1
    before = len(store.objects)
    assert read(many_packs, Days(), publish=True).published_packs == 0
    assert len(store.objects) == before
    owner = many_packs.owner()
    verified = read_verified(store, many_packs.owner_state(), owner.repository, owner.key.public)
    assert verified.problems == ()
    segments = [(parse_numbered_key(key), store.objects[key]) for key in keys_by_kind(store)["segment"]]
    believed = [
        verified.believes(name.host, PackId(entry.pack), entries_digest(opened.public.domain, entry.kind, entry.frames, opened.public.key_rows))
        for name, data in segments
        if name is not None
        for opened in [open_segment(data, name, owner.repository, owner.key.index_key, access.registry(owner))]
        for entry in opened.packs
    ]
    assert believed == [True] * 12


def test_how_often_each_room_is_listed(many_packs: SmallRepository, store: MemoryStore) -> None:
    recording = RecordingStore(store)
    browser = many_packs.browser(store=recording)
    assert run(browser).exit_code == 0
    rooms = [call.key for call in recording.calls if call.verb == "list"]
    records = ("receipts/", "gc/", "forget/", "relocations/")  # once to judge the snapshots, and once to look at each of them anew
    assert sorted(rooms) == sorted([*records, *records, "checkpoints/", "keys/", "hosts/", "packs/", "index/", "snapshots/", "verified/", "spares/"])


def test_a_frame_with_a_good_copy_is_not_lost(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    """As when a collection has been killed between putting a pack that others were moved into and removing those."""
    repository.backup(tree)
    (key,) = keys_by_kind(store)["data pack"]
    name = parse_pack_key(key)
    assert name
    maintained = maintained_by_owner(repository.owner())
    opened = open_pack(store.objects[key], name[0], maintained.repository, repository.owner().key)
    live = LiveFrames(*name, opened.head.kind, 0, opened.frames, tuple(map(opened.sealed_frame, opened.frames)), opened.head.key_rows)
    (new,) = repack(maintained, [live])
    store.put(new.key, new.data)
    store.put(*write_segment(maintained, name[0], 0, 2, new.rows, [new.entry]))
    store.objects[key] = flip_byte(store.objects[key], len(store.objects[key]) // 2)
    result = run(repository.browser(fresh=True), read_data=True)
    assert [problem.object_name for problem in result.problems] == [key]
    assert result.damage == ()
    del store.objects[key]
    assert run(repository.browser(fresh=True)).damage == ()


# -- beside a collection ---------------------------------------------------------------------------------------------------------------------


def rewrite_index(repository: SmallRepository, store: MemoryStore) -> None:
    """As a collection does: one new segment in the place of all."""
    owner = repository.owner()
    old = keys_by_kind(store)["segment"]
    for key, data in rewrite_segments(maintained_by_owner(owner), access.registry(owner), old, (), 100):
        store.put(key, data)
    store.delete(old)


def test_segments_that_a_maintainer_rewrites_meanwhile_are_no_problem(many_packs: SmallRepository, store: MemoryStore) -> None:
    browser = many_packs.browser()
    rewrite_index(many_packs, store)
    result = run(browser, read_data=True)
    assert (result.problems, result.packs, result.segments, result.unreferenced_packs) == ((), 12, 1, 0)


def test_a_segment_that_goes_and_leaves_nothing_is_one(many_packs: SmallRepository, store: MemoryStore) -> None:
    browser = many_packs.browser()
    key = keys_by_kind(store)["segment"][0]
    del store.objects[key]
    assert [problem.object_name for problem in run(browser).problems] == [key]


def test_a_pack_that_a_collection_has_taken_may_be_listed_as_long_as_nothing_needs_it(
    repository: SmallRepository, store: MemoryStore, tree: Path
) -> None:
    """A maintainer who rewrote a segment meanwhile may have listed it once more."""
    repository.backup(tree)
    kept = {key for key in store.objects if key.startswith("packs/")}
    make_tree(tree, {"new": os.urandom(50_000)})
    repository.backup(tree)
    first, second = keys_by_kind(store)["snapshot"]
    owner, stage = repository.owner(), Stage.SWEEP
    packs = tuple(HostPacks(name[0], (name[1],)) for key in store.objects if (name := parse_pack_key(key)) and key not in kept)
    record = CollectionRecord(repository=owner.repository, number=1, collection=b"collect!", stage=stage, packs=packs, relocations=())
    store.put(*build_collection(record, owner.key.maintain_key().sign))
    for key in [key for key in store.objects if key.startswith("packs/") and key not in kept]:
        del store.objects[key]
    problems = run(repository.browser(fresh=True)).problems
    assert any("a collection has deleted" in problem.message and problem.object_name == second for problem in problems)
    assert not any(problem.object_name == first for problem in problems)
    store.delete([second, second.replace("snapshots/", "receipts/")])
    assert run(repository.browser(fresh=True)).problems == ()


def test_an_unconfirmed_snapshot_that_a_collection_has_torn_is_no_damage(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    """Its host was killed before it could take the snapshot back. A confirmed one that lacks something is damage, whoever took it."""
    repository.backup(tree)
    (snapshot,) = repository.browser().snapshots
    for room in ("packs/", "index/"):
        store.delete([key for key in store.objects if key.startswith(room)])
    receipt = snapshot.key.replace("snapshots/", "receipts/")
    content = store.objects[receipt]
    store.delete([receipt])
    assert run(repository.browser(fresh=True)).problems
    owner = repository.owner()
    record = CollectionRecord(
        repository=owner.repository, number=1, collection=b"collect!", stage=Stage.SWEEP, frames=snapshot.maintain.needed, relocations=()
    )
    store.put(*build_collection(record, owner.key.maintain_key().sign))
    assert run(repository.browser(fresh=True)).problems == ()
    store.put(receipt, content)
    assert repository.browser(fresh=True).snapshots == ()  # torn: the host went on and never reported success
