"""Planning a restore: from wanted files to spans of work. Pure but for the index that it asks; touches no file and fetches nothing.

Owns how work is cut. A span is either some files, whole and in the order of the tree, or a part of one file that is too large for that; and the
frames that hold their chunks. Backups fill frames in the order of the tree, so neighbouring files need the same few frames. Invariant: a span's
limits bound what writing it takes in memory, whatever the repository says; together the spans cover every chunk of every file that the index places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from seedcorn.format.tree import CONTENT_RECORD_BYTES, Node, content_records
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.ops.restore.links import LinkedFile
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.state.state import ChunkPlace, FramePlace

__all__ = ["Run", "Span", "SpanLimits", "WantedFile", "plan_spans"]

Run = tuple[int, int, int]  # frame (its number in the span), offset in its raw bytes, how many of the file's next chunks lie there end to end


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """What a span may need. A file that alone needs more is cut into parts that do not (but for a single chunk's frame)."""

    sealed_bytes: int = 4 << 20
    content_bytes: int = 16 << 20
    files: int = 1_000
    lookup_chunks: int = 4_000  # whose places are asked for at once


class WantedFile(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A file to be restored. Its node's ``content`` has every indirection followed; ``path`` is the one in the snapshot; ``file`` is what tells its
    other names, if it has any."""

    directory: DirectoryHandle
    node: Node
    path: bytes
    file: LinkedFile | None = None


@dataclass(slots=True, eq=False)
class Span:
    """Some work: ``files`` with the ``runs`` of each, over ``frames``.

    Or one part of a ``big`` file, from content offset ``offset``: the only entry of ``files`` then has the content records of that part.
    """

    files: list[WantedFile] = field(default_factory=list)
    runs: list[list[Run]] = field(default_factory=list)
    frames: dict[int, FramePlace] = field(default_factory=dict)  # by ordinal; runs number them in this order
    sealed_bytes: int = 0
    content_bytes: int = 0
    big: WantedFile | None = None
    offset: int = 0
    is_last: bool = False  # part
    is_placed: bool = True  # False: the index does not place a chunk that would come next, so the big file can not be written this way
    _numbers: dict[int, int] = field(default_factory=dict)
    _end: int = 0  # of the last run, in its frame

    def begin_file(self, wanted: WantedFile) -> None:
        """The chunks that are added from now on are those of ``wanted``."""
        self.files.append(wanted)
        self.runs.append([])

    def add_chunk(self, place: ChunkPlace, frame: FramePlace) -> None:
        """The next chunk of the last file."""
        ordinal = place.ordinal
        number = self._numbers.get(ordinal)
        if number is None:
            number = self._numbers[ordinal] = len(self.frames)
            self.frames[ordinal] = frame
            self.sealed_bytes += frame.sealed_bytes
        runs = self.runs[-1]
        if runs and runs[-1][0] == number and self._end == place.offset:
            runs[-1] = (number, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((number, place.offset, 1))
        self._end = place.offset + place.length
        self.content_bytes += place.length


def plan_spans(
    reader: Reader, files: Iterable[WantedFile], on_unplaced: Callable[[WantedFile], None], limits: SpanLimits = SpanLimits()
) -> Iterator[Span]:
    """The spans of ``files``, in their order. A file with a chunk that the index does not place, or not with its length, goes to ``on_unplaced``."""
    planner = _Planner(reader, on_unplaced, limits)
    waiting: list[WantedFile] = []
    chunks = 0
    for wanted in files:
        count = len(wanted.node.content) // CONTENT_RECORD_BYTES
        if chunks + count > limits.lookup_chunks or len(waiting) >= limits.files:
            yield from planner.plan(waiting)
            waiting, chunks = [], 0
        if count > limits.lookup_chunks:
            yield from planner.plan_big(wanted)
        else:
            waiting.append(wanted)
            chunks += count
    yield from planner.plan(waiting)
    yield from planner.rest()


class _Planner:
    def __init__(self, reader: Reader, on_unplaced: Callable[[WantedFile], None], limits: SpanLimits) -> None:
        self._reader = reader
        self._on_unplaced = on_unplaced
        self._limits = limits
        self._span = Span()

    def plan(self, files: Sequence[WantedFile]) -> Iterator[Span]:
        places, frames = self._look_up(wanted.node.content for wanted in files)
        limits = self._limits
        for wanted in files:
            found = _find(wanted.node.content, places)
            if found is None or any(place.ordinal not in frames for place in found):
                self._on_unplaced(wanted)
                continue
            size = wanted.node.size
            needed = {place.ordinal: frames[place.ordinal].sealed_bytes for place in found}
            if size > limits.content_bytes or sum(needed.values()) > limits.sealed_bytes:
                yield from self.plan_big(wanted)
                continue
            span = self._span
            more = sum([sealed_bytes for ordinal, sealed_bytes in needed.items() if ordinal not in span.frames])
            if span.sealed_bytes + more > limits.sealed_bytes or span.content_bytes + size > limits.content_bytes or len(span.files) >= limits.files:
                yield from self.rest()
                span = self._span
            span.begin_file(wanted)
            for place in found:
                span.add_chunk(place, frames[place.ordinal])

    def plan_big(self, wanted: WantedFile) -> Iterator[Span]:
        yield from self.rest()
        content, limits = wanted.node.content, self._limits
        part, part_begin, offset = Span(big=wanted), 0, 0
        part.begin_file(wanted)
        for begin in range(0, len(content), limits.lookup_chunks * CONTENT_RECORD_BYTES):
            records = content[begin : begin + limits.lookup_chunks * CONTENT_RECORD_BYTES]
            places, frames = self._look_up([records])
            found = _find(records, places)
            if found is None or any(place.ordinal not in frames for place in found):
                part.is_placed = False
                content = content[:begin]
                break
            for at, place in enumerate(found):
                frame = frames[place.ordinal]
                more = 0 if place.ordinal in part.frames else frame.sealed_bytes
                full = part.sealed_bytes + more > limits.sealed_bytes or part.content_bytes + place.length > limits.content_bytes
                if full and part.frames:
                    part_end = begin + at * CONTENT_RECORD_BYTES
                    yield _with_records(part, content[part_begin:part_end])
                    part, part_begin = Span(big=wanted, offset=offset), part_end
                    part.begin_file(wanted)
                part.add_chunk(place, frame)
                offset += place.length
        part.is_last = True
        yield _with_records(part, content[part_begin:])

    def rest(self) -> Iterator[Span]:
        """The span that has been begun."""
        if self._span.files:
            yield self._span
            self._span = Span()

    def _look_up(self, contents: Iterable[bytes]) -> tuple[dict[bytes, ChunkPlace], dict[int, FramePlace]]:
        places = self._reader.places([chunk_id for content in contents for chunk_id, _ in content_records(content)])
        return places, self._reader.frame_places({place.ordinal for place in places.values()})


def _find(content: bytes, places: dict[bytes, ChunkPlace]) -> list[ChunkPlace] | None:
    """The place of every chunk, or None if one is not indexed with the length that it should have."""
    found = []
    for chunk_id, length in content_records(content):
        place = places.get(chunk_id)
        if place is None or place.length != length:
            return None
        found.append(place)
    return found


def _with_records(part: Span, records: bytes) -> Span:
    (wanted,) = part.files
    part.files[0] = WantedFile(wanted.directory, msgspec.structs.replace(wanted.node, content=records), wanted.path)
    return part
