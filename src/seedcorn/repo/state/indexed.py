"""What the index says, as values: sessions, segments, packs, and places of frames.

A frame's *ordinal* is ``session number << 32 | seq``, where the session number is this state's own short name for a session. Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import msgspec
from pyroaring import BitMap
from pyroaring import BitMap64 as FrameSet  # a set of frame ordinals

from seedcorn.ids import HostId, PackId, SessionId

__all__ = ["FramePlace", "FrameSet", "PackRecord", "SegmentRecord", "SessionRecord", "frame_ordinal"]


def frame_ordinal(session_number: int, seq: int) -> int:
    """The frame's name in this state."""
    return session_number << 32 | seq


class FramePlace(msgspec.Struct, frozen=True, gc=False):
    """Where a frame lies."""

    host: HostId
    pack: PackId
    offset: int
    sealed_bytes: int
    raw_bytes: int
    kind: int


class SessionRecord(msgspec.Struct, frozen=True):
    """One session whose frames are indexed."""

    session: SessionId
    host: HostId
    domain: int
    complete: bool = False  # ended with a confirmed snapshot


class SegmentRecord(msgspec.Struct, array_like=True, frozen=True):
    """One segment. ``packs`` are the numbers of those that it lists; None: it is in the store, and nobody here has had the key of its domain yet."""

    domain: int
    packs: tuple[int, ...] | None

    @property
    def is_loaded(self) -> bool:
        return self.packs is not None


class PackRecord(msgspec.Struct, array_like=True, frozen=True):
    """One pack as a segment lists it: for set operations over whole packs, no frame is looked up.

    ``runs`` are (session number, serialized 32-bit bitmap of sequence numbers); ``sealed`` the sealed bytes of the frames in that order, as 32-bit
    numbers; ``digest`` tells two lists of one pack apart.
    """

    host: HostId
    pack: PackId
    kind: int
    digest: bytes
    runs: tuple[tuple[int, bytes], ...]
    sealed: bytes

    def frames(self) -> dict[int, BitMap]:
        """Sequence numbers by session number."""
        return {number: BitMap.deserialize(bitmap) for number, bitmap in self.runs}

    def ordinals(self) -> Iterator[int]:
        """In the order of ``sealed_bytes``."""
        return (frame_ordinal(number, seq) for number, seqs in self.frames().items() for seq in seqs)

    @property
    def sealed_bytes(self) -> array[int]:
        return array("I", self.sealed)
