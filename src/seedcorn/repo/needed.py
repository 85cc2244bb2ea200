"""Sets of frames: which ones are indexed, which ones a snapshot needs. Set operations here replace walking trees.

A member of a ``FrameSet`` is a frame's ordinal in the local state. Invariant: a set never grows beyond what the index holds, however large a set a
snapshot claims to need (a few bytes of bitmap can stand for billions of frames).

docs/format.md, section "Snapshot".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from pyroaring import BitMap

from seedcorn.errors import IntegrityError
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import SessionId
from seedcorn.repo.history import Snapshot
from seedcorn.repo.state import FrameSet, State, frame_ordinal

__all__ = ["FrameSet", "IndexedFrames", "Missing", "Needed", "needed_frames", "open_bitmap"]


@dataclass(frozen=True, slots=True)
class Missing:
    """How many frames of one session a snapshot needs and the index lacks; ``seq`` is the first of them."""

    session: SessionId
    count: int
    seq: int


@dataclass(frozen=True, slots=True)
class Needed:
    """The frames of one snapshot: those that are indexed, and those that are not."""

    frames: FrameSet
    missing: tuple[Missing, ...]


def needed_frames(frames: FrameSet, session_of: Callable[[int], SessionId]) -> tuple[NeededFrames, ...]:
    """The form in which a snapshot keeps its frames: a bitmap for each session, sorted by session. ``session_of`` knows a session's number."""
    seqs: dict[int, list[int]] = defaultdict(list)
    for ordinal in frames:
        seqs[ordinal >> 32].append(ordinal & 0xFFFFFFFF)
    needed = [NeededFrames(session_of(number), BitMap(of_session).serialize()) for number, of_session in seqs.items()]
    return tuple(sorted(needed, key=lambda entry: entry.session))


def open_bitmap(needed: NeededFrames) -> BitMap:
    """The sequence numbers of the frames that a snapshot needs of one session.

    Raises:
        IntegrityError: not a roaring bitmap.
    """
    try:
        return BitMap.deserialize(needed.bitmap)
    except (ValueError, IndexError) as error:  # the latter for no bytes at all
        raise IntegrityError(f"its set of frames is malformed: {error}") from error


class IndexedFrames:
    """The frames of a state as they were when this was made, by session."""

    def __init__(self, state: State) -> None:
        self._numbers: dict[SessionId, list[int]] = defaultdict(list)
        for number, record in state.sessions().items():
            self._numbers[record.session].append(number)
        self._by_number: dict[int, BitMap] = defaultdict(BitMap)
        for pack in state.packs():
            for number, seqs in pack.frames().items():
                self._by_number[number] |= seqs

    def __len__(self) -> int:
        return sum(map(len, self._by_number.values()))

    def needed_by(self, snapshot: Snapshot) -> Needed:
        """What a snapshot says that it needs.

        Raises:
            IntegrityError: its set of frames is malformed; names the snapshot.
        """
        frames = FrameSet()
        missing: list[Missing] = []
        for needed in snapshot.maintain.needed:
            try:
                wanted = open_bitmap(needed)
            except IntegrityError as error:
                raise error.named(snapshot.key) from error
            session = SessionId(needed.session)
            for number in self._numbers.get(session, ()):  # more than one only if a host claims another one's session
                found = wanted & self._by_number.get(number, BitMap())
                frames.update([frame_ordinal(number, seq) for seq in found])
                wanted -= found
            if wanted:
                missing.append(Missing(session, len(wanted), wanted.min()))
        return Needed(frames, tuple(missing))
