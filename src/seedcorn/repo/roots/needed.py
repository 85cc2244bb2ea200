"""Sets of frames: which ones are indexed, which ones a snapshot needs. Set operations here replace walking trees.

A member of a ``FrameSet`` is a frame's ordinal in the local state; where all roots are looked at, sets are 32-bit bitmaps of sequence numbers by
session number, which is quicker. Invariant: a set never grows beyond what the index holds, however large a set a snapshot claims to need (a few bytes
of bitmap can stand for billions of frames).

docs/format.md, section "Snapshot".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pyroaring import BitMap as SeqSet  # a set of the sequence numbers of frames of one session

from seedcorn.errors import IntegrityError
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import SessionId
from seedcorn.repo.roots.history import Snapshot
from seedcorn.repo.state.state import FrameSet, PackRecord, SessionRecord, State, frame_ordinal

__all__ = ["BySession", "FrameSet", "IndexedFrames", "Missing", "Needed", "NeededByAll", "SeqSet", "needed_by_any", "needed_frames", "open_bitmap"]

BySession = dict[int, SeqSet]  # session number -> sequence numbers


@dataclass(frozen=True, slots=True)
class Missing:
    """The frames of one session that a snapshot needs and the index lacks."""

    session: SessionId
    seqs: SeqSet

    @property
    def count(self) -> int:
        return len(self.seqs)

    @property
    def seq(self) -> int:
        """The first of them."""
        return self.seqs.min()


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
    needed = [NeededFrames(session_of(number), SeqSet(of_session).serialize()) for number, of_session in seqs.items()]
    return tuple(sorted(needed, key=lambda entry: entry.session))


def open_bitmap(needed: NeededFrames) -> SeqSet:
    """The sequence numbers of the frames that a snapshot needs of one session.

    Raises:
        IntegrityError: not a roaring bitmap.
    """
    try:
        return SeqSet.deserialize(needed.bitmap)
    except (ValueError, IndexError) as error:  # the latter for no bytes at all
        raise IntegrityError(f"its set of frames is malformed: {error}") from error


def needed_by_any(snapshots: Iterable[Snapshot]) -> Callable[[bytes, int], bool]:
    """Whether any of these snapshots needs a frame, by session and sequence number; a malformed set needs nothing."""
    wanted: defaultdict[bytes, SeqSet] = defaultdict(SeqSet)
    for snapshot in snapshots:
        for needed in snapshot.maintain.needed:
            with suppress(IntegrityError):
                wanted[needed.session] |= open_bitmap(needed)
    return lambda session, seq: session in wanted and seq in wanted[session]


class IndexedFrames:
    """The frames in some packs, by session."""

    def __init__(self, sessions: Mapping[int, SessionRecord], packs: Iterable[PackRecord]) -> None:
        self._numbers: dict[bytes, list[int]] = defaultdict(list)
        for number, record in sessions.items():
            self._numbers[record.session].append(number)
        self._by_number: BySession = defaultdict(SeqSet)
        for pack in packs:
            for number, seqs in pack.frames().items():
                self._by_number[number] |= seqs

    @classmethod
    def of(cls, state: State) -> IndexedFrames:
        """Those of all packs that a state knows now."""
        return cls(state.sessions(), state.packs())

    def __len__(self) -> int:
        return sum(map(len, self._by_number.values()))

    def look_up(self, needed: NeededFrames) -> tuple[BySession, SeqSet]:
        """(the indexed frames, the missing ones) of one session.

        More than one number has an id only if its host says two things of its session: nobody can tell here which of them is right, so each is meant.

        Raises:
            IntegrityError: the bitmap is malformed.
        """
        wanted = open_bitmap(needed)
        found = {number: wanted & self._by_number[number] for number in self._numbers.get(needed.session, ()) if number in self._by_number}
        for seqs in found.values():
            wanted -= seqs
        return found, wanted

    def needed_by(self, snapshot: Snapshot) -> Needed:
        """What a snapshot says that it needs.

        Raises:
            IntegrityError: its set of frames is malformed; names the snapshot.
        """
        frames = FrameSet()
        missing: list[Missing] = []
        for needed in snapshot.maintain.needed:
            try:
                found, absent = self.look_up(needed)
            except IntegrityError as error:
                raise error.named(snapshot.key) from error
            for number, seqs in found.items():
                frames.update([frame_ordinal(number, seq) for seq in seqs])
            if absent:
                missing.append(Missing(SessionId(needed.session), absent))
        return Needed(frames, tuple(missing))


class NeededByAll:
    """What many snapshots need together. Most have most bitmaps in common, byte for byte, so each different one is looked at once."""

    def __init__(self, indexed: IndexedFrames) -> None:
        self._indexed = indexed
        self._seen: dict[tuple[bytes, bytes], tuple[BySession, SeqSet]] = {}
        self.frames: BySession = {}

    def add(self, needed: Iterable[NeededFrames]) -> list[Missing]:
        """One more snapshot; the frames of it that are not indexed.

        Raises:
            IntegrityError: a bitmap is malformed.
        """
        missing = []
        for entry in needed:
            found = self._seen.get((entry.session, entry.bitmap))
            if found is None:
                found = self._add(entry)
            if found[1]:
                missing.append(Missing(SessionId(entry.session), found[1]))
        return missing

    def found(self, needed: Iterable[NeededFrames]) -> list[tuple[int, SeqSet]]:
        """The indexed frames of a snapshot that has been added; equal bitmaps are one object."""
        return [pair for entry in needed for pair in self._seen[entry.session, entry.bitmap][0].items()]

    def _add(self, entry: NeededFrames) -> tuple[BySession, SeqSet]:
        result = self._seen[entry.session, entry.bitmap] = self._indexed.look_up(entry)
        for number, seqs in result[0].items():
            self.frames[number] = self.frames[number] | seqs if number in self.frames else seqs
        return result
