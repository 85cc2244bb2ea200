"""Which frames are fetched together: those that lie close to each other in one pack, up to a limit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedcorn.format.names import pack_key
from seedcorn.repo.state.state import FramePlace

__all__ = ["FrameRange", "coalesce", "surroundings"]

COALESCE_GAP_BYTES = 256 << 10  # cheaper to read over than to ask twice
COALESCE_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames that lie close together in one pack, in order of their offset: fetched in one request."""

    key: str
    start: int
    length: int
    frames: tuple[tuple[int, FramePlace], ...]

    @staticmethod
    def over(frames: Sequence[tuple[int, FramePlace]]) -> FrameRange:
        """The range of these frames of one pack, in order of their offset."""
        first = frames[0][1]
        end = max(place.offset + place.sealed_bytes for _, place in frames)  # of one that a host has listed with a lie, others may lie inside
        return FrameRange(pack_key(first.host, first.pack), first.offset, end - first.offset, tuple(frames))


def surroundings(places: Mapping[int, FramePlace], ordinal: int) -> FrameRange:
    """The range that one of ``places`` is fetched with: what lies around it in its pack, as much as a request may bring."""
    center = places[ordinal]
    beside = {other: place for other, place in places.items() if (place.host, place.pack) == (center.host, center.pack)}
    pack_end = max(place.offset + place.sealed_bytes for place in beside.values())
    begin = min(center.offset - COALESCE_LIMIT_BYTES // 2, pack_end - COALESCE_LIMIT_BYTES)
    end = max(begin, 0) + COALESCE_LIMIT_BYTES
    around = {other: place for other, place in beside.items() if begin <= place.offset and place.offset + place.sealed_bytes <= end}
    return next(found for found in coalesce(around | {ordinal: center}) if any(other == ordinal for other, _ in found.frames))


def coalesce(places: dict[int, FramePlace]) -> list[FrameRange]:
    """Ranges over frames, sorted by pack and offset; close neighbours together up to a limit."""
    ranges: list[FrameRange] = []
    run: list[tuple[int, FramePlace]] = []
    for ordinal, place in sorted(places.items(), key=lambda item: (item[1].host, item[1].pack, item[1].offset)):
        if run and ((place.host, place.pack) != (run[0][1].host, run[0][1].pack) or not _near(run, place)):
            ranges.append(FrameRange.over(run))
            run = []
        run.append((ordinal, place))
    if run:
        ranges.append(FrameRange.over(run))
    return ranges


def _near(run: Sequence[tuple[int, FramePlace]], place: FramePlace) -> bool:
    last = run[-1][1]
    gap = place.offset - (last.offset + last.sealed_bytes)
    return gap <= COALESCE_GAP_BYTES and place.offset + place.sealed_bytes - run[0][1].offset <= COALESCE_LIMIT_BYTES
