"""Deep pruning: what is stored comes near what would have to be, every snapshot comes back, and whatever happens in between loses nothing.

Every call in the slow tests, one in seven in the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.collections.garden import ALONE, HOUR_NS, NOW, Garden, StoreClock, noise, open_garden
from tests.collections.interrupted import BeforePutStore, Crash, CrashingStore, MeanwhileStore, When, strides

from seedcorn.crypto.keys import HostKey, new_session_id, new_session_key
from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.format.collection import VerifiedPack
from seedcorn.format.pack import PackKind, parse_pack_head
from seedcorn.ids import ChunkId, HostId, SessionId, SnapshotId
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.deep.deep import Deep
from seedcorn.ops.deep.plan import DeepPlan, plan_deep
from seedcorn.ops.gc.plan import CollectionOptions
from seedcorn.ops.gc.survey import Survey, Surveyor
from seedcorn.repo.content import frame_writer
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.rewriting.regrouping import Regrouping
from seedcorn.repo.roots.roots import Standing
from seedcorn.repo.roots.verified import publish_verified
from seedcorn.repo.state.state import FramePlace
from seedcorn.testing.damage import copy_store, flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore

Files = dict[str, bytes]


def plant(garden: Garden) -> None:
    """Two hosts, each with a frame of which a fifth is used, and what it came from forgotten."""
    second = garden.repository.machine("second")
    many = {f"f{number}": noise(number) for number in range(10)}
    first = garden.back_up(many)
    other = garden.back_up({name: noise(50 + number) for number, name in enumerate(many)}, machine=second, tree="other")
    garden.back_up({"f1": many["f1"], "f7": many["f7"], "new": noise(20)})
    garden.back_up({"f1": many["f1"], "new": noise(20), "newer": noise(21, 30_000)})
    garden.back_up({"f3": noise(53)}, machine=second, tree="other")
    garden.forget(first, other)


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        plant(made)
        yield made


def stored_bytes(garden: Garden) -> int:
    return sum(len(garden.store.objects[key]) for key in garden.keys("packs"))


def look(garden: Garden) -> tuple[Survey, DeepPlan]:
    """What a machine that has seen nothing yet finds poor."""
    repository, state = garden.repository.owner(), garden.state()
    survey = Surveyor(maintained_by_owner(repository), state).survey()
    return survey, plan_deep(repository, state, survey)


def assert_finished(garden: Garden) -> None:
    """Nothing is poor, nothing is announced, nothing is garbage, and everything is there."""
    state = garden.state()
    garden.prune(state=state)
    garden.prune(state=state)
    garden.assert_whole()
    garden.assert_clean(state)
    survey, plan = look(garden)
    assert plan.frames == ()
    assert survey.roots.relocations.pending({root.ref for root in survey.roots.snapshots}) == []
    state.close()


def assert_checked(garden: Garden) -> None:
    result = check(garden.browser(), CheckOptions(read_data=True), garden.repository.clock, RecordingMonitor())
    assert result.problems == ()


# -- what it is for --------------------------------------------------------------------------------------------------------------------------


def days(count: int) -> Iterator[Files]:
    """A tree of 40 files, an eighth of which is replaced every day."""
    chosen = random.Random(1)
    files = {f"f{number:02}": noise(number, 60_000) for number in range(40)}
    yield dict(files)
    for day in range(1, count):
        files |= {f"f{number:02}": noise(1000 * day + number, 60_000) for number in chosen.sample(range(40), 5)}
        yield dict(files)


def test_stored_bytes_fall_near_those_of_a_fresh_repository() -> None:
    trees = list(days(16))
    with open_garden() as fresh:
        for files in trees[-2:]:
            fresh.back_up(files)
        least = stored_bytes(fresh)
    with open_garden() as garden:
        snapshots = [garden.back_up(files) for files in trees]
        garden.forget(*snapshots[:-2])
        garden.prune()
        garden.prune()
        garden.assert_whole()
        before = stored_bytes(garden)
        assert before > 1.5 * least
        plan, result = garden.deep()
        assert result.problems == () and result.frames == len(plan.frames) > 5
        assert result.written_bytes == pytest.approx(plan.written_bytes, rel=0.1)
        assert {poor.snapshot.id for poor in plan.snapshots} == set(snapshots[-2:])
        garden.assert_whole()
        garden.prune(replace(NOW, emptied=plan.packs))
        garden.prune()
        after = stored_bytes(garden)
        assert after < before - plan.freed_bytes // 2
        assert after < 1.35 * least  # frames of which up to half is dead may stay
        garden.assert_whole()
        assert_checked(garden)
        assert_finished(garden)
        garden.deep(max_dead=0.0)
        assert_finished(garden)
        assert stored_bytes(garden) < 1.02 * least
        garden.assert_whole()


def test_nothing_is_to_be_done_where_nothing_is_dead() -> None:
    with open_garden() as garden:
        garden.back_up({"a": noise(1), "b": noise(2)})
        before = dict(garden.store.objects)
        plan, result = garden.deep(max_dead=0.0)
        assert plan.frames == () and (result.frames, result.read_bytes, result.written_bytes) == (0, 0, 0)
        assert garden.store.objects == before


def test_snapshots_stay_what_they_are(garden: Garden) -> None:
    """Ids, times, groups and receipts; only what they need is another thing, and a maintainer knows that too."""
    before = {root.ref: root for root in look(garden)[0].roots.snapshots}
    garden.deep()
    after = {root.ref: root for root in look(garden)[0].roots.snapshots}
    assert before.keys() == after.keys()
    for ref, root in before.items():
        assert (after[ref].public, after[ref].parts, after[ref].standing, after[ref].stored_ns) == (
            root.public,
            root.parts,
            root.standing,
            root.stored_ns,
        )
        assert after[ref].maintain.group == root.maintain.group
        relocated = root.standing is Standing.CONFIRMED
        assert (after[ref].maintain.needed != root.maintain.needed) is relocated


def test_in_batches(garden: Garden) -> None:
    garden.deep(replace(ALONE, batch_bytes=1))
    assert len(garden.keys("relocations")) == 4
    garden.assert_whole()
    assert_finished(garden)


def test_again_and_again() -> None:
    """What was written anew becomes poor in its turn."""
    with open_garden() as garden:
        names = [f"f{number}" for number in range(12)]
        for round_number in range(4):
            names = names[: 12 - 3 * round_number]
            snapshots = list(garden.expected)
            garden.back_up({name: noise(int(name[1:]), 20_000) for name in names})
            garden.forget(*snapshots)
            garden.deep(max_dead=0.2)
            assert_finished(garden)
        assert len(garden.keys("relocations")) == 6
        assert stored_bytes(garden) < 75_000
        garden.back_up({name: noise(int(name[1:]), 20_000) for name in names})
        garden.assert_whole()


def test_a_host_goes_on_reusing_what_was_moved(garden: Garden) -> None:
    plan, _ = garden.deep()
    garden.prune(replace(NOW, emptied=plan.packs))
    before = set(garden.keys("packs"))
    with closing(garden.repository.machine_again()) as host:
        garden.back_up({"f1": noise(1), "f7": noise(7), "copy": noise(1)}, machine=host)
    new = set(garden.keys("packs")) - before
    assert sum(len(garden.store.objects[key]) for key in new) < 4_000
    garden.assert_whole()


def test_between_the_steps_of_a_prune_hosts_do_not_come_back_to_what_was_emptied(garden: Garden) -> None:
    """The packs are marked, not yet deleted: who backs up meanwhile needs the new frames."""
    plan, _ = garden.deep()
    garden.prune(replace(NOW, emptied=plan.packs, grace_ns=1))
    garden.back_up({"f1": noise(1), "f7": noise(7)})
    garden.assert_whole()
    assert_finished(garden)


def test_other_hosts_go_on_believing_what_the_owner_has_verified(garden: Garden) -> None:
    survey, _ = look(garden)
    packs = [VerifiedPack(record.host, record.pack, record.digest) for pack in survey.packs.values() for record in pack.records]
    publish_verified(garden.repository.owner(), packs, 1)
    garden.deep()
    assert_finished(garden)
    before = set(garden.keys("packs"))
    garden.back_up({"mine": noise(1)}, machine=garden.repository.machine("third"), tree="third")
    assert sum(len(garden.store.objects[key]) for key in set(garden.keys("packs")) - before) < 4_000
    garden.assert_whole()


def test_each_domain_of_a_host_that_was_moved_is_for_itself() -> None:
    with open_garden() as garden:
        plant(garden)
        garden.repository.move(garden.repository.first, "new")
        many = {f"f{number}": noise(number) for number in range(10)}
        garden.forget(garden.back_up(many), garden.back_up({**many, "more": noise(30)}))
        garden.back_up({"f2": many["f2"], "f3": many["f3"]})
        before = set(garden.keys("packs"))
        plan, result = garden.deep()
        assert result.problems == () and result.frames == len(plan.frames) > 2
        written = {parse_pack_head(garden.store.objects[key])[0].domain for key in set(garden.keys("packs")) - before}
        assert written == {0, 1}
        assert_finished(garden)
        assert_checked(garden)


def test_what_only_an_unconfirmed_snapshot_needs_is_left_alone(garden: Garden) -> None:
    unconfirmed = garden.back_up({"f2": noise(2), "g": noise(77)})
    garden.lose_receipt(unconfirmed)
    _, plan = look(garden)
    needed = {poor.snapshot.public.host for poor in plan.snapshots}
    assert len(needed) == 1  # the second host's
    garden.deep()
    garden.assert_whole()


def test_frames_that_are_fetched_together_are_opened_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some megabytes of frames that compress well would be gigabytes at once."""
    with open_garden() as garden:
        smalls = {f"f{number}s": noise(number) for number in range(4)}
        bigs = {f"f{number}b": b"".join(b"%d %d\n" % (number, line) for line in range(110_000)) for number in range(4)}
        first = garden.back_up(smalls | bigs)
        garden.back_up(smalls)
        garden.forget(first)
        steps: list[str] = []
        opening, adding = Reader.open_frame, Regrouping.add

        def open_frame(self: Reader, ordinal: int, place: FramePlace, sealed: bytes | memoryview) -> bytes | memoryview:
            steps.append("listing" if place.kind == PackKind.LISTING else "opened")
            return opening(self, ordinal, place, sealed)

        def add(self: Regrouping, kind: PackKind, chunk_id: ChunkId, data: bytes | memoryview) -> int:
            steps.append("added")
            return adding(self, kind, chunk_id, data)

        monkeypatch.setattr(Reader, "open_frame", open_frame)
        monkeypatch.setattr(Regrouping, "add", add)
        garden.deep()
        assert steps.count("opened") > 2
        assert all(step == "added" for before, step in pairwise(steps) if before == "opened")
        garden.assert_whole()


# -- damage ----------------------------------------------------------------------------------------------------------------------------------


def test_a_frame_that_can_not_be_read_stays_as_it_is(garden: Garden) -> None:
    first_pack = garden.keys("packs")
    survey, plan = look(garden)
    host = garden.repository.first.host_file.key.host
    (name,) = [name for name in plan.packs if name[0] == host]
    key = next(key for key in first_pack if key.endswith(name[1].hex()))
    garden.store.objects[key] = flip_byte(garden.store.objects[key], 5_000)
    _, result = garden.deep()
    assert len(result.problems) == 1 and result.exit_code == 13
    assert result.frames == len(plan.frames) - 1
    after, _ = look(garden)
    assert all(ref.host != host for ref in after.roots.relocations.ruling)
    assert survey.packs.keys() <= after.packs.keys()


def test_frames_of_one_name_in_two_packs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is set back to where it was in the middle of a session goes on in it a second time: snapshots may need chunks of both frames."""
    with open_garden() as garden:
        with monkeypatch.context() as patch:
            begin_one_session(patch)
            both = [garden.back_up({f"{part}{number}": noise(number + at) for number in range(10)}) for part, at in (("f", 0), ("g", 100))]
        garden.back_up({"f1": noise(1), "g1": noise(101)})
        garden.forget(*both)
        assert len(look(garden)[0].packs) > 4
        plan, result = garden.deep(max_dead=0.0)
        assert result.problems == ()
        garden.prune(replace(NOW, emptied=plan.packs))
        garden.prune()
        garden.assert_whole()
        assert_checked(garden)


def begin_one_session(patch: pytest.MonkeyPatch) -> None:
    """Whoever writes writes in the same session, under the same key."""
    sessions: dict[HostId, SessionId] = {}
    key, seal = new_session_key(), HostKey.seal_read
    sealed: list[bytes] = []

    def seal_once(self: HostKey, info: bytes, data: bytes) -> bytes:
        if data != key:
            return seal(self, info, data)
        sealed.append(sealed[0] if sealed else seal(self, info, data))
        return sealed[0]

    patch.setattr(frame_writer, "new_session_id", lambda host: sessions.setdefault(host, new_session_id(host)))
    patch.setattr(frame_writer, "new_session_key", lambda: key)
    patch.setattr(HostKey, "seal_read", seal_once)


def test_a_segment_that_another_prune_has_rewritten_waits_for_the_next_run(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the plan, which somebody may be looking at, and its execution."""
    monkeypatch.setattr("seedcorn.ops.gc.plan._MERGE_FROM", 2)
    repository, monitor = garden.repository.owner(), RecordingMonitor()
    with closing(garden.state()) as state:
        survey = Surveyor(maintained_by_owner(repository), state).survey()
        plan = plan_deep(repository, state, survey)
        assert plan.frames
        garden.prune()
        garden.prune()
        assert not set(survey.segments) & set(garden.keys("index")), "all were small, and are one now"
        result = Deep(repository, state, survey, plan, ALONE, garden.repository.clock, monitor).carry_out()
    assert (result.frames, result.problems) == (0, ())
    assert all("wait for the next deep one" in note for note in monitor.notes) and monitor.notes
    garden.deep()
    assert_finished(garden)


