"""The writing side of a repository: contents and listings, cut into chunks, of which the new ones go into frames.

Owns where content and listings are cut, what their chunks are called, and the form in which a node names them. Reads straight into the buffers of the
frames. What becomes of full frames is the ``FrameWriter``'s.

docs/format.md, sections "Chunks", "Listing", "Content".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from seedcorn import compression
from seedcorn.chunking import HEAD_MATTERS_ABOVE, Cutter, Tier, tier_for
from seedcorn.crypto import primitives
from seedcorn.events import Clock, Monitor
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Node, RunCutter, encode_nodes
from seedcorn.ids import CHUNK_ID_BYTES
from seedcorn.repo.content.frame_writer import CONTENT, LISTING, STORED, FrameWriter, WriterOptions
from seedcorn.repo.content.packer import FRAME_TARGET_BYTES, Frame
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state.state import State

__all__ = ["ListingWriter", "ReadInto", "StoredContent", "Writer", "WriterOptions"]

FRAME_CHUNK_LIMIT = 8192  # so that a footer of tiny chunks stays small
INLINE_RECORDS_LIMIT = 4
_PIECE_BYTES_MIN, _PIECE_BYTES_MAX = 8 * CONTENT_RECORD_BYTES, 4096 * CONTENT_RECORD_BYTES
_PIECE_END_BELOW = 32  # a record ends its piece if its chunk id's first byte is below this: 15 records on average

ReadInto = Callable[[memoryview], int]


class StoredContent(msgspec.Struct, frozen=True, gc=False):
    """What became of one content: its records for the node, its true length, how much of it was new, and the ordinals of the frames that hold it."""

    content: bytes
    depth: int
    size: int
    new_bytes: int
    frames: Collection[int]


_EMPTY = StoredContent(b"", 0, 0, 0, ())


class Writer(FrameWriter):
    """Stores what is new of contents and listings. Not thread-safe: one thread calls it."""

    def __init__(self, repository: HostRepository, state: State, options: WriterOptions, clock: Clock, monitor: Monitor) -> None:
        super().__init__(repository, state, options, clock, monitor)
        secrets = repository.key.secrets
        self._chunk_id_key = secrets.chunk_id_key
        self._listing_id_key = secrets.listing_id_key
        self._cutter = Cutter(secrets.cut_seed)

    # -- chunks ------------------------------------------------------------------------------------------------------------------------------

    def store_content(self, read_into: ReadInto, size: int | None) -> StoredContent:
        """Read a content to its end and store what is new of it.

        ``read_into`` fills a view from its start and returns how many bytes it did (0 at the end). ``size`` is the expected length in bytes, None for
        a stream; it chooses the tier, and no more than that is read.
        """
        if size is not None and size <= _SINGLE_BYTES:
            return self._store_small(read_into, size)
        frames: set[int] = set()
        records, total, new_bytes = self._store_cut(read_into, size, frames)
        content, depth = self.fold(b"".join(records), frames)
        return StoredContent(content, depth, total, new_bytes, frames)

    def _store_small(self, read_into: ReadInto, size: int) -> StoredContent:
        """One chunk, read straight into the open frame; a duplicate is simply overwritten by what comes next."""
        frame = self._open[CONTENT] or self._frame(CONTENT)
        begin = frame.filled
        view = frame.view[begin : begin + size]
        length = read_into(view) if size else 0
        if length != size:
            while length and (more := read_into(view[length:])):
                length += more
            view = view[:length]
        if not length:
            return _EMPTY
        chunk_id = primitives.keyed_hash(self._chunk_id_key, view, CHUNK_ID_BYTES)
        record = chunk_id + length.to_bytes(4, "little")
        ordinal = self.known(chunk_id)
        if ordinal is not None:
            return StoredContent(record, 0, length, 0, (ordinal,))
        frame.filled = begin + length
        ordinal = self._note_new(frame, chunk_id, record, length)
        if frame.filled >= FRAME_TARGET_BYTES or len(frame.records) >= FRAME_CHUNK_LIMIT:
            self._close(frame)
        return StoredContent(record, 0, length, length, (ordinal,))

    def _store_cut(self, read_into: ReadInto, size: int | None, frames: set[int]) -> tuple[list[bytes], int, int]:
        """Read into the free end of the open frame, cut there, and close the gaps that duplicates leave."""
        frame = self._frame(CONTENT)
        records: list[bytes] = []
        total = new_bytes = 0
        tier: Tier | None = None if size is not None and size > HEAD_MATTERS_ABOVE else tier_for(size)
        at = end = frame.filled  # cut up to, read up to
        final = False
        while not final:
            # No more than may go into this frame and what a cut has to see: what is read beyond its end is copied into the next one.
            wanted = FRAME_TARGET_BYTES + tier.max_bytes if tier else end + compression.HEAD_BYTES
            if size is not None:
                wanted = min(wanted, at + size - total)
            while end < wanted:
                count = read_into(frame.view[end:wanted])
                if not count:
                    final = True
                    break
                end += count
            final = final or (size is not None and total + (end - at) >= size)
            if tier is None:
                compressible = compression.is_compressible(frame.view[at:end])
                tier = tier_for(size, compressible=compressible)
                if not compressible:
                    frame, at, end = self._move(frame, at, end, self._frame(STORED))
            for length in self._cutter.cuts(frame.view[at:end], tier, start=not total, final=final):
                chunk = frame.view[at : at + length]
                chunk_id = primitives.keyed_hash(self._chunk_id_key, chunk, CHUNK_ID_BYTES)
                record = chunk_id + length.to_bytes(4, "little")
                records.append(record)
                ordinal = self.known(chunk_id)
                if ordinal is None:
                    if frame.filled != at:
                        frame.view[frame.filled : frame.filled + length] = chunk
                    frame.filled += length
                    ordinal = self._note_new(frame, chunk_id, record, length)
                    new_bytes += length
                frames.add(ordinal)
                at += length
                total += length
                if frame.filled >= FRAME_TARGET_BYTES or len(frame.records) >= FRAME_CHUNK_LIMIT:
                    frame = self._close(frame, keep=(at, end))
                    at, end = 0, end - at
            if not final and at != frame.filled:
                frame, at, end = self._move(frame, at, end, frame)
        return records, total, new_bytes

    @staticmethod
    def _move(source: Frame, at: int, end: int, target: Frame) -> tuple[Frame, int, int]:
        """Move the bytes that are read but not cut to the free end of ``target``."""
        begin = target.filled
        target.view[begin : begin + end - at] = source.view[at:end]
        return target, begin, begin + end - at

    # -- listings ----------------------------------------------------------------------------------------------------------------------------

    def store_listing(self, nodes: Iterable[Node], frames: set[int]) -> tuple[bytes, int]:
        """Store a directory whose nodes are at hand, sorted by name: (content, depth)."""
        listing = ListingWriter(self, frames)
        listing.add(nodes)
        listing.finish()
        return listing.content, listing.depth

    def fold(self, records: bytes, frames: set[int]) -> tuple[bytes, int]:
        """Content records as they stand in a node: themselves if few, else those of the chunks that hold them, and how often that was done."""
        depth = 0
        while len(records) > INLINE_RECORDS_LIMIT * CONTENT_RECORD_BYTES:
            records = b"".join([self.store_listing_chunk(piece, frames) for piece in _cut_records(records)])
            depth += 1
        return records, depth

    def store_listing_chunk(self, data: bytes, frames: set[int]) -> bytes:
        """Store one chunk of a listing or of a content list; its record."""
        chunk_id = primitives.keyed_hash(self._listing_id_key, data, CHUNK_ID_BYTES)
        record = chunk_id + len(data).to_bytes(4, "little")
        ordinal = self.known(chunk_id)
        if ordinal is None:
            frame = self._open[LISTING] or self._frame(LISTING)
            if frame.filled + len(data) > len(frame.view):
                frame = self._close(frame)
            frame.view[frame.filled : frame.filled + len(data)] = data
            frame.filled += len(data)
            ordinal = self._note_new(frame, chunk_id, record, len(data))
            if frame.filled >= FRAME_TARGET_BYTES or len(frame.records) >= FRAME_CHUNK_LIMIT:
                self._close(frame)
        frames.add(ordinal)
        return record


class ListingWriter:
    """Stores one directory, whose nodes are handed in sorted by name, a few at a time. ``frames`` collects the ordinals of what holds the listing."""

    def __init__(self, writer: Writer, frames: set[int]) -> None:
        self._writer = writer
        self._frames = frames
        self._cutter = RunCutter()
        self._records: list[bytes] = []
        self.content = b""
        self.depth = 0

    def add(self, nodes: Iterable[Node]) -> list[tuple[list[Node], bytes]]:
        """Take more nodes; the runs that are complete, each with the chunk that it has become."""
        return [(run, self._store(run)) for run in self._cutter.add(nodes)]

    def finish(self) -> list[tuple[list[Node], bytes]]:
        """There are no more: ``content`` and ``depth`` are what the directory's own node needs. The last run, as for ``add``, if there is one."""
        last = self._cutter.finish()
        finished = [(last, self._store(last))] if last else []
        self.content, self.depth = self._writer.fold(b"".join(self._records), self._frames)
        return finished

    def _store(self, run: list[Node]) -> bytes:
        chunk = encode_nodes(run)
        self._records.append(self._writer.store_listing_chunk(chunk, self._frames))
        return chunk


_SINGLE_BYTES = tier_for(0).avg_bytes


def _cut_records(records: bytes) -> list[bytes]:
    """Pieces of a record sequence: docs/format.md, "Content"."""
    pieces: list[bytes] = []
    begin = 0
    for at in range(0, len(records), CONTENT_RECORD_BYTES):
        end = at + CONTENT_RECORD_BYTES
        if (records[at] < _PIECE_END_BELOW and end - begin >= _PIECE_BYTES_MIN) or end - begin >= _PIECE_BYTES_MAX:
            pieces.append(records[begin:end])
            begin = end
    if begin < len(records):
        pieces.append(records[begin:])
    return pieces
