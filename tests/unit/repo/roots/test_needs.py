"""repo/roots/needs.py: what roots lack, and whether a collection has taken it or something is damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from pyroaring import BitMap
from tests.unit.ops.surveys import HOST, NO_COLLECTIONS, OTHER, pack, record, session_id, snapshot, survey, sweep

from seedcorn.format.collection import CheckpointMaintain, CheckpointRef, CollectionRecord, Stage
from seedcorn.format.relocation import RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import SessionId, host_mark
from seedcorn.repo.roots.collections import Collections
from seedcorn.repo.roots.needed import IndexedFrames, Missing, SeqSet
from seedcorn.repo.roots.needs import Needs, assess_needs, explains, listed_frames, taken_frames, with_standings
from seedcorn.repo.roots.receipts import Receipts
from seedcorn.repo.roots.relocations import NO_RELOCATIONS, Relocation, Relocations
from seedcorn.repo.roots.roots import RootCheckpoint, Roots, RootSnapshot, Standing
from seedcorn.repo.state.state import SessionRecord

Frames = Mapping[int, Sequence[int]]
A = pack("a")


def roots_of(*snapshots: RootSnapshot, collections: Collections = NO_COLLECTIONS) -> Roots:
    return survey({}, snapshots, collections).roots


def assessed(roots: Roots, indexed: Frames, taken: Mapping[bytes, SeqSet] | None = None) -> Needs:
    sessions = {number: SessionRecord(SessionId(session_id(number)), HOST, 0) for number in range(10)}
    return assess_needs(roots, IndexedFrames(sessions, [record("a", indexed)]), taken or {})


def bitmap(number: int, seqs: Sequence[int]) -> NeededFrames:
    return NeededFrames(session_id(number), BitMap(seqs).serialize())


def swept(frames: Frames, kept: Frames | None = None) -> Collections:
    """One sweep that has named these frames; if it is done, it has kept those."""
    made = with_frames(sweep(A), frames)
    done = (
        {
            made.collection: with_frames(
                CollectionRecord(repository=b"r" * 16, number=1, collection=made.collection, stage=Stage.DONE, relocations=()), kept
            )
        }
        if kept is not None
        else {}
    )
    return Collections((), (made,), done, 2)


def with_frames(made: CollectionRecord, frames: Frames) -> CollectionRecord:
    return msgspec.structs.replace(made, frames=tuple(bitmap(number, seqs) for number, seqs in frames.items()))


def test_what_roots_need_together() -> None:
    forgotten = snapshot(3, {3: [1]}, Standing.FORGOTTEN)
    checkpoint = RootCheckpoint(CheckpointRef(HOST, b"c"), "checkpoints/c", (), CheckpointMaintain(0, b"g", (bitmap(2, [5]),)), 0)
    roots = replace(roots_of(snapshot(1, {1: [0, 1]}), snapshot(2, {1: [1, 2]}), forgotten), checkpoints=(checkpoint,))
    found = assessed(roots, {1: range(9), 2: range(9), 3: range(9)})
    assert found == Needs({1: SeqSet([0, 1, 2]), 2: SeqSet([5])}, frozenset(), ())


@pytest.mark.parametrize(
    ("standing", "is_told"), [(Standing.CONFIRMED, True), (Standing.TORN, True), (Standing.UNCONFIRMED, False), (Standing.SUPERSEDED, False)]
)
def test_frames_that_are_nowhere(standing: Standing, is_told: bool) -> None:
    root = snapshot(1, {1: [0, 1, 2], 2: [7]}, standing)
    found = assessed(roots_of(root), {1: [0]})
    assert [(problem.object_name, problem.message[:14]) for problem in found.problems] == ([(root.key, "needs 3 frames")] if is_told else [])
    assert not found.torn
    if is_told:
        assert f"`seedcorn forget {root.key}`" in found.problems[0].message
        assert found.frames == {1: SeqSet([0])}


def test_a_checkpoint_may_lack_what_its_session_is_about_to_put() -> None:
    checkpoint = RootCheckpoint(CheckpointRef(HOST, b"c"), "checkpoints/c", (), CheckpointMaintain(0, b"g", (bitmap(2, [5]),)), 0)
    assert assessed(replace(roots_of(), checkpoints=(checkpoint,)), {1: [0]}) == Needs({}, frozenset(), ())


def test_a_set_that_is_malformed_is_told_and_hides_nothing() -> None:
    bad = snapshot(1, {1: [0]})
    bad = replace(bad, maintain=msgspec.structs.replace(bad.maintain, needed=(NeededFrames(session_id(1), b"?"),)))
    found = assessed(roots_of(bad, snapshot(2, {1: [3]})), {1: range(9)})
    assert [problem.object_name for problem in found.problems] == [bad.key]
    assert found.frames == {1: SeqSet([3])}


@pytest.mark.parametrize(
    ("collections", "taken", "is_torn"),
    [
        (swept({1: [1, 2]}), {}, True),
        (swept({1: [1, 2, 3]}, kept={}), {}, True),
        (swept({1: [1]}), {}, False),
        (swept({1: [1, 2]}, kept={1: [2]}), {}, False),
        (swept({2: [1, 2]}), {}, False),
        (NO_COLLECTIONS, {session_id(1): SeqSet([1, 2])}, True),
        (swept({1: [1]}), {session_id(1): SeqSet([2])}, True),
        (NO_COLLECTIONS, {session_id(2): SeqSet([1, 2])}, False),
    ],
)
def test_frames_that_a_collection_has_taken(collections: Collections, taken: Mapping[bytes, SeqSet], is_torn: bool) -> None:
    root = snapshot(1, {1: [0, 1, 2]})
    found = assessed(roots_of(root, collections=collections), {1: [0]}, taken)
    assert (found.torn, len(found.problems)) == (({root.ref}, 0) if is_torn else (frozenset(), 1))


def test_what_a_host_says_is_gone_of_its_own_explains_no_loss_of_another() -> None:
    """It may have listed what it never had, to be swept; a sweep names what was listed when it was planned."""
    theirs = host_mark(OTHER) + b"theirs.."
    root = snapshot(1, {})
    root = replace(root, maintain=msgspec.structs.replace(root.maintain, needed=(NeededFrames(theirs, BitMap([1]).serialize()),)))
    found = assessed(roots_of(root), {1: [0]}, {theirs: SeqSet([1])})
    assert (found.torn, len(found.problems)) == (frozenset(), 1)


def test_all_that_is_missing_must_be_explained() -> None:
    root = snapshot(1, {1: [1], 2: [1]})
    for frames, is_torn in (({1: [1], 2: [1]}, True), ({1: [1]}, False), ({2: [1]}, False)):
        found = assessed(roots_of(root, collections=swept(frames)), {3: [0]})
        assert bool(found.torn) is is_torn is not bool(found.problems)


def test_a_void_snapshot_that_was_confirmed_counts_if_nothing_of_it_is_missing() -> None:
    """Its host could not tell, and the index can."""
    whole, lacking, unconfirmed = (snapshot(seq, {1: needed}, Standing.VOID) for seq, needed in ((1, [0]), (2, [0, 1]), (3, [0])))
    roots = roots_of(whole, lacking, unconfirmed)
    receipts = Receipts(frozenset({whole.ref, lacking.ref}), frozenset({whole.ref, lacking.ref, unconfirmed.ref}))
    assert assessed(replace(roots, receipts=receipts), {1: [0]}).whole == {whole.ref}


def test_snapshots_get_the_standing_that_the_index_tells() -> None:
    one, two, three = snapshot(1, {}), snapshot(2, {}), snapshot(3, {}, Standing.VOID)
    roots = roots_of(one, two, three)
    told = with_standings(roots, Needs({}, frozenset({two.ref}), (), frozenset({three.ref})))
    assert [root.standing for root in told.snapshots] == [Standing.CONFIRMED, Standing.TORN, Standing.CONFIRMED]
    assert with_standings(roots, Needs({}, frozenset(), ())) is roots


def test_frames_of_several_sweeps_and_packs_are_added_up() -> None:
    first, second = swept({1: [1, 2], 2: [5]}, kept={1: [2]}), swept({1: [2, 3]})
    other = CollectionRecord(
        repository=b"r" * 16, number=2, collection=b"other...", stage=Stage.SWEEP, packs=(), frames=second.sweeps[0].frames, relocations=()
    )
    both = Collections((), (*first.sweeps, other), first.done, 3)
    taken = taken_frames(both, NO_RELOCATIONS)
    assert taken == {session_id(1): SeqSet([1, 2, 3]), session_id(2): SeqSet([5])}
    missing = [Missing(SessionId(session_id(1)), SeqSet([1, 3])), Missing(SessionId(session_id(2)), SeqSet([5]))]
    assert explains(taken, missing)
    assert explains(taken, [])
    assert not explains(taken, [*missing, Missing(SessionId(session_id(3)), SeqSet([1]))])
    assert not explains({session_id(1): SeqSet([1])}, missing)


def test_a_sweep_that_went_by_a_relocation_which_is_lost_explains_nothing() -> None:
    first = swept({1: [1]}).sweeps[0]
    by_one = msgspec.structs.replace(first, relocations=(b"relocate",))
    record = RelocationRecord(b"r" * 16, 1, b"relocate", RelocationStage.ANNOUNCED)
    for announced, is_explained in (((), False), ((Relocation("", record, False),), False), ((Relocation("", record, True),), True)):
        taken = taken_frames(Collections((), (by_one,), {}, 2), Relocations(announced))
        assert bool(taken) is is_explained


def test_what_packs_hold_by_session() -> None:
    sessions = {number: SessionRecord(SessionId(session_id(number)), HOST, 0) for number in (1, 2, 100)}
    packs = [record("a", {1: [0, 1]}), record("b", {1: [7], 2: [3]}), record("c", {100: [9]})]
    assert listed_frames(sessions, packs) == {session_id(1): SeqSet([0, 1, 7, 9]), session_id(2): SeqSet([3])}