def test_nothing_is_moved_while_a_listing_can_not_be_read(garden: Garden) -> None:
    objects = garden.store.objects
    for key in keys_by_kind(garden.store)["listing pack"]:
        _, frames_begin = parse_pack_head(memoryview(objects[key]))
        objects[key] = flip_byte(objects[key], frames_begin + 30)
    before = dict(garden.store.objects)
    with pytest.raises(IntegrityError):
        garden.deep()
    assert garden.store.objects == before


def test_a_new_frame_that_is_lost_is_damage(garden: Garden) -> None:
    """And not what a collection has taken."""
    before = set(garden.keys("packs"))
    garden.deep()
    new = set(garden.keys("packs")) - before
    garden.prune()
    garden.prune()
    for key in new:
        del garden.store.objects[key]
    assert not any(root.standing is Standing.TORN for root in look_in_vain(garden).roots.snapshots)


def test_a_relocation_that_is_lost_is_damage(garden: Garden) -> None:
    """Also to a machine that has never seen it: what its snapshots need now must not pass for garbage."""
    garden.deep()
    garden.prune()
    garden.prune()
    for key in garden.keys("relocations"):
        del garden.store.objects[key]
    assert not any(root.standing is Standing.TORN for root in look_in_vain(garden).roots.snapshots)
    with pytest.raises(IntegrityError):
        garden.prune(state=garden.state())
    with pytest.raises(IntegrityError, match="never removed"):
        garden.prune()


