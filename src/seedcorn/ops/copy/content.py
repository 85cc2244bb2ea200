"""Reading the content of one snapshot file by file: verified, and fetched ahead of whoever reads it in the order in which it was written.

Owns what is asked for before it is needed. Sessions number their frames in the order of the tree, so from frames that are read one after the other
more and more of those that follow are fetched, in one request each few; a frame by itself costs a request of its own and nothing beside it. Only
frames that the snapshot says it needs are fetched ahead. Invariant: every byte handed out belongs to a chunk whose id has been recomputed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress

from seedcorn.errors import IntegrityError
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import CONTENT_RECORD_BYTES, content_records
from seedcorn.ids import ChunkId
from seedcorn.repo.content.ranges import FrameRange, coalesce
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.state.state import ChunkPlace, FrameSet

__all__ = ["FETCHES", "ContentSource", "ContentStream"]

FETCHES = 4  # requests at a time
_WINDOW_LIMIT = 8  # frames, about 1 MiB each, that are asked for together
_OPENED_LIMIT = 16  # frames that stay in memory after they were read
_ASKED_LIMIT = 64
_LOOKUP_BYTES = 4_000 * CONTENT_RECORD_BYTES

_Opened = dict[int, memoryview]  # by ordinal; frames that could not be opened are missing


class _Course:
    """How one session's frames are being read."""

    __slots__ = ("marker", "next", "window")

    def __init__(self) -> None:
        self.window = 1
        self.next: int | None = None  # comes after all that was asked for
        self.marker: int | None = None  # when this one is read, more is asked for


class ContentSource:
    """The content of one snapshot, which needs the frames ``needed``. For one thread; fetches on those of ``pool``."""

    def __init__(self, reader: Reader, needed: FrameSet, pool: Executor) -> None:
        self.reader = reader
        self._needed = array("Q", needed)  # ascending
        self._pool = pool
        self._courses: dict[int, _Course] = {}
        self._asked: OrderedDict[int, Future[_Opened]] = OrderedDict()
        self._opened: OrderedDict[int, memoryview | None] = OrderedDict()  # None: it does not open, and is not asked for again

    def chunks(self, records: bytes) -> Iterator[memoryview]:
        """The chunks of a content's records, one after the other.

        Raises:
            IntegrityError: no copy of one of them is good.
        """
        for begin in range(0, len(records), _LOOKUP_BYTES):
            piece = records[begin : begin + _LOOKUP_BYTES]
            places = self.reader.places([chunk_id for chunk_id, _ in content_records(piece)])
            for chunk_id, length in content_records(piece):
                yield self._chunk(places.get(chunk_id), chunk_id, length)

    def _chunk(self, place: ChunkPlace | None, chunk_id: ChunkId, length: int) -> memoryview:
        frame = None if place is None else self._frame(place.ordinal)
        if place is not None and frame is not None:
            with suppress(IntegrityError):
                return self.reader.chunk_in(frame, place, PackKind.DATA, chunk_id, length)
        return memoryview(self.reader.chunk(PackKind.DATA, chunk_id, length))  # which tries every copy

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def _frame(self, ordinal: int) -> memoryview | None:
        """The raw bytes of a frame; None if it is damaged or not one that the snapshot says it needs."""
        if ordinal in self._opened:
            self._opened.move_to_end(ordinal)
            return self._opened[ordinal]
        self._ask_ahead(ordinal)
        if ordinal not in self._asked:
            return None
        raw = self._asked.pop(ordinal).result().pop(ordinal, None)
        self._opened[ordinal] = raw
        if len(self._opened) > _OPENED_LIMIT:
            self._opened.popitem(last=False)
        return raw

    def _ask_ahead(self, ordinal: int) -> None:
        """Ask for a frame that is wanted now, and for more than that if it is the one that was expected."""
        course = self._courses.setdefault(ordinal >> 32, _Course())
        if ordinal not in self._asked:
            course.window = min(course.window * 2, _WINDOW_LIMIT) if ordinal == course.next else 1
            self._ask(course, ordinal)
            course.marker = course.next
            if course.window == 1:
                return
        elif ordinal == course.marker:
            course.window = min(course.window * 2, _WINDOW_LIMIT)
        else:
            return
        course.marker = course.next
        if course.next is not None:
            self._ask(course, course.next)

    def _ask(self, course: _Course, first: int) -> None:
        """Ask for the frames of a window, from the ordinal ``first`` on."""
        at = bisect_left(self._needed, first)
        ordinals = [ordinal for ordinal in self._needed[at : at + 4 * course.window + 1] if ordinal >> 32 == first >> 32]
        places = self.reader.frame_places(ordinals)
        following = [ordinal for ordinal in ordinals if ordinal in places and places[ordinal].kind == PackKind.DATA]
        course.next = following[course.window] if len(following) > course.window else None
        wanted = [ordinal for ordinal in following[: course.window] if ordinal not in self._asked and ordinal not in self._opened]
        for together in coalesce({ordinal: places[ordinal] for ordinal in wanted}):
            fetched = self._pool.submit(self._fetch, together)
            self._asked.update((ordinal, fetched) for ordinal, _ in together.frames)
        while len(self._asked) > _ASKED_LIMIT:
            self._asked.popitem(last=False)

    def _fetch(self, together: FrameRange) -> _Opened:
        """What can be opened of a range; the chunks of the rest are looked for elsewhere."""
        opened: _Opened = {}
        with suppress(IntegrityError):
            for ordinal, place, sealed in self.reader.read_range(together):
                with suppress(IntegrityError):
                    opened[ordinal] = memoryview(self.reader.open_frame(ordinal, place, sealed))
        return opened


class ContentStream:
    """One content, to be read from its beginning to its end."""

    def __init__(self, source: ContentSource, records: bytes) -> None:
        self._chunks = source.chunks(records)
        self._rest = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from its start; how many bytes it were, fewer than asked for only at the end.

        Raises:
            IntegrityError: what comes next can not be read.
        """
        filled = 0
        while filled < len(view):
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = chunk
            count = min(len(view) - filled, len(self._rest))
            view[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled
