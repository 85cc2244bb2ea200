"""How many stored bytes the removal of snapshots would free, by set operations over bitmaps: no tree is walked, no pack is read.

Pure. A frame is freed if nothing that stays needs it, so whoever asks names everything that needs frames, snapshots or not. Invariant: the only work
done frame by frame in Python is adding up the sizes of those that would be freed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from seedcorn.ids import SnapshotId
from seedcorn.repo.needed import FrameSet

__all__ = ["FrameSizes", "Freed", "freed_bytes", "sealed_bytes"]

FrameSizes = Mapping[int, Sequence[int]]  # session number of the state -> sealed bytes of its frames by seq; an array("I") is small and quick


@dataclass(frozen=True, slots=True)
class Freed:
    """In bytes of sealed frames. What two removed snapshots share is freed by both together and by neither alone."""

    alone: Mapping[SnapshotId, int]  # by removing this one only, for each of those asked about
    together: int  # by removing all that the plan removes


def freed_bytes(
    needed: Mapping[SnapshotId, FrameSet], removed: Collection[SnapshotId], sizes: FrameSizes, *, others: FrameSet | None = None
) -> Freed:
    """What every snapshot in ``needed`` holds for itself, and what removing ``removed`` would free.

    ``others`` are the frames that stay whatever becomes of snapshots: those of running sessions. The sets hold indexed frames only, as
    ``IndexedFrames.needed_by`` gives them: ``sizes`` knows each.
    """
    once, shared = FrameSet(), FrameSet() if others is None else others.copy()  # needed by anything so far, and by more than one
    staying = FrameSet()
    for goes in (False, True):  # those that stay first, so that what they need is known without a set operation more
        for snapshot, frames in needed.items():
            if (snapshot in removed) == goes:
                fresh = frames - shared  # few, once the first snapshots are through
                shared |= once & fresh
                once |= fresh
        if not goes:
            staying = once.copy()
    together = sealed_bytes(once - staying, sizes)
    once -= shared
    return Freed({snapshot: sealed_bytes(frames & once, sizes) for snapshot, frames in needed.items()}, together)


def sealed_bytes(frames: FrameSet, sizes: FrameSizes) -> int:
    """How much a set of frames takes in the store."""
    return sum([sizes[ordinal >> 32][ordinal & 0xFFFFFFFF] for ordinal in frames])