def put_late(garden: Garden) -> SnapshotId:
    """A backup of a host that stands still before it puts anything, while what it relies on is relocated and swept; and ends after its receipt."""
    before = set(garden.store.objects)
    late = garden.back_up({"f1": noise(1), "f7": noise(7)})
    garden.expected.pop(late)
    not_yet = {key: garden.store.objects.pop(key) for key in set(garden.store.objects) - before}
    plan, _ = garden.deep()
    garden.prune(replace(NOW, emptied=plan.packs))
    garden.prune()
    for key, data in not_yet.items():
        garden.store.put(key, data)
    return late


def test_a_snapshot_that_is_torn_by_a_relocation_is_no_damage(garden: Garden) -> None:
    late = put_late(garden)
    garden.assert_whole()
    (standing,) = [snapshot.standing for snapshot in garden.browser().all_snapshots if snapshot.id == late]
    assert standing is Standing.TORN
    garden.prune(state=garden.state())
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_relocation_that_is_lost_is_damage_also_if_its_snapshot_was_forgotten_for_a_while() -> None:
    """What the snapshot had given up was swept when nothing said that it had ever needed it."""
    clock, usual = StoreClock(), CollectionOptions(allow_large=True)
    with open_garden(MemoryStore(clock)) as garden:
        plant(garden)
        middle, newest, _ = garden.expected
        garden.forget(middle)
        plan, _ = garden.deep()
        clock.now_ns += 25 * HOUR_NS
        garden.prune(replace(usual, emptied=plan.packs))
        clock.now_ns += 73 * HOUR_NS
        files = garden.expected[newest]
        garden.forget(newest)
        assert garden.prune(usual).deleted_packs > 0
        garden.undelete(newest, files)
        garden.assert_whole()
        for key in garden.keys("relocations"):
            del garden.store.objects[key]
        assert not any(root.standing is Standing.TORN for root in look_in_vain(garden).roots.snapshots)


