"""ops/retention/freed.py: what removing snapshots would free, against counting frame by frame."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from seedcorn.ids import SnapshotId
from seedcorn.ops.retention.freed import Frames, freed_bytes, sealed_bytes

A, B, C = SnapshotId(b"a"), SnapshotId(b"b"), SnapshotId(b"c")
SIZES = {1: array("I", [1, 10, 100, 1_000]), 700: array("I", [10_000, 100_000])}
Pair = tuple[int, int]  # session number, sequence number


def by_session(pairs: Iterable[Pair]) -> dict[int, BitMap]:
    found: dict[int, BitMap] = defaultdict(BitMap)
    for number, seq in pairs:
        found[number].add(seq)
    return dict(found)


def frames(*pairs: Pair) -> Frames:
    return list(by_session(pairs).items())


def test_sizes_are_those_of_the_session() -> None:
    assert sealed_bytes(BitMap([0, 3]), SIZES[1]) == 1_001
    assert sealed_bytes([], SIZES[1]) == 0


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
    found = freed_bytes({A: frames((1, 0), (1, 1)), B: frames((1, 2))}, {A, B}, SIZES, others=by_session([(1, 1), (1, 3)]))
    assert found.alone == {A: 1, B: 100}
    assert found.together == 101


def test_a_bitmap_that_two_have_in_common_may_be_one_object() -> None:
    common = BitMap([0, 1])
    found = freed_bytes({A: [(1, common)], B: [(1, common), (700, BitMap([1]))]}, {A, B}, SIZES)
    assert found.alone == {A: 0, B: 100_000}
    assert found.together == 100_011
    assert common == BitMap([0, 1])


NUMBERS = (1, 2, 70_000)
pairs = st.tuples(st.sampled_from(NUMBERS), st.integers(0, 9))
sets = st.frozensets(pairs, max_size=25)


@given(st.lists(st.tuples(sets, st.booleans()), max_size=6), sets)
def test_it_is_as_if_counted_one_by_one(snapshots: list[tuple[frozenset[Pair], bool]], others: frozenset[Pair]) -> None:
    sizes = {number: array("I", [2**seq * (place + 1) for seq in range(10)]) for place, number in enumerate(NUMBERS)}
    wanted = {SnapshotId(bytes([at])): frames for at, (frames, _) in enumerate(snapshots)}
    removed = {SnapshotId(bytes([at])) for at, (_, goes) in enumerate(snapshots) if goes}

    def size_without(gone: set[SnapshotId]) -> int:
        left = others.union(*(frames for snapshot, frames in wanted.items() if snapshot not in gone))
        return sum(sizes[number][seq] for number, seq in left)

    found = freed_bytes({snapshot: frames(*needs) for snapshot, needs in wanted.items()}, removed, sizes, others=by_session(others))
    assert found.alone == {snapshot: size_without(set()) - size_without({snapshot}) for snapshot in wanted}
    assert found.together == size_without(set()) - size_without(removed)
