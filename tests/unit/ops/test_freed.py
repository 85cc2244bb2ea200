"""ops/freed.py: what removing snapshots would free, against counting frame by frame."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from seedcorn.ids import SnapshotId
from seedcorn.ops.freed import freed_bytes, sealed_bytes
from seedcorn.repo.needed import FrameSet
from seedcorn.repo.state import frame_ordinal

A, B, C = SnapshotId(b"a"), SnapshotId(b"b"), SnapshotId(b"c")
SIZES = {1: array("I", [1, 10, 100, 1_000]), 700: array("I", [10_000, 100_000])}


def frames(*pairs: tuple[int, int]) -> FrameSet:
    return FrameSet([frame_ordinal(session, seq) for session, seq in pairs])


def test_sizes_are_those_of_the_session() -> None:
    assert sealed_bytes(frames((1, 0), (1, 3), (700, 1)), SIZES) == 101_001
    assert sealed_bytes(FrameSet(), SIZES) == 0


def test_what_two_share_is_freed_by_both_together_only() -> None:
    needed = {A: frames((1, 0), (1, 1)), B: frames((1, 1), (1, 2)), C: frames((1, 3))}
    found = freed_bytes(needed, {A, B}, SIZES)
    assert found.alone == {A: 1, B: 100, C: 1_000}
    assert found.together == 111


def test_what_a_kept_one_needs_is_not_freed() -> None:
    needed = {A: frames((1, 0), (1, 1)), B: frames((1, 1), (700, 0))}
    assert freed_bytes(needed, {A}, SIZES).together == 1
    assert freed_bytes(needed, set(), SIZES).together == 0
    assert freed_bytes(needed, {A, B}, SIZES).together == 10_011


def test_what_a_running_session_needs_is_not_freed() -> None:
    found = freed_bytes({A: frames((1, 0), (1, 1)), B: frames((1, 2))}, {A, B}, SIZES, others=frames((1, 1), (1, 3)))
    assert found.alone == {A: 1, B: 100}
    assert found.together == 101


def test_the_sets_are_left_as_they_were() -> None:
    needed, others = {A: frames((1, 0)), B: frames((1, 0), (1, 1))}, frames((1, 2))
    freed_bytes(needed, {A}, SIZES, others=others)
    assert needed == {A: frames((1, 0)), B: frames((1, 0), (1, 1))}
    assert others == frames((1, 2))


NUMBERS = (1, 2, 70_000)
ordinals = st.builds(frame_ordinal, st.sampled_from(NUMBERS), st.integers(0, 9))
sets = st.frozensets(ordinals, max_size=25)


@given(st.lists(st.tuples(sets, st.booleans()), max_size=6), sets)
def test_it_is_as_if_counted_one_by_one(snapshots: list[tuple[frozenset[int], bool]], others: frozenset[int]) -> None:
    sizes = {number: array("I", [2**seq * (place + 1) for seq in range(10)]) for place, number in enumerate(NUMBERS)}
    wanted = {SnapshotId(bytes([at])): frames for at, (frames, _) in enumerate(snapshots)}
    removed = {SnapshotId(bytes([at])) for at, (_, goes) in enumerate(snapshots) if goes}

    def size_without(gone: set[SnapshotId]) -> int:
        left = others.union(*(frames for snapshot, frames in wanted.items() if snapshot not in gone))
        return sum(sizes[ordinal >> 32][ordinal & 0xFFFFFFFF] for ordinal in left)

    found = freed_bytes({snapshot: FrameSet(frames) for snapshot, frames in wanted.items()}, removed, sizes, others=FrameSet(others))
    assert found.alone == {snapshot: size_without(set()) - size_without({snapshot}) for snapshot in wanted}
    assert found.together == size_without(set()) - size_without(removed)