def look_in_vain(garden: Garden) -> Survey:
    """A survey with problems."""
    survey = Surveyor(garden.maintainer(), garden.state()).survey()
    assert survey.problems
    return survey


# -- interruptions ---------------------------------------------------------------------------------------------------------------------------


def count_calls(garden: Garden) -> int:
    """How many calls a whole run makes, from the survey to the last put."""
    store = CrashingStore(copy_store(garden.store), -1, When.BEFORE)
    garden.deep(replace(ALONE, batch_bytes=1), store=store, state=garden.state())
    return store.calls


@strides
@pytest.mark.parametrize("when", When)
def test_a_crash_at_any_call(garden: Garden, when: When, stride: int, record_property: Callable[[str, object], None]) -> None:
    pristine = garden.store
    points = range(1, count_calls(garden) + 1, stride)
    record_property("crashes", len(points))
    for at in points:
        garden.use(copy_store(pristine))
        with suppress(Crash):
            garden.deep(replace(ALONE, batch_bytes=1), store=CrashingStore(garden.store, at, when), state=garden.state())
        garden.assert_whole()
        state = garden.state()
        garden.prune(state=state)
        garden.prune(state=state)
        garden.assert_whole()
        garden.deep(state=garden.state())
        assert_finished(garden)
        state.close()


def others(garden: Garden) -> dict[str, Callable[[], object]]:
    """What somebody else may be doing."""

    def prune_twice() -> None:
        state = garden.state()
        garden.prune(state=state)
        garden.prune(state=state)

    def deep_and_prune() -> None:
        garden.deep(state=garden.state())
        prune_twice()

    def back_up() -> None:
        with closing(garden.repository.machine_again()) as host:
            garden.back_up({"f1": noise(1), "f2": noise(2), "f7": noise(7), "late": noise(30)}, machine=host)

    def forget() -> None:
        garden.forget(next(iter(garden.expected)))
        prune_twice()

    return {"prune": prune_twice, "deep and prune": deep_and_prune, "backup": back_up, "forget": forget}


@strides
@pytest.mark.parametrize("who", ["prune", "deep and prune", "backup", "forget"])
def test_somebody_else_before_any_call(garden: Garden, who: str, stride: int) -> None:
    """Either this run goes on or it gives up; in both cases nothing is lost, and the next one finishes."""
    pristine, expected = garden.store, dict(garden.expected)
    for at in range(2, count_calls(garden) + 1, stride):
        garden.use(copy_store(pristine))
        garden.expected = dict(expected)
        store = MeanwhileStore(garden.store, at, others(garden)[who])
        with suppress(SeedcornError):
            garden.deep(replace(ALONE, batch_bytes=1), store=store, state=garden.state())
        assert store.done
        garden.assert_whole()
        garden.deep(state=garden.state())
        assert_finished(garden)


@strides
@pytest.mark.parametrize("is_pruned", [False, True], ids=["alone", "and what it emptied is pruned"])
def test_a_deep_run_before_any_call_of_a_prune(garden: Garden, is_pruned: bool, stride: int) -> None:
    pristine = garden.store
    counted = CrashingStore(copy_store(pristine), -1, When.BEFORE)
    garden.prune(store=counted, state=garden.state())

    def deep() -> None:
        with suppress(SeedcornError):  # what it has just written is being swept
            plan, _ = garden.deep(state=garden.state())
            for _ in range(2 * is_pruned):
                garden.prune(replace(NOW, emptied=plan.packs), state=garden.state())

    for at in range(2, counted.calls + 1, stride):
        garden.use(copy_store(pristine))
        garden.prune(store=MeanwhileStore(garden.store, at, deep), state=garden.state())
        garden.assert_whole()
        garden.deep(state=garden.state())
        assert_finished(garden)


@pytest.mark.parametrize("who", ["prune", "deep and prune", "backup", "forget"])
@pytest.mark.parametrize("part", ["relocations/", ".done"])
def test_one_that_stood_still_before_its_last_puts(garden: Garden, part: str, who: str) -> None:
    """Before it announces: what it has written may be gone, and it finds out. Before it is done: what it has announced was kept for it."""
    store = BeforePutStore(garden.store, part, others(garden)[who])
    try:
        garden.deep(store=store, state=garden.state())
        gave_up = False
    except SeedcornError:
        gave_up = True
    assert gave_up is (part == "relocations/" and who in ("prune", "deep and prune", "forget"))
    garden.assert_whole()
    garden.deep(state=garden.state())
    assert_finished(garden)
