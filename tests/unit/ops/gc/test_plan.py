"""ops/gc/judge.py and gc/plan.py: what is needed, what is a copy, what waits, what is moved; values only."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from tests.unit.ops.surveys import (
    FRAME_BYTES,
    HOST,
    HOUR_NS,
    NOW_NS,
    OTHER,
    digest,
    mark,
    pack,
    record,
    session_id,
    snapshot,
    stored,
    survey,
    sweep,
)

from seedcorn.errors import SeedcornError, UsageError
from seedcorn.format.collection import CheckpointMaintain, CheckpointRef, CollectionRecord, CopiedPack, HostPacks, PackCopy, SnapshotRef, Stage
from seedcorn.format.names import receipt_key
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import SnapshotId
from seedcorn.ops.gc.judge import PackUse, frames_of, frames_only_in, judge, named_frames
from seedcorn.ops.gc.plan import CollectionOptions, CollectionPlan, MaxUnused, check_brake, plan_collection, spent_marks, stale_keys
from seedcorn.ops.gc.survey import StoredSegment
from seedcorn.repo.rewriting.segments import SMALL_SEGMENT_BYTES
from seedcorn.repo.roots.collections import Collections
from seedcorn.repo.roots.needed import SeqSet, open_bitmap
from seedcorn.repo.roots.receipts import Receipts
from seedcorn.repo.roots.relocations import Relocation, Relocations
from seedcorn.repo.roots.roots import RootCheckpoint, Standing

A, B, C, D = pack("a"), pack("b"), pack("c"), pack("d")
LAX = CollectionOptions(max_unused=MaxUnused.parse("unlimited"))


def copy_of(name: str, sources: str) -> PackCopy:
    """``sources``: a letter for each."""
    return PackCopy(HOST, pack(name)[1], digest(name), tuple(CopiedPack(pack(source)[1], digest(source)) for source in sources))


# -- needed or not ---------------------------------------------------------------------------------------------------------------------------


def test_a_pack_is_needed_for_a_single_frame() -> None:
    packs = {A: stored(record("a", {1: [0, 1, 2]})), B: stored(record("b", {1: [3, 4]})), C: stored()}
    judged = judge(survey(packs, [snapshot(1, {1: [2]})]))
    assert judged.unneeded == {B, C}
    assert judged.copied == frozenset()
    assert judged.uses[A].used_bytes == FRAME_BYTES and judged.uses[A].frame_bytes == 3 * FRAME_BYTES
    assert C not in judged.uses


def test_a_session_that_goes_by_two_keys_is_needed_of_both() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {100: [0]}))}
    assert judge(survey(packs, [snapshot(1, {1: [0]})])).unneeded == frozenset()


def test_two_lists_of_one_pack_are_both_believed_when_they_say_that_it_is_needed() -> None:
    packs = {A: stored(record("a", {1: [0]}), record("a", {1: [7]}, digest_of="lie"))}
    for needed in ([0], [7]):
        assert judge(survey(packs, [snapshot(1, {1: needed})])).unneeded == frozenset()


def test_what_hosts_list_twice_is_no_copy() -> None:
    packs = {A: stored(record("a", {1: [0, 1]})), B: stored(record("b", {1: [0, 1]}))}
    assert judge(survey(packs, [snapshot(1, {1: [0, 1]})])).collectable == frozenset()


def test_a_copy_that_a_mark_vouches_for_makes_a_pack_superfluous() -> None:
    packs = {A: stored(record("a", {1: [0, 1]})), B: stored(record("b", {1: [0]}))}
    log = Collections((mark(A, copies=[copy_of("b", "a")]),), (), {}, 2)
    judged = judge(survey(packs, [snapshot(1, {1: [0]})], log))
    assert judged.copied == {A}
    assert judge(survey(packs, [snapshot(1, {1: [0, 1]})], log)).collectable == frozenset()  # b does not have all of it


@pytest.mark.parametrize("copied", [{1: [0]}, {2: [0]}, {1: [0], 2: [1]}, {3: [0]}])
def test_a_copy_that_lacks_one_of_several_sessions(copied: dict[int, list[int]]) -> None:
    packs = {A: stored(record("a", {1: [0], 2: [0, 1]})), B: stored(record("b", copied))}
    log = Collections((mark(A, copies=[copy_of("b", "a")]),), (), {}, 2)
    assert A not in judge(survey(packs, [snapshot(1, {1: [0], 2: [0]})], log)).collectable


@pytest.mark.parametrize("flaw", ["absent", "listed otherwise", "swept", "swept and done"])
def test_a_copy_that_can_not_be_relied_on(flaw: str) -> None:
    copy = record("b", {1: [0]}, digest_of="lie" if flaw == "listed otherwise" else "")
    packs = {A: stored(record("a", {1: [0]})), B: stored(copy, present=flaw != "absent")}
    sweeps = (sweep(B),) if flaw.startswith("swept") else ()
    done = (
        {b"s" * 8: CollectionRecord(repository=b"r" * 16, number=1, collection=b"s" * 8, stage=Stage.DONE, relocations=())}
        if flaw == "swept and done"
        else {}
    )
    log = Collections((mark(A, copies=[copy_of("b", "a")]),), sweeps, done, 2)
    assert A not in judge(survey(packs, [snapshot(1, {1: [0]})], log)).collectable


def test_a_copy_in_ones_own_sweep_or_one_that_was_kept_counts() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [0]}))}
    marks = (mark(A, copies=[copy_of("b", "a")]),)
    own = Collections(marks, (sweep(A, B),), {}, 2)
    assert judge(survey(packs, [snapshot(1, {1: [0]})], own), sweep=b"s" * 8).copied == {A}
    kept = CollectionRecord(repository=b"r" * 16, number=1, collection=b"s" * 8, stage=Stage.DONE, packs=(HostPacks(HOST, (B[1],)),), relocations=())
    done = Collections(marks, (sweep(A, B),), {b"s" * 8: kept}, 2)
    assert judge(survey(packs, [snapshot(1, {1: [0]})], done)).copied == {A}


def test_of_two_copies_both_stay() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [0]})), C: stored(record("c", {1: [0]}))}
    log = Collections((mark(A, copies=[copy_of("b", "a")]), mark(A, copies=[copy_of("c", "a")])), (), {}, 2)
    assert judge(survey(packs, [snapshot(1, {1: [0]})], log)).copied == {A}


def test_a_copy_of_one_pack_says_nothing_about_another_that_claims_the_same_frames() -> None:
    """A host may list one of its frames, on which others rely, once more in a pack of noise, and that one is what a maintainer has copied."""
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [0, 1]})), C: stored(record("c", {1: [0]}))}
    log = Collections((mark(B, copies=[copy_of("c", "b")]),), (), {}, 2)
    assert judge(survey(packs, [snapshot(1, {1: [0]})], log)).collectable == {B}


def test_a_copy_says_nothing_of_another_source_of_the_mark_nor_of_a_pack_that_is_only_named() -> None:
    """Of two packs that list the same frame one may be noise, and a pack that was garbage may be listed later than the mark was put."""
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [0]})), C: stored(record("c", {1: [0]})), D: stored(record("d", {1: [0]}))}
    log = Collections((mark(A, B, D, copies=[copy_of("c", "b")]),), (), {}, 2)
    assert judge(survey(packs, [snapshot(1, {1: [0]})], log)).copied == {B}


def test_a_copy_says_nothing_of_another_list_of_the_pack() -> None:
    """A thief may list a pack with a lie before its host does, and have that moved."""
    log = Collections((mark(A, copies=[copy_of("c", "a")]),), (), {}, 2)
    true, lie = record("a", {1: [0]}, digest_of="true"), record("a", {1: [0]})
    for lists, copied in (((lie,), {A}), ((true,), set()), ((lie, true), set()), ((true, lie), set())):
        packs = {A: stored(*lists), C: stored(record("c", {1: [0]}))}
        assert judge(survey(packs, [snapshot(1, {1: [0]})], log)).copied == copied


def test_a_copy_stays_as_long_as_what_it_is_a_copy_of_may_go() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [0]})), C: stored(record("c", {1: [0]}))}
    marks = (mark(A, copies=[copy_of("b", "a")]), mark(B, copies=[copy_of("c", "b")]))
    assert judge(survey(packs, [snapshot(1, {1: [0]})], Collections(marks, (), {}, 2))).collectable == {A}
    assert judge(survey(packs, [snapshot(1, {1: [0]})], Collections(marks[1:], (), {}, 2))).collectable == {B}


def test_a_copy_may_go_for_another_one_once_what_it_is_a_copy_of_is_gone_or_stays() -> None:
    marks = (mark(A, copies=[copy_of("b", "a")]), mark(B, copies=[copy_of("c", "b")]))
    copies = {B: stored(record("b", {1: [0]})), C: stored(record("c", {1: [0]}))}
    gone = {A: stored(record("a", {1: [0]}), present=False)}
    more = {A: stored(record("a", {1: [0, 1]}))}  # of which the copy has not all that is needed
    assert judge(survey(copies | gone, [snapshot(1, {1: [0]})], Collections(marks, (), {}, 2))).collectable == {A, B}
    assert judge(survey(copies | more, [snapshot(1, {1: [0, 1]})], Collections(marks, (), {}, 2))).collectable == {B}


@pytest.mark.parametrize(
    ("needed", "used_bytes"),
    [({1: [0, 1, 2]}, 111), ({1: [1]}, 10), ({1: [0, 2]}, 101), ({2: [6]}, 10_000), ({1: [0], 2: [5, 6]}, 11_001), ({}, 0), ({3: [0]}, 0)],
)
def test_how_much_of_a_pack_is_needed_goes_by_the_sizes_of_its_frames(needed: dict[int, list[int]], used_bytes: int) -> None:
    sized = record("a", {1: [0, 1, 2], 2: [5, 6]}, sizes=[1, 10, 100, 1_000, 10_000])
    packs = {A: stored(sized), B: stored(record("b", {2: [6]}), present=False), C: stored()}
    assert judge(survey(packs, [snapshot(1, needed)])).uses == {A: PackUse(used_bytes, 11_111)}


def test_frames_by_packs() -> None:
    packs = {
        A: stored(record("a", {1: [0, 1, 2]}), record("a", {1: [9]}, digest_of="lie")),
        B: stored(record("b", {1: [1]})),
        C: stored(record("c", {1: [2], 2: [7]}), present=False),
    }
    found = survey(packs, [])
    assert frames_of(found, [A, C]) == {1: SeqSet([0, 1, 2, 9]), 2: SeqSet([7])}
    assert frames_of(found, []) == {}
    assert frames_only_in(found, {A}) == {1: SeqSet([0, 2, 9])}  # what is not in the store holds nothing
    assert frames_only_in(found, {A, B}) == {1: SeqSet([0, 1, 2, 9])}
    assert frames_only_in(found, {B}) == {1: SeqSet()}
    named = named_frames(found, {2: SeqSet([7]), 1: SeqSet([0]), 100: SeqSet([5]), 3: SeqSet()})
    assert [(entry.session, open_bitmap(entry)) for entry in named] == [(session_id(1), SeqSet([0, 5])), (session_id(2), SeqSet([7]))]


# -- mark, wait, sweep -----------------------------------------------------------------------------------------------------------------------


def test_garbage_is_marked_once_and_waits_for_the_grace() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [1]}), hours_old=23), C: stored(record("c", {1: [2]}))}
    keeps = [snapshot(1, {1: [2]})]
    assert plan_collection(survey(packs, keeps), LAX).new == {A}
    young = Collections((mark(A, hours_old=71),), (), {}, 2)
    plan = plan_collection(survey(packs, keeps, young), LAX)
    assert (plan.new, plan.ripe, plan.waiting) == (frozenset(), frozenset(), frozenset({A}))
    old = Collections((mark(A, C, hours_old=72),), (), {}, 2)
    plan = plan_collection(survey(packs, keeps, old), LAX)
    assert (plan.new, plan.ripe, plan.waiting) == (frozenset(), frozenset({A}), frozenset())  # c has come to be needed
    assert plan.ripe_bytes == FRAME_BYTES and plan.total_bytes == 3 * FRAME_BYTES


def test_without_a_grace_all_goes_at_once() -> None:
    packs = {A: stored(record("a", {1: [0]}), hours_old=0), C: stored(record("c", {1: [2]}))}
    plan = plan_collection(survey(packs, [snapshot(1, {1: [2]})]), CollectionOptions(grace_ns=0))
    assert plan.new == plan.ripe == {A}


@pytest.mark.parametrize(("hours_old", "grace_hours", "is_new"), [(24, 72, True), (23, 72, False), (2, 2, True), (1, 2, False)])
def test_what_is_younger_than_a_day_or_the_grace_is_left_alone(hours_old: float, grace_hours: int, is_new: bool) -> None:
    packs = {A: stored(record("a", {1: [0]}), hours_old=hours_old), C: stored(record("c", {1: [2]}))}
    options = CollectionOptions(grace_ns=grace_hours * HOUR_NS, max_unused=MaxUnused(None))
    plan = plan_collection(survey(packs, [snapshot(1, {1: [2]})]), options)
    assert plan.new == ({A} if is_new else set())
    assert not plan.ripe


def test_what_a_plan_adds_up() -> None:
    d, e = pack("d"), pack("e")
    packs = {
        A: stored(record("a", {1: [0, 1, 2]})),
        B: stored(record("b", {1: [3, 4]})),
        C: stored(record("c", {1: range(5, 9)})),
        d: stored(record("d", {1: range(10, 15)})),
        e: stored(record("e", {1: range(20, 26)})),
    }
    log = Collections((mark(C, hours_old=1), mark(e)), (), {}, 2)
    plan = plan_collection(survey(packs, [snapshot(1, {1: [0, *range(10, 15)]})], log), CollectionOptions(max_unused=MaxUnused.parse("0")))
    assert (plan.new, plan.waiting, plan.ripe) == (frozenset({B}), frozenset({C}), frozenset({e}))
    assert plan.repack == (A,)
    assert [plan.new_bytes, plan.waiting_bytes, plan.ripe_bytes, plan.repack_bytes, plan.repack_used_bytes] == [200, 400, 600, 300, 100]
    assert [plan.used_bytes, plan.unused_bytes, plan.total_bytes] == [600, 200, 2_000]


def test_a_plan_of_nothing_and_what_needs_a_sweep() -> None:
    nothing = plan_collection(survey({A: stored(record("a", {1: [0]}))}, [snapshot(1, {1: [0]})]), LAX)
    assert nothing.is_empty and not nothing.needs_sweep
    ref = SnapshotRef(HOST, 1, b"s" * 32)
    swept: list[CollectionPlan] = [
        replace(nothing, ripe=frozenset({A})),
        replace(nothing, expired=(ref,)),
        replace(nothing, expired_checkpoints=(CheckpointRef(HOST, b"c" * 16),)),
        replace(nothing, removed=(ref,)),
    ]
    others = [replace(nothing, new=frozenset({A})), replace(nothing, repack=(A,)), replace(nothing, merge=("k",)), replace(nothing, stale=("k",))]
    assert not any(plan.is_empty for plan in [*swept, *others])
    assert [plan.needs_sweep for plan in [*swept, *others]] == [True] * 4 + [False] * 4


def test_what_another_collection_left_has_waited_long_enough() -> None:
    packs = {A: stored(record("a", {1: [0]})), C: stored(record("c", {1: [2]}))}
    plan = plan_collection(survey(packs, [snapshot(1, {1: [2]})], Collections((), (sweep(A, C),), {}, 2)), LAX)
    assert plan.ripe == {A} and not plan.new


def test_the_brake_counts_what_is_lost_and_not_what_is_moved() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [1]})), C: stored(record("c", {1: [1, 2, 3, 4]}))}
    found = survey(packs, [snapshot(1, {1: [1]})], Collections((mark(B, copies=[copy_of("c", "b")]),), (), {}, 2))
    judged = judge(found)
    check_brake(found, {A, B}, judged, LAX)
    with pytest.raises(SeedcornError, match="allow-large"):
        check_brake(found, {A, C}, judged, LAX)
    check_brake(found, {A, C}, judged, CollectionOptions(allow_large=True))


def test_the_brake_counts_the_garbage_in_packs_of_which_a_little_is_moved() -> None:
    packs = {pack(name): stored(record(name, {number: [0, 1, 2, 3]})) for number, name in enumerate("ab", 1)}
    needed = [snapshot(1, {1: [0], 2: [0]})]
    found = survey(packs, needed)
    plan = plan_collection(found, CollectionOptions(max_unused=MaxUnused.parse("0%"), grace_ns=0))
    assert set(plan.repack) == {A, B} and not plan.new
    with pytest.raises(SeedcornError, match=r"would delete 600 of 800 bytes \(75 %\)"):  # before anything is moved
        check_brake(found, plan.doomed, plan.judgement, LAX)
    moved = stored(record("c", {1: [0], 2: [0]}))
    later = survey(packs | {C: moved}, needed, Collections((mark(A, B, copies=[copy_of("c", "ab")]),), (), {}, 2))
    judged = judge(later)
    assert judged.copied == {A, B}
    with pytest.raises(SeedcornError, match="would delete 600 of 1,000 bytes"):  # and after the grace
        check_brake(later, {A, B}, judged, LAX)


def test_the_brake_is_at_thirty_percent_of_all_bytes() -> None:
    packs = {pack(f"{number}"): stored(record(f"{number}", {1: [number]})) for number in range(10)}
    found = survey(packs, [])
    check_brake(found, list(packs)[:3], judge(found), LAX)
    with pytest.raises(SeedcornError, match=r"would delete 400 of 1,000 bytes \(40 %\), and 30 % is where"):
        check_brake(found, list(packs)[:4], judge(found), LAX)


def test_a_mark_whose_copies_are_not_listed_yet_stays_a_day_as_long_as_what_they_replace_is_there() -> None:
    kept, gone = stored(record("c", {1: [2]})), stored(record("c", {1: [2]}), present=False)
    for copies, pack_c, hours_old, spent in (
        ((copy_of("a", "c"),), kept, 23, False),
        ((copy_of("a", "c"),), kept, 24, True),
        ((copy_of("a", "c"),), gone, 1, True),
        ((), kept, 1, True),
    ):
        one = mark(C, copies=copies, hours_old=hours_old)
        for pack_a in (stored(hours_old=1), stored(record("a", {1: [2]}, digest_of="lie"), hours_old=1)):
            found = survey({A: pack_a, C: pack_c}, [snapshot(1, {1: [2]})], Collections((one,), (), {}, 2))
            assert (one in spent_marks(found, plan_collection(found, CollectionOptions(grace_ns=HOUR_NS)), 0)) is spent


def test_a_mark_stays_as_long_as_its_copies_hold_all_that_a_pack_is_needed_for() -> None:
    """Which can not go yet, because it is a copy itself."""
    packs = {A: stored(record("a", {1: [2]})), B: stored(record("b", {1: [2]})), C: stored(record("c", {1: [2, 3]}))}
    marks = mark(B, copies=[copy_of("c", "b")], hours_old=1), mark(C, copies=[copy_of("a", "c")], hours_old=1)
    for needed, spent in (([2], [True, False]), ([2, 3], [True, True])):
        found = survey(packs, [snapshot(1, {1: needed})], Collections(marks, (), {}, 2))
        plan = plan_collection(found, CollectionOptions(grace_ns=0))
        assert plan.ripe == {B}
        assert [one in spent_marks(found, plan, 0) for one in marks] == spent


def test_a_mark_that_vouches_for_nothing_but_what_is_swept_is_spent_at_once() -> None:
    one = mark(C, copies=[copy_of("a", "c"), copy_of("b", "c")], hours_old=1)
    packs = {A: stored(hours_old=1), B: stored(hours_old=1), C: stored(record("c", {1: [2]}))}  # their segment has not been put
    nothing = CollectionRecord(repository=b"r" * 16, number=1, collection=b"s" * 8, stage=Stage.DONE, packs=(), relocations=())
    for swept, grace_ns, spent in (((), HOUR_NS, False), ((A,), HOUR_NS, False), ((A, B), HOUR_NS, True), ((), 0, True)):
        sweeps = (sweep(*swept),) if swept else ()
        found = survey(packs, [snapshot(1, {1: [2]})], Collections((one,), sweeps, {b"s" * 8: nothing}, 2))
        plan = plan_collection(found, CollectionOptions(grace_ns=grace_ns))
        assert (one in spent_marks(found, plan, 0)) is spent


def test_a_mark_is_spent_when_what_it_named_is_swept_or_needed_again() -> None:
    packs = {A: stored(record("a", {1: [0]})), C: stored(record("c", {1: [2]}))}
    for copies, hours_old, spent in (((), 100, True), ((), 1, False), ((copy_of("b", "c"),), 100, True)):
        one = mark(A, C, copies=copies, hours_old=hours_old)
        found = survey(packs, [snapshot(1, {1: [2]})], Collections((one,), (), {}, 2))
        assert (one in spent_marks(found, plan_collection(found, LAX), LAX.grace_ns)) is spent


def test_a_mark_waits_for_each_of_its_copies() -> None:
    one = mark(C, copies=[copy_of("a", "c"), copy_of("b", "c")], hours_old=1)
    packs = {A: stored(record("a", {1: [5]})), B: stored(hours_old=1), C: stored(record("c", {1: [2]}))}
    found = survey(packs, [snapshot(1, {1: [2, 5]})], Collections((one,), (), {}, 2))
    assert one not in spent_marks(found, plan_collection(found, CollectionOptions(grace_ns=HOUR_NS)), 0)


def test_a_mark_stays_for_one_of_its_packs_though_another_is_needed_for_more() -> None:
    packs = {A: stored(record("a", {1: [2]})), B: stored(record("b", {1: [2]})), C: stored(record("c", {1: [2]})), D: stored(record("d", {1: [3]}))}
    marks = mark(B, copies=[copy_of("c", "b")], hours_old=1), mark(C, D, copies=[copy_of("a", "cd")], hours_old=1)
    found = survey(packs, [snapshot(1, {1: [2, 3]})], Collections(marks, (), {}, 2))
    plan = plan_collection(found, CollectionOptions(grace_ns=0))
    assert plan.ripe == {B}
    assert [one in spent_marks(found, plan, 0) for one in marks] == [True, False]


def test_a_mark_stays_as_long_as_its_copies_hold_all_that_a_pack_is_needed_for_whatever_the_grace() -> None:
    """B goes now; C is a copy of it, and goes with the next collection, if anybody still knows that A is a copy of C."""
    packs = {A: stored(record("a", {1: [2]})), B: stored(record("b", {1: [2]})), C: stored(record("c", {1: [2]}))}
    marks = mark(B, copies=[copy_of("c", "b")]), mark(C, copies=[copy_of("a", "c")])
    found = survey(packs, [snapshot(1, {1: [2]})], Collections(marks, (), {}, 2))
    plan = plan_collection(found, CollectionOptions())
    assert plan.ripe == {B}
    assert [one in spent_marks(found, plan, CollectionOptions().grace_ns) for one in marks] == [True, False]


# -- moving ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "moved"), [("5%", {A, B}), ("45%", {A}), ("unlimited", set()), ("0", {A, B}), ("200", {A}), ("1G", set())])
def test_packs_with_the_smallest_share_move_first_until_little_is_unused(text: str, moved: set[object]) -> None:
    packs = {
        A: stored(record("a", {1: range(10)})),
        B: stored(record("b", {1: range(10, 12)})),
        C: stored(record("c", {1: range(12, 15)})),
    }
    found = survey(packs, [snapshot(1, {1: [0, 10, 12, 13, 14]})])
    plan = plan_collection(found, CollectionOptions(max_unused=MaxUnused.parse(text)))
    assert set(plan.repack) == moved
    assert plan.unused_bytes == 10 * FRAME_BYTES


def test_what_can_not_be_moved() -> None:
    needs = [snapshot(1, {1: [0]})]
    options = CollectionOptions(max_unused=MaxUnused.parse("0"))
    assert plan_collection(survey({A: stored(record("a", {1: [0, 1]}))}, needs), options).repack == (A,)
    young = {A: stored(record("a", {1: [0, 1]}), hours_old=1)}
    assert not plan_collection(survey(young, needs), options).repack
    doubtful = {A: stored(record("a", {1: [0, 1]}), record("a", {1: [0, 5]}, digest_of="lie"))}
    assert not plan_collection(survey(doubtful, needs), options).repack
    marked = survey({A: stored(record("a", {1: [0, 1]}))}, needs, Collections((mark(A, hours_old=1),), (), {}, 2))
    assert not plan_collection(marked, options).repack


def test_an_emptied_pack_is_repacked_however_little_is_unused() -> None:
    needs = [snapshot(1, {1: range(99), 2: range(99)})]
    packs = {A: stored(record("a", {1: range(100)})), B: stored(record("b", {2: range(100)}))}
    assert plan_collection(survey(packs, needs), CollectionOptions()).repack == ()
    assert plan_collection(survey(packs, needs), CollectionOptions(emptied=frozenset([B]))).repack == (B,)
    young = {A: packs[A], B: stored(record("b", {2: range(100)}), hours_old=1)}
    assert plan_collection(survey(young, needs), CollectionOptions(emptied=frozenset([B]))).repack == ()
    full = {A: packs[A], B: stored(record("b", {2: range(99)}))}  # a frame that a deep prune could not read is still needed
    assert plan_collection(survey(full, needs), CollectionOptions(emptied=frozenset([B]))).repack == ()


def announced(ref: SnapshotRef, frames: bytes) -> Relocations:
    """One that was announced: what ``ref`` needs is to be these frames of session 2."""
    needed = (NeededFrames(session_id(2), frames),)
    named = (RelocatedSnapshot(ref.host, ref.seq, ref.snapshot, (0,)),)
    record = RelocationRecord(b"r" * 16, 1, b"n" * 8, RelocationStage.ANNOUNCED, needed, named)
    return Relocations((Relocation("relocations/1", record, is_done=False),))


def test_what_an_announced_relocation_names_is_kept_and_one_that_is_malformed_stops_everything() -> None:
    needs = [snapshot(1, {1: range(10)})]
    packs = {A: stored(record("a", {1: range(10)})), B: stored(record("b", {2: range(10)}))}
    assert B in plan_collection(survey(packs, needs), CollectionOptions()).new
    kept = survey(packs, needs, relocations=announced(needs[0].ref, SeqSet([3]).serialize()))
    assert kept.problems == () and not plan_collection(kept, CollectionOptions()).new
    malformed = survey(packs, needs, relocations=announced(needs[0].ref, b"no bitmap"))
    assert [problem.object_name for problem in malformed.problems] == ["relocations/1"]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("5%", MaxUnused()),
        ("0%", MaxUnused(0.0)),
        ("99.9%", MaxUnused(99.9)),
        ("7", MaxUnused(None, 7)),
        ("2K", MaxUnused(None, 2 << 10)),
        ("200M", MaxUnused(None, 200 << 20)),
        ("3g", MaxUnused(None, 3 << 30)),
        ("1t", MaxUnused(None, 1 << 40)),
        ("unlimited", MaxUnused(None)),
    ],
)
def test_amounts_as_they_are_written(text: str, amount: MaxUnused) -> None:
    assert MaxUnused.parse(text) == amount


def test_amounts_that_make_sense() -> None:
    assert MaxUnused.parse("20%").limit_bytes(400) == 100  # of all that stays, as restic has it
    assert MaxUnused.parse("1.5k").limit_bytes(400) == 1536
    assert MaxUnused.parse("unlimited").limit_bytes(400) == float("inf")


@pytest.mark.parametrize("text", ["", "100%", "-5%", "5 %", "much", "5%%"])
def test_amounts_that_make_none(text: str) -> None:
    with pytest.raises(UsageError):
        MaxUnused.parse(text)


# -- segments, snapshots ---------------------------------------------------------------------------------------------------------------------


def test_small_segments_and_those_that_list_the_same_are_merged() -> None:
    packs = {A: stored(record("a", {1: [0]})), B: stored(record("b", {1: [1]}))}

    def merged(*segments: StoredSegment) -> int:
        keys = {f"index/{HOST.hex()}/{number:010d}-{'0' * 64}": one for number, one in enumerate(segments)}
        return len(plan_collection(survey(packs, [snapshot(1, {1: [0, 1]})], segments=keys), LAX).merge)

    small, large = StoredSegment(1000, (A,)), StoredSegment(5 << 20, (B,))
    assert merged(small, large) == 0
    assert merged(*[StoredSegment(1000, ())] * 7, small, large) == 8
    assert merged(small, small, large) == 2
    assert merged(StoredSegment(5 << 20, (A,)), small, large) == 2
    assert merged(*[StoredSegment(1000, ())] * 7, StoredSegment(SMALL_SEGMENT_BYTES, ())) == 0
    assert merged(*[StoredSegment(SMALL_SEGMENT_BYTES - 1, ())] * 8) == 8
    keys = {f"index/{host.hex()}/{number:010d}-{'0' * 64}": StoredSegment(1000, ()) for host in (HOST, OTHER) for number in range(4)}
    assert plan_collection(survey(packs, [snapshot(1, {1: [0, 1]})], segments=keys), LAX).merge == ()


def test_snapshots_that_expire_and_those_that_are_removed() -> None:
    packs = {A: stored(record("a", {1: [0, 1]}))}
    snapshots = [
        snapshot(1, {1: [0]}, Standing.VOID),
        snapshot(2, {1: [0]}, Standing.SUPERSEDED, hours_old=1),
        snapshot(3, {1: [0]}, Standing.FORGOTTEN),
        snapshot(4, {1: [0]}, Standing.FORGOTTEN),
        snapshot(5, {1: [0]}),
        snapshot(6, {1: [0]}, Standing.UNCONFIRMED, hours_old=1),
        snapshot(7, {1: [0]}, Standing.UNCONFIRMED),
        snapshot(8, {1: [0]}, Standing.VOID),
    ]
    forgotten = {snapshots[2].ref: NOW_NS - 100 * HOUR_NS, snapshots[3].ref: NOW_NS - HOUR_NS}
    plan = plan_collection(survey(packs, snapshots, forgotten=forgotten), LAX)
    assert [ref.seq for ref in plan.expired] == [1, 7]  # the newest object of a host stays
    assert [ref.seq for ref in plan.removed] == [3]
    none_confirmed = [one for one in snapshots if one.standing not in (Standing.CONFIRMED, Standing.FORGOTTEN)]
    assert not plan_collection(survey(packs, none_confirmed), LAX).expired


def test_a_forgotten_snapshot_whose_packs_go_can_not_be_taken_back() -> None:
    packs = {A: stored(record("a", {1: [0]})), C: stored(record("c", {1: [2]}))}
    gone, kept = snapshot(1, {1: [0]}, Standing.FORGOTTEN), snapshot(2, {1: [2]})
    found = survey(packs, [gone, kept], Collections((mark(A),), (), {}, 2), forgotten={gone.ref: NOW_NS})
    assert plan_collection(found, LAX).removed == (gone.ref,)


def test_the_newest_snapshot_of_a_host_is_removed_once_and_others_as_often_as_they_are_there() -> None:
    packs = {C: stored(record("c", {1: [2]}))}
    older, kept, newest = snapshot(1, {1: [2]}, Standing.FORGOTTEN), snapshot(2, {1: [2]}), snapshot(3, {1: [2]}, Standing.FORGOTTEN)
    forgotten = {older.ref: NOW_NS - 72 * HOUR_NS, newest.ref: NOW_NS - 72 * HOUR_NS}
    again = Collections((), (msgspec.structs.replace(sweep(), removed=(older.ref, newest.ref)),), {}, 2)
    for collections, removed in ((Collections((), (), {}, 1), (older.ref, newest.ref)), (again, (older.ref,))):
        assert plan_collection(survey(packs, [older, kept, newest], collections, forgotten=forgotten), LAX).removed == removed


def test_checkpoints_expire() -> None:
    maintain = CheckpointMaintain(0, b"g" * 16, ())
    old, young, ended = (
        RootCheckpoint(CheckpointRef(HOST, letter * 16), f"checkpoints/{hours_old}", (), maintain, NOW_NS - hours_old * HOUR_NS, is_root)
        for letter, hours_old, is_root in ((b"o", 72, True), (b"y", 71, True), (b"e", 90, False))
    )
    found = survey({}, [snapshot(1, {})])
    found = replace(found, roots=replace(found.roots, checkpoints=(old, young, ended)))
    assert plan_collection(found, LAX).expired_checkpoints == (old.ref,)


def test_objects_that_mean_nothing_any_more() -> None:
    kept = snapshot(9, {})
    forgotten, expired, removed, unknown = (SnapshotRef(HOST, seq, bytes([seq]) * 32) for seq in range(1, 5))
    said = msgspec.structs.replace(sweep(), expired=(expired,), removed=(removed,))
    found = survey({}, [kept], Collections((), (said,), {}, 2, ("gc/probe-1",)), forgotten={forgotten: 0, kept.ref: 0})
    maintain = CheckpointMaintain(0, b"g" * 16, ())
    checkpoints = (
        RootCheckpoint(CheckpointRef(HOST, b"1" * 16), "checkpoints/running", ("checkpoints/before",), maintain, 0),
        RootCheckpoint(CheckpointRef(HOST, b"2" * 16), "checkpoints/ended", ("checkpoints/before that",), maintain, 0, is_root=False),
    )
    receipts = Receipts(frozenset({forgotten, removed, unknown, kept.ref}), frozenset({expired, forgotten}))

    def receipt(ref: SnapshotRef, *, void: bool = False) -> str:
        return receipt_key(HOST, ref.seq, SnapshotId(ref.snapshot), void=void)

    assert stale_keys(replace(found, roots=replace(found.roots, checkpoints=checkpoints, receipts=receipts))) == (
        "gc/probe-1",
        "checkpoints/before",
        "checkpoints/before that",
        "checkpoints/ended",
        receipt(forgotten),
        receipt(forgotten, void=True),
        receipt(expired, void=True),
        receipt(removed),
    )


def test_garbage_that_can_not_be_moved_has_no_other_pack_moved() -> None:
    """Or one pack that is listed in two ways would have every prune move all that has a single frame of garbage."""
    lie = record("b", {2: range(200)}, digest_of="lie")
    packs = {A: stored(record("a", {1: range(100)})), B: stored(record("b", {2: range(200)}), lie)}
    found = survey(packs, [snapshot(1, {1: range(99), 2: [0]})])
    assert plan_collection(found, CollectionOptions(grace_ns=0)).repack == ()
