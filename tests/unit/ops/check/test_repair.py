"""What a repair puts right, what it says is lost, and that it can be killed anywhere and never makes anything worse."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_session_id
from seedcorn.errors import IntegrityError, StoreUnavailableError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.collection import CollectionRecord, HostPacks, Stage
from seedcorn.format.names import pack_key, parse_numbered_key, parse_pack_key, segment_key
from seedcorn.format.pack import KeyRow, PackEntry, parse_trailer
from seedcorn.ids import CollectionId, PackId, SegmentId, SessionId
from seedcorn.ops import access
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckOptions, Examination, check, examine
from seedcorn.ops.check.repair import RepairResult, execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, RepairPlan, plan_repair
from seedcorn.repo.index import build_segment, open_segment, seal_segment
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.collections import build_collection
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree, read_tree

READ = CheckOptions(read_data=True)
KEEP = RepairOptions()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """About five frames of content."""
    return make_tree(tmp_path / "tree", {f"d{n % 3}/f{n}": os.urandom(400_000) for n in range(12)})


class Repairing:
    """A repository in a store, looked at and repaired as its owner would."""

    def __init__(self, repository: SmallRepository) -> None:
        self._repository = repository
        self.plan: RepairPlan

    def __call__(self, *, options: RepairOptions = KEEP, look: CheckOptions = READ) -> RepairResult:
        browser, examination = self.examine(look)
        self.plan = plan_repair(browser, examination, options)
        return execute_repair(browser, examination, self.plan, VoidMonitor())

    def examine(self, look: CheckOptions = READ) -> tuple[Browser, Examination]:
        browser = self._repository.browser()
        return browser, examine(browser, look, SystemClock(), VoidMonitor())

    def next_plan(self) -> RepairPlan:
        return plan_repair(*self.examine(), RepairOptions())


@pytest.fixture
def repair(repository: SmallRepository) -> Repairing:
    return Repairing(repository)


def problems(repository: SmallRepository, options: CheckOptions = READ) -> list[str]:
    """What a machine finds that has never seen the repository before."""
    found = check(repository.browser(fresh=True), options, SystemClock(), VoidMonitor())
    return [str(problem) for problem in found.problems]


def the_only(store: MemoryStore, kind: str) -> str:
    (key,) = keys_by_kind(store)[kind]
    return key


def restored(repository: SmallRepository, tree: Path, reference: str = "latest") -> dict[str, bytes]:
    found = read_tree(repository.browser(fresh=True), reference, os.fsencode(tree))
    return {os.fsdecode(path): content for path, content in found.items() if content is not None}


def on_disk(tree: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


# -- the index -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_segment_of_another_hosts_session_is_removed(
    place: str, repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path
) -> None:
    """Nobody believes it, and ``check`` would name it for ever. What is good in it is made anew from the packs."""
    repository.backup(tree)
    owner, key = repository.owner(), the_only(store, "segment")
    name = parse_numbered_key(key)
    assert name is not None
    opened = open_segment(store.objects[key], name, owner.repository, owner.key.index_key, access.registry(owner))
    public, packs, foreign = opened.public, opened.packs, new_session_id(repository.machine("gamma").host_file.key.host)
    if place == "outside":
        public = with_fields(public, session=foreign)
    else:
        packs = [with_fields(packs[0], frames=(with_fields(packs[0].frames[0], session=foreign),)), *packs[1:]]
    del store.objects[key]
    lie, data = seal_segment(public, packs, owner.key.index_key(0), repository.first.host_file.key.sign)
    store.objects[lie] = data
    assert any(lie in problem for problem in problems(repository))
    repair()
    assert repair.plan.remove_segments == (lie,)
    assert lie not in store.objects and problems(repository) == []
    assert restored(repository, tree) == on_disk(tree)
    assert repair.next_plan().is_empty


def test_a_segment_that_nobody_here_can_open_stays(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    """Its bytes are those of its name: a newer program may know it."""
    repository.backup(tree)
    strange = store.objects[the_only(store, "segment")] + b"more"
    key = segment_key(repository.first.host_file.key.host, 9, SegmentId(primitives.object_hash(strange)))
    store.objects[key] = strange
    assert any(key in problem for problem in problems(repository))
    repair()
    assert repair.plan.remove_segments == () and store.objects[key] == strange


def test_nothing_is_wrong(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    before = dict(store.objects)
    assert repair() == RepairResult((), (), (), (), (), collected_meanwhile=False)
    assert repair.plan.is_empty
    assert store.objects == before


@pytest.mark.parametrize("damage", ["delete", "flip"])
def test_a_segment_is_made_anew_from_the_packs(damage: str, repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    key = the_only(store, "segment")
    if damage == "delete":
        del store.objects[key]
    else:
        store.objects[key] = flip_byte(store.objects[key], 500)
    assert problems(repository)
    result = repair()
    assert {pack.key for pack in repair.plan.list_again} == {name for name in store.objects if name.startswith("packs/")}
    assert repair.plan.remove_segments == (() if damage == "delete" else (key,))
    assert len(result.new_segments) == 1
    assert problems(repository) == []
    assert restored(repository, tree) == on_disk(tree)
    assert repair.next_plan().is_empty
    before = len(keys_by_kind(store)["data pack"])
    repository.first.forget_state()
    repository.backup(tree)  # the host believes what a maintainer has listed in its room
    assert len(keys_by_kind(store)["data pack"]) == before


def test_packs_of_a_killed_run_are_listed(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    make_tree(tree, {"new": os.urandom(100_000)})
    before = set(store.objects)
    repository.backup(tree)
    for key in set(store.objects) - before:
        if not key.startswith("packs/"):
            del store.objects[key]
    repair()
    assert len(repair.plan.list_again) == 2
    assert repair.next_plan().is_empty


def test_a_pack_that_is_listed_with_another_key_is_listed_again(
    repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path
) -> None:
    """By itself it is good, and nobody can read it."""
    repository.backup(tree)
    key = the_only(store, "segment")
    name, owner = parse_numbered_key(key), repository.owner()
    assert name
    opened = open_segment(store.objects.pop(key), name, owner.repository, owner.key.index_key, access.registry(owner))
    (row,) = opened.public.key_rows
    wrong = KeyRow(row.session, row.host, row.suite, os.urandom(len(row.sealed_key)))
    store.put(*build_segment(repository.first.repository, SessionId(row.session), 1, wrong, opened.packs))
    listed = {f"{pack}: does not say of itself what the index says" for pack in store.objects if pack.startswith("packs/")}
    assert {found.partition(" (")[0] for found in problems(repository)} > listed
    repair()
    assert problems(repository) == []
    assert restored(repository, tree) == on_disk(tree)


def test_segments_of_a_host_whose_record_is_damaged_stay(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    """They are good; what is wrong is that nobody can say whose they are."""
    repository.backup(tree)
    key = the_only(store, "host record")
    store.objects[key] = flip_byte(store.objects[key], 100)
    assert problems(repository)
    plan = plan_repair(repository.browser(fresh=True), _examine_fresh(repository), RepairOptions(delete_damaged=True))
    assert plan.is_empty


def _examine_fresh(repository: SmallRepository) -> Examination:
    return examine(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor())


# -- packs -----------------------------------------------------------------------------------------------------------------------------------


def test_a_lost_pack_leaves_the_index_and_comes_back_with_the_next_backup(
    repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path
) -> None:
    repository.backup(tree)
    lost = the_only(store, "data pack")
    make_tree(tree, {"new": b"of another day"})
    repository.backup(tree)
    del store.objects[lost]
    browser, examination = repair.examine(CheckOptions())
    damage = examination.result.damage
    assert [(of_one.snapshot, of_one.paths, of_one.lost_bytes) for of_one in damage] == [
        (snapshot.id, 12, 12 * 400_000) for snapshot in browser.snapshots
    ]
    repair(look=CheckOptions())
    assert [pack.key for pack in repair.plan.give_up] == [lost]
    assert not repair.plan.list_again and not repair.plan.move
    found = problems(repository)
    assert {text.split(":")[0] for text in found} == {snapshot.key for snapshot in browser.snapshots}  # each says which frames it lacks, and no more
    result = repository.backup(tree)
    assert result.exit_code == 0
    healed = problems(repository)
    assert len(healed) == 2 and all("its files can be restored" in text for text in healed)
    for reference in ("latest", "latest~1"):
        assert restored(repository, tree, reference) == on_disk(tree)


def test_good_frames_of_a_damaged_pack_go_to_a_new_one(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    key = the_only(store, "data pack")
    store.objects[key] = flip_byte(store.objects[key], len(store.objects[key]) // 2)
    before = check(repository.browser(), READ, SystemClock(), VoidMonitor())
    result = repair()
    (moved,) = repair.plan.move
    assert (moved.key, moved.lost_frames) == (key, 1)
    assert moved.frames > 1
    assert key in store.objects
    (new_pack,) = result.new_packs
    assert new_pack in keys_by_kind(store)["data pack"]
    after = check(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor())
    assert {path.path for path in after.affected} == {path.path for path in before.affected}
    assert {problem.object_name for problem in after.problems} == {repository.browser().snapshots[0].key}
    assert repair.next_plan().is_empty
    repository.backup(tree)
    assert restored(repository, tree) == on_disk(tree)
    assert check(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor()).damage == ()


def test_a_damaged_footer_loses_nothing(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    key = the_only(store, "data pack")
    data = store.objects[key]
    _, footer_bytes = parse_trailer(data)
    store.objects[key] = flip_byte(data, len(data) - footer_bytes // 2)
    repair(options=RepairOptions(delete_damaged=True))
    assert repair.plan.move[0].lost_frames == 0
    assert repair.plan.delete_packs == (key,)
    assert key not in store.objects
    assert problems(repository) == []
    assert restored(repository, tree) == on_disk(tree)


def test_a_pack_that_is_too_long_loses_nothing(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    key = the_only(store, "data pack")
    store.objects[key] += bytes(90 << 20)
    repair(options=RepairOptions(delete_damaged=True), look=CheckOptions())
    assert problems(repository) == []


def test_pack_and_segment_are_damaged_together(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    del store.objects[the_only(store, "segment")]
    key = the_only(store, "data pack")
    store.objects[key] = flip_byte(store.objects[key], len(store.objects[key]) // 2)
    repair()
    assert len(repair.plan.list_again) == len(repair.plan.move) == 1
    assert len(check(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor()).damage) == 1
    assert repair.next_plan().is_empty


def test_only_damaged_packs_are_deleted_and_only_if_asked(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    whole = the_only(store, "listing pack")
    key = the_only(store, "data pack")
    store.objects[key] = flip_byte(store.objects[key], 5_000)
    repair()
    assert {key, whole} <= store.objects.keys()
    repair(options=RepairOptions(delete_damaged=True))
    assert repair.plan.delete_packs == (key,)
    assert not repair.plan.move
    assert key not in store.objects and whole in store.objects


def lie(store: MemoryStore, monkeypatch: pytest.MonkeyPatch, key: str, harm: Callable[[bytes], bytes], times: int = 1) -> None:
    """The next answers about this object are wrong."""
    get, lies = store.get, [key] * times

    def lying(wanted: str) -> bytes:
        data = get(wanted)
        return harm(data) if wanted in lies and lies.pop() else data

    monkeypatch.setattr(store, "get", lying)


def turned(data: bytes) -> bytes:
    return flip_byte(data, 400)


def cut_short(data: bytes) -> bytes:
    return data[:10]


@pytest.mark.parametrize("kind", ["data pack", "segment"])
def test_a_second_look_decides(
    kind: str, repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that has answered wrongly once has lost nothing."""
    repository.backup(tree)
    key = the_only(store, kind)
    browser = repository.browser()
    lie(store, monkeypatch, key, turned)
    examination = examine(browser, READ, SystemClock(), VoidMonitor())
    assert [problem.object_name for problem in examination.result.problems] == [key]
    plan = plan_repair(browser, examination, RepairOptions(delete_damaged=True))
    assert not (plan.delete_packs or plan.remove_segments or plan.move or plan.give_up)


