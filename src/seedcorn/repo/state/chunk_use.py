"""Which chunks of some frames are used: places in the frames, in bitmaps, with no id kept.

Invariant: a chunk that is used is noted in every one of the frames that holds a copy of it, as the index says, so whoever needs one of those frames
for that chunk finds it noted there.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from seedcorn.repo.state.state import FrameSet, State

__all__ = ["ChunkUse"]


class ChunkUse:
    """What is used of ``frames`` (by ordinal). Nothing is, until it is noted."""

    def __init__(self, state: State, frames: FrameSet) -> None:
        self._state = state
        self._frames = array("Q", frames)  # ascending
        self._live = FrameSet()  # place among the frames << 32 | offset of a chunk in its frame
        self._live_bytes = array("Q", bytes(8 * len(self._frames)))

    def note(self, chunk_id: bytes, length: int) -> None:
        """A chunk of ``length`` bytes is used."""
        for copy in self._state.copies(chunk_id):  # type: ignore[arg-type]  # a chunk id, out of content records
            at = self._find(copy.ordinal)
            if at is None or copy.length != length:
                continue
            place = at << 32 | copy.offset
            if place not in self._live:
                self._live.add(place)
                self._live_bytes[at] += length

    def is_live(self, ordinal: int, offset: int) -> bool:
        """Whether the chunk at an offset of one of the frames is used."""
        at = self._find(ordinal)
        return at is not None and (at << 32 | offset) in self._live

    def live_bytes(self, ordinal: int) -> int:
        """How many bytes of a frame are used, before compression."""
        at = self._find(ordinal)
        return 0 if at is None else self._live_bytes[at]

    def _find(self, ordinal: int) -> int | None:
        at = bisect_left(self._frames, ordinal)
        return at if at < len(self._frames) and self._frames[at] == ordinal else None
