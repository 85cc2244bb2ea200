"""What snapshots need after poor frames have been written anew."""

from __future__ import annotations

from seedcorn.format.snapshot import NeededFrames
from seedcorn.ops.deep.relocate import MovedFrames, needed_after
from seedcorn.repo.roots.needed import SeqSet, open_bitmap

A, B, NEW = b"a" * 16, b"b" * 16, b"n" * 16


def needs(**sessions: list[int]) -> tuple[NeededFrames, ...]:
    return tuple(NeededFrames(name[0].encode() * 16, SeqSet(seqs).serialize()) for name, seqs in sessions.items())


def opened(needed: tuple[NeededFrames, ...]) -> dict[bytes, list[int]]:
    return {entry.session: list(open_bitmap(entry)) for entry in needed}


MOVED: MovedFrames = {(A, 1): {(NEW, 0)}, (A, 2): {(NEW, 0), (NEW, 1)}, (A, 3): set(), (B, 7): {(B, 9)}}


def test_poor_frames_are_exchanged_for_those_that_hold_what_is_used_of_them() -> None:
    several = [needs(a=[0, 1], b=[5]), needs(a=[1, 2, 3]), needs(a=[0], b=[7, 8]), needs(a=[3])]
    assert [opened(needed) for needed in needed_after(several, MOVED)] == [
        {A: [0], B: [5], NEW: [0]},
        {NEW: [0, 1]},
        {A: [0], B: [8, 9]},
        {},
    ]


def test_what_needs_no_poor_frame_stays_as_it_is_said() -> None:
    said = needs(b=[1], a=[0, 4])  # not even in the usual order
    assert needed_after([said], MOVED) == [said]
    assert needed_after([said], {}) == [said]


def test_a_session_that_is_named_twice_loses_nothing() -> None:
    twice = needs(a=[0, 1], a2=[1, 5], b=[1], b2=[2])
    assert opened(needed_after([twice], MOVED)[0]) == {A: [0, 5], B: [1, 2], NEW: [0]}
