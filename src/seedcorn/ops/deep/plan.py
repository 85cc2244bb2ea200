"""Which frames are mostly dead: needed by snapshots, whose trees use little of what is in them.

Owns how much of a frame may be dead, and which frames are looked at: those that only confirmed snapshots need, since what anything else needs of a
frame is not known. Reads listings and no content. docs/format.md, section "Relocation".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from seedcorn.errors import UsageError
from seedcorn.format.collection import SnapshotRef
from seedcorn.ops.deep.walk import TreeWalk
from seedcorn.ops.gc.survey import Survey, refuse_unsound
from seedcorn.quantities import parse_percentage
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.collections import Pack
from seedcorn.repo.roots.history import Snapshot, open_snapshots
from seedcorn.repo.roots.needed import BySession, IndexedFrames, NeededByAll, SeqSet
from seedcorn.repo.roots.roots import RootSnapshot, Standing
from seedcorn.repo.state.chunk_use import ChunkUse
from seedcorn.repo.state.state import FrameSet, PackRecord, State, frame_ordinal

__all__ = ["MAX_DEAD", "DeepPlan", "PoorFrame", "PoorSnapshot", "parse_max_dead", "plan_deep"]

MAX_DEAD = 0.5


def parse_max_dead(text: str) -> float:
    """A share from ``50%``.

    Raises:
        UsageError: anything else.
    """
    percent = parse_percentage(text)
    if percent is None or not percent < 100:
        raise UsageError(f"{text!r} of a frame: give a percentage below 100, such as 50%")
    return percent / 100


@dataclass(frozen=True, slots=True)
class PoorFrame:
    """A frame that is mostly dead. Bytes are as stored, and before compression: all, and those of chunks that are used."""

    ordinal: int
    sealed_bytes: int
    raw_bytes: int
    live_bytes: int

    @property
    def written_bytes(self) -> int:
        """About what its live chunks take once they are stored anew."""
        return self.sealed_bytes * self.live_bytes // self.raw_bytes if self.raw_bytes else 0


@dataclass(frozen=True, slots=True)
class PoorSnapshot:
    """A snapshot that needs poor frames, and how much of it they are, in bytes as stored."""

    snapshot: Snapshot
    frames: int
    sealed_bytes: int


@dataclass(frozen=True, slots=True)
class DeepPlan:
    """``frames`` are to be read, and what is used of them to be written anew. ``walked`` are the snapshots whose every chunk is noted in ``use``;
    ``packs`` hold poor frames. Sizes in bytes as stored; ``needed_bytes`` are those of all frames that were looked at."""

    frames: tuple[PoorFrame, ...]
    snapshots: tuple[PoorSnapshot, ...]
    packs: frozenset[Pack]
    walked: frozenset[SnapshotRef]
    use: ChunkUse
    needed_bytes: int

    @property
    def read_bytes(self) -> int:
        return sum(frame.sealed_bytes for frame in self.frames if frame.live_bytes)

    @property
    def written_bytes(self) -> int:
        return sum(frame.written_bytes for frame in self.frames)

    @property
    def freed_bytes(self) -> int:
        """What a collection can take less what is written."""
        return sum(frame.sealed_bytes for frame in self.frames) - self.written_bytes


def plan_deep(repository: OwnerRepository, state: State, survey: Survey, max_dead: float = MAX_DEAD) -> DeepPlan:
    """Walk every confirmed snapshot. ``max_dead`` is the share of a frame's bytes up to which it may stay as it is.

    Raises:
        IntegrityError: something is damaged or missing, so that nobody can say what is used.
    """
    refuse_unsound(survey, "nothing is written anew")
    snapshots, unopened = open_snapshots(repository, survey.roots)
    for problem in unopened:
        raise problem
    walked = [snapshot for snapshot in snapshots if snapshot.standing is Standing.CONFIRMED]
    indexed = IndexedFrames(survey.sessions, (record for pack in survey.packs.values() if pack.present for record in pack.records))
    looked_at = _frames_of_confirmed_alone(survey, indexed)
    use = ChunkUse(state, looked_at)
    walk = TreeWalk(Reader(repository, state), use)
    for snapshot in walked:
        walk.walk(snapshot.owner.root)
    sizes = {ordinal: (sealed_bytes, raw_bytes) for ordinal, _, sealed_bytes, raw_bytes in state.frames() if ordinal in looked_at}
    frames = [PoorFrame(ordinal, *sizes[ordinal], use.live_bytes(ordinal)) for ordinal in looked_at if ordinal in sizes]
    poor = tuple(frame for frame in frames if frame.raw_bytes - frame.live_bytes > max_dead * frame.raw_bytes)
    seqs = _by_session(frame.ordinal for frame in poor)
    return DeepPlan(
        frames=poor,
        snapshots=tuple(_poor_snapshots(indexed, walked, poor)),
        packs=frozenset(name for name, pack in survey.packs.items() if any(_holds(record, seqs) for record in pack.records)),
        walked=frozenset(root.ref for root in survey.roots.snapshots if root.standing is Standing.CONFIRMED),
        use=use,
        needed_bytes=sum(frame.sealed_bytes for frame in frames),
    )


def _frames_of_confirmed_alone(survey: Survey, indexed: IndexedFrames) -> FrameSet:
    """The frames that confirmed snapshots need and nothing else; of those the ones of which there can be no two opinions: their session has one key,
    and the one pack with it is there, is listed in one way, and is named by no sweep. In two packs a host may have stored two frames of one
    name, and snapshots may need chunks of both."""
    confirmed, others = NeededByAll(indexed), NeededByAll(indexed)
    for root, needed in survey.roots.needs():
        (confirmed if isinstance(root, RootSnapshot) and root.standing is Standing.CONFIRMED else others).add(needed)
    swept = survey.collections.swept()
    doubtful, listed = others.frames, dict[int, SeqSet]()
    for name, pack in survey.packs.items():
        clear = pack.present and len(pack.records) == 1 and name not in swept
        for record in pack.records:
            for number, seqs in record.frames().items():
                known = listed.setdefault(number, SeqSet())
                doubtful[number] = doubtful.get(number, SeqSet()) | (seqs & known if clear else seqs)
                listed[number] = known | seqs
    keys = Counter(record.session for record in survey.sessions.values())
    return FrameSet(
        frame_ordinal(number, seq)
        for number, seqs in confirmed.frames.items()
        if keys[survey.sessions[number].session] == 1
        for seq in seqs - doubtful.get(number, SeqSet())
    )


def _poor_snapshots(indexed: IndexedFrames, walked: Iterable[Snapshot], poor: Iterable[PoorFrame]) -> Iterable[PoorSnapshot]:
    sizes = {frame.ordinal: frame.sealed_bytes for frame in poor}
    poor_frames = FrameSet(sizes)
    for snapshot in walked:
        own = indexed.needed_by(snapshot).frames & poor_frames
        if own:
            yield PoorSnapshot(snapshot, len(own), sum(sizes[ordinal] for ordinal in own))


def _by_session(ordinals: Iterable[int]) -> BySession:
    seqs: defaultdict[int, SeqSet] = defaultdict(SeqSet)
    for ordinal in ordinals:
        seqs[ordinal >> 32].add(ordinal & 0xFFFFFFFF)
    return seqs


def _holds(record: PackRecord, frames: BySession) -> bool:
    return any(number in frames and not SeqSet.deserialize(packed).isdisjoint(frames[number]) for number, packed in record.runs)
