"""How many stored bytes the removal of snapshots would free, by set operations over bitmaps: no tree is walked, no pack is read.

Pure. A frame is freed if nothing that stays needs it, so whoever asks names everything that needs frames, snapshots or not. Invariants: a bitmap that
many snapshots have in common, as most are, is looked at once; the only work done frame by frame in Python is adding up the sizes of those that would
be freed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from seedcorn.ids import SnapshotId
from seedcorn.repo.roots.needed import SeqSet

__all__ = ["FrameSizes", "Frames", "Freed", "freed_bytes", "sealed_bytes"]

Frames = Sequence[tuple[int, SeqSet]]  # session number of the state, sequence numbers; equal bitmaps should be one object, which saves time
FrameSizes = Mapping[int, Mapping[int, int] | Sequence[int]]  # session number -> sealed bytes of its frames by seq


@dataclass(frozen=True, slots=True)
class Freed:
    """In bytes of sealed frames. What two removed snapshots share is freed by both together and by neither alone."""

    alone: Mapping[SnapshotId, int]  # by removing this one only, for each of those asked about
    together: int  # by removing all that the plan removes


@dataclass(slots=True)
class _Shared:
    """One bitmap, and who has it."""

    seqs: SeqSet
    snapshots: list[SnapshotId] = field(default_factory=list)


def freed_bytes(
    needed: Mapping[SnapshotId, Frames], removed: Collection[SnapshotId], sizes: FrameSizes, *, others: Mapping[int, SeqSet] | None = None
) -> Freed:
    """What every snapshot in ``needed`` holds for itself, and what removing ``removed`` would free.

    ``others`` are the frames that stay whatever becomes of snapshots: those of running sessions. ``sizes`` has to know every frame in the sets.
    """
    by_session: dict[int, dict[int, _Shared]] = defaultdict(dict)
    for snapshot, frames in needed.items():
        for number, seqs in frames:
            of_session = by_session[number]
            shared = of_session.get(id(seqs))
            if shared is None:
                shared = of_session[id(seqs)] = _Shared(seqs)
            shared.snapshots.append(snapshot)
    alone = dict.fromkeys(needed, 0)
    together = 0
    for number, of_session in by_session.items():
        kept = others[number] if others and number in others else SeqSet()
        together += _free(of_session.values(), kept, removed, sizes[number], alone)
    return Freed(alone, together)


def _free(
    sets: Collection[_Shared], kept: SeqSet, removed: Collection[SnapshotId], sizes: Mapping[int, int] | Sequence[int], alone: dict[SnapshotId, int]
) -> int:
    """Add to ``alone`` what single snapshots hold of one session; what all that are removed hold of it."""
    once, several = SeqSet(), kept.copy()  # needed by anything so far, and by more than one
    staying, going = kept.copy(), SeqSet()
    for shared in sets:
        several |= shared.seqs & once if len(shared.snapshots) == 1 else shared.seqs
        once |= shared.seqs
        if all(snapshot in removed for snapshot in shared.snapshots):
            going |= shared.seqs
        else:
            staying |= shared.seqs
    once -= several
    if once:
        for shared in sets:
            if len(shared.snapshots) == 1:
                alone[shared.snapshots[0]] += sealed_bytes(shared.seqs & once, sizes)
    return sealed_bytes(going - staying, sizes)


def sealed_bytes(seqs: Iterable[int], sizes: Mapping[int, int] | Sequence[int]) -> int:
    """How much frames of one session take in the store."""
    return sum([sizes[seq] for seq in seqs])