def test_a_pack_that_a_listing_leaves_out_is_asked_for(
    repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.backup(tree)
    key, listed = the_only(store, "data pack"), store.list
    monkeypatch.setattr(store, "list", lambda prefix, **options: (info for info in listed(prefix, **options) if info.key != key))
    browser, examination = repair.examine(CheckOptions())
    assert examination.packs.missing == {key}
    assert plan_repair(browser, examination, RepairOptions()).is_empty


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("harm", [turned, cut_short])
def test_nothing_is_forgotten_for_wrong_answers(
    harm: Callable[[bytes], bytes],
    times: int,
    repository: SmallRepository,
    store: MemoryStore,
    repair: Repairing,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One to the check, and then to the repair."""
    repository.backup(tree)
    browser = repository.browser()
    lie(store, monkeypatch, the_only(store, "data pack"), harm, times)
    examination = examine(browser, READ, SystemClock(), VoidMonitor())
    plan = plan_repair(browser, examination, RepairOptions())
    assert plan.is_empty == (times < 3)
    with suppress(IntegrityError):
        execute_repair(browser, examination, plan, VoidMonitor())
    assert problems(repository) == []


def test_nothing_is_deleted_for_wrong_answers(
    repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.backup(tree)
    key = the_only(store, "data pack")
    del store.objects[the_only(store, "segment")]
    browser, examination = repair.examine()
    lie(store, monkeypatch, key, turned, times=2)
    plan = plan_repair(browser, examination, RepairOptions(delete_damaged=True))
    assert plan.delete_packs == (key,)
    with suppress(IntegrityError):
        execute_repair(browser, examination, plan, VoidMonitor())
    assert key in store.objects


def test_entries_that_share_a_segment_with_a_lost_pack_stay(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    segment = the_only(store, "segment")
    del store.objects[the_only(store, "data pack")]
    result = repair()
    assert result.removed_segments == (segment,)
    name, old = parse_numbered_key(result.new_segments[0]), parse_numbered_key(segment)
    assert name is not None and old is not None and name.number == old.number + 1
    assert problems(repository, CheckOptions())  # the listing pack is listed: what is lost can be named
    assert {os.fsdecode(path.path) for path in check(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor()).affected} == set(
        on_disk(tree)
    )


# -- what is not touched ---------------------------------------------------------------------------------------------------------------------


def test_what_is_listed_in_two_ways_stays_so(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    """Which of them is right is not asked when another pack in the same segments has been lost."""
    repository.backup(tree)
    key = the_only(store, "segment")
    name, owner = parse_numbered_key(key), repository.owner()
    assert name
    opened = open_segment(store.objects[key], name, owner.repository, owner.key.index_key, access.registry(owner))
    (row,), (data, listing) = opened.public.key_rows, sorted(opened.packs, key=lambda entry: entry.kind)
    lie = PackEntry(data.pack, data.kind, data.frames[:1])
    store.put(*build_segment(repository.first.repository, SessionId(row.session), 0, row, [lie, listing]))
    del store.objects[pack_key(name.host, PackId(listing.pack))]
    repair()
    assert len(IndexedFrames.of(repository.browser(fresh=True).state)) == len(data.frames) > 1


def test_a_damaged_snapshot_is_named_and_left(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    repository.backup(tree)
    key = keys_by_kind(store)["snapshot"][0]
    store.objects[key] = flip_byte(store.objects[key], 300)
    plan = plan_repair(repository.browser(fresh=True), _examine_fresh(repository), RepairOptions(delete_damaged=True))
    assert plan.is_empty
    assert [text for text in problems(repository) if key in text]
    assert restored(repository, tree) == on_disk(tree)


def test_of_two_snapshots_with_one_number_both_stay(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    without = dict(store.objects)
    repository.backup(tree)
    forked = {key: data for key, data in store.objects.items() if key not in without}
    store.objects = without
    repository.first.forget_state()
    make_tree(tree, {"new": b"x"})
    repository.backup(tree)
    store.objects |= forked
    assert any("cloned or forked" in text for text in problems(repository))
    repair(options=RepairOptions(delete_damaged=True))
    assert len(keys_by_kind(store)["snapshot"]) == 3


def test_packs_of_a_host_that_is_not_enrolled_are_nobodys(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    data = store.objects[the_only(store, "data pack")]
    store.put(f"packs/{'ab' * 16}/{primitives.object_hash(data).hex()}", data)
    repair()
    assert repair.plan.is_empty


def sweep(owner: OwnerRepository, store: MemoryStore, keys: list[str], *, kept: list[str] | None = None) -> None:
    """A collection that is about to delete packs, or is done and has kept some."""
    collection = CollectionId(b"collect!")
    for stage, named in ((Stage.SWEEP, keys), (Stage.DONE, kept)):
        if named is not None:
            packs = tuple(HostPacks(name[0], (name[1],)) for key in named if (name := parse_pack_key(key)))
            record = CollectionRecord(repository=owner.repository, number=1, collection=collection, stage=stage, packs=packs, relocations=())
            store.put(*build_collection(record, owner.key.maintain_key().sign))


@pytest.mark.parametrize("end", ["unfinished", "done", "done and kept"])
def test_what_is_for_a_collection_to_delete_is_left_to_it(
    end: str, repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path
) -> None:
    repository.backup(tree)
    needed = set(store.objects)
    make_tree(tree, {"new": os.urandom(100_000)})
    repository.backup(tree)
    for key in keys_by_kind(store)["segment"]:
        del store.objects[key]
    del store.objects[keys_by_kind(store)["snapshot"][1]]
    packs = [key for key in store.objects if key.startswith("packs/")]
    sweep(repository.owner(), store, packs, kept={"unfinished": None, "done": [], "done and kept": packs}[end])
    repair()
    expected = {key for key in packs if key in needed or end == "done and kept"}
    assert {pack.key for pack in repair.plan.list_again} == expected  # the others no snapshot needs
    assert set(repair.plan.swept) == set(packs) - expected


def test_what_a_collection_has_deleted_stays_listed(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    """It may have been listed only after the sweep, which could not name its frames: then nothing else tells why a torn snapshot lacks them."""
    repository.backup(tree)
    key, (segment,) = the_only(store, "data pack"), keys_by_kind(store)["segment"]
    sweep(repository.owner(), store, [key], kept=[])
    del store.objects[key]
    repair()
    assert repair.plan.is_empty
    assert segment in store.objects


def test_a_collection_meanwhile_is_told(repository: SmallRepository, store: MemoryStore, repair: Repairing, tree: Path) -> None:
    repository.backup(tree)
    del store.objects[the_only(store, "segment")]
    browser, examination = repair.examine()
    plan = plan_repair(browser, examination, RepairOptions())
    sweep(repository.owner(), store, [])
    assert execute_repair(browser, examination, plan, VoidMonitor()).collected_meanwhile
    assert not repair().collected_meanwhile


# -- plan and execution ----------------------------------------------------------------------------------------------------------------------


def harm(store: MemoryStore) -> None:
    """Something of everything."""
    of_kind = set(keys_by_kind(store)["data pack"])
    data = [key for key in store.objects if key in of_kind]  # as they were put: the first two are not in the last segment
    store.objects[data[0]] = flip_byte(store.objects[data[0]], len(store.objects[data[0]]) // 2)
    del store.objects[data[1]]
    segments = keys_by_kind(store)["segment"]
    store.objects[segments[-1]] = flip_byte(store.objects[segments[-1]], 200)


@pytest.fixture
def harmed(repository: SmallRepository, store: MemoryStore, tree: Path) -> SmallRepository:
    for n in range(4):
        make_tree(tree, {f"new{n}": os.urandom(1_300_000)})
        repository.backup(tree)
    harm(store)
    return repository


def test_a_plan_changes_nothing(harmed: SmallRepository, store: MemoryStore) -> None:
    before = dict(store.objects)
    recording = RecordingStore(store)
    browser = harmed.browser(store=recording)
    plan = plan_repair(browser, examine(browser, READ, SystemClock(), VoidMonitor()), RepairOptions(delete_damaged=True))
    assert plan.list_again and plan.move and plan.give_up and plan.replace_segments and plan.remove_segments and plan.delete_packs
    assert store.objects == before
    assert not [call for call in recording.calls if call.verb in ("put", "delete")]


def test_what_has_changed_since_the_plan_is_refused(harmed: SmallRepository, store: MemoryStore, repair: Repairing) -> None:
    browser, examination = repair.examine()
    plan = plan_repair(browser, examination, RepairOptions())
    key = plan.list_again[0].key
    store.objects[key] = flip_byte(store.objects[key], 1_000)
    with pytest.raises(IntegrityError, match="run the same command again"):
        execute_repair(browser, examination, plan, VoidMonitor())


class Crashing(WrappedStore):
    """Fails at its n-th change, after making it or before."""

    def __init__(self, inner: MemoryStore, calls: int, *, after: bool) -> None:
        super().__init__(inner)
        self._calls = calls
        self._after = after

    def put(self, key: str, data: object) -> None:
        self._change(lambda: self._inner.put(key, data))  # type: ignore[arg-type]  # passed on as it is

    def delete(self, keys: object) -> None:
        self._change(lambda: self._inner.delete(keys))  # type: ignore[arg-type]  # passed on as it is

    def _change(self, change: object) -> None:
        self._calls -= 1
        if self._calls == 0 and not self._after:
            raise StoreUnavailableError("crashed before")
        change()  # type: ignore[operator]  # a function
        if self._calls == 0:
            raise StoreUnavailableError("crashed after")


@pytest.mark.parametrize("after", [False, True])
def test_a_repair_may_be_killed_anywhere(after: bool, harmed: SmallRepository, store: MemoryStore, repair: Repairing) -> None:
    objects = dict(store.objects)
    whole = repair(options=RepairOptions(delete_damaged=True))
    assert whole.new_packs and whole.removed_packs
    expected = damage_of(harmed)
    for calls in range(1, 10):
        store.objects = dict(objects)
        browser, examination = repair.examine()
        plan = plan_repair(browser, examination, RepairOptions(delete_damaged=True))
        crashing = Browser(
            replace(browser.repository, store=Crashing(store, calls, after=after)),
            browser.state,
            browser.hosts,
            browser.snapshots,
            browser.problems,
            browser.roots,
        )
        try:
            execute_repair(crashing, examination, plan, VoidMonitor())
        except StoreUnavailableError:
            repair(options=RepairOptions(delete_damaged=True))
            assert damage_of(harmed) == expected
            assert repair.next_plan().is_empty
        else:
            assert calls > 4
            return
    raise AssertionError("a repair of so little takes fewer changes")


def damage_of(repository: SmallRepository) -> set[tuple[bytes, bytes, int]]:
    result = check(repository.browser(fresh=True), READ, SystemClock(), VoidMonitor())
    assert all(problem.object_name.startswith("snapshots/") for problem in result.problems), result.problems
    return {(path.snapshot, path.path, path.lost_bytes) for path in result.affected}
