"""The writing side of a repository: chunks into frames, frames into packs, packs and their segments into the store.

One thread (the caller's) reads, cuts, hashes and looks up; worker threads compress, seal and open again to compare; upload threads put packs.
All buffers are pooled and of fixed size, so memory depends on neither the tree nor the repository, and a slow store slows the reader down.
Write order: packs, then the segment that lists them; only then does the local state learn of their chunks.

docs/format.md, sections "Content", "Frame", "Pack".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from seedcorn import compression
from seedcorn.chunking import HEAD_MATTERS_ABOVE, Cutter, Tier, tier_for
from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_session_key
from seedcorn.events import Clock, Monitor
from seedcorn.format.codec import SUITE
from seedcorn.format.pack import KeyRow, PackKind
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Node, content_records, cut_listing, encode_nodes
from seedcorn.ids import CHUNK_ID_BYTES, RANDOM_ID_BYTES, SessionId
from seedcorn.repo.bindings import session_binding
from seedcorn.repo.index import build_segment, next_segment_number
from seedcorn.repo.packer import Frame, Packer, PackerOptions
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state import SessionRecord, State, frame_ordinal

__all__ = ["ReadInto", "StoredContent", "Writer", "WriterOptions"]

FRAME_TARGET_BYTES = 1 << 20
FRAME_CHUNK_LIMIT = 8192  # so that a footer of tiny chunks stays small
INLINE_RECORDS_LIMIT = 8
_FOLD_LIMIT = 4096

ReadInto = Callable[[memoryview], int]


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How to write. Sizes in bytes, times in seconds."""

    packer: PackerOptions = field(default_factory=PackerOptions)
    checkpoint_packs: int = 16
    checkpoint_seconds: int = 300


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What became of one content: its records for the node, its true length, and how much of it was new."""

    content: bytes
    depth: int
    size: int
    new_bytes: int


class Writer:
    """One session of one host. Not thread-safe: one thread calls it."""

    def __init__(self, repository: HostRepository, state: State, options: WriterOptions, clock: Clock, monitor: Monitor) -> None:
        self._repository = repository
        self._state = state
        self._options = options
        self._clock = clock
        secrets = repository.key.secrets
        self._chunk_id_key = secrets.chunk_id_key
        self._listing_id_key = secrets.listing_id_key
        self._cutter = Cutter(secrets.cut_seed)
        self.session = SessionId(primitives.random_bytes(RANDOM_ID_BYTES))
        session_key = new_session_key()
        sealed_key = repository.key.seal_read(session_binding(repository.repository, repository.host, self.session), session_key)
        self._row = KeyRow(self.session, repository.host, SUITE, sealed_key)
        self.session_number = state.begin_session(SessionRecord(self.session, repository.host, secrets.domain), sealed_key)
        self._next_segment = next_segment_number(state, repository.host)
        self._packer = Packer(repository, self.session, session_key, self._row, options.packer, monitor)
        self._next_seq = 0
        self._frames: dict[tuple[PackKind, bool], Frame] = {}
        self._pending: dict[bytes, int] = {}  # chunk id -> ordinal, for chunks that no segment lists yet
        self._last_checkpoint_ns = clock.elapsed_ns()
        self.new_data_bytes = 0  # content of new chunks, before compression
        self.new_listing_bytes = 0
        self.packs = {PackKind.DATA: 0, PackKind.LISTING: 0}

    # -- chunks ------------------------------------------------------------------------------------------------------------------------------

    def store_content(self, read_into: ReadInto, size: int | None, frames: set[int]) -> StoredContent:
        """Read a content to its end and store what is new of it.

        ``read_into`` fills a view from its start and returns how many bytes it did (0 at the end). ``size`` is the expected length in bytes, None for
        a stream; it chooses the tier, and no more than that is read. The ordinals of all frames
        that hold the content are added to ``frames``.
        """
        frame = self._frame(PackKind.DATA, False)
        if size is not None and size <= _SINGLE_BYTES:
            return self._store_small(frame, read_into, size, frames)
        records, total, new_bytes = self._store_cut(frame, read_into, size, frames)
        content, depth = self.fold(b"".join(records), frames)
        return StoredContent(content, depth, total, new_bytes)

    def _store_small(self, frame: Frame, read_into: ReadInto, size: int, frames: set[int]) -> StoredContent:
        """One chunk, read straight into the open frame; a duplicate is simply overwritten by what comes next."""
        begin = frame.filled
        view = frame.view[begin : begin + size]
        length = read_into(view) if size else 0
        if not length:
            return StoredContent(b"", 0, 0, 0)
        while length < size:
            more = read_into(view[length:])
            if not more:
                break
            length += more
        chunk_id = primitives.keyed_hash(self._chunk_id_key, view[:length], CHUNK_ID_BYTES)
        record = chunk_id + length.to_bytes(4, "little")
        ordinal = self.known(chunk_id)
        if ordinal is not None:
            frames.add(ordinal)
            return StoredContent(record, 0, length, 0)
        frame.filled = begin + length
        frames.add(self._note_new(frame, chunk_id, record, length))
        if frame.filled >= FRAME_TARGET_BYTES or len(frame.records) >= FRAME_CHUNK_LIMIT:
            self._close(PackKind.DATA, frame)
        return StoredContent(record, 0, length, length)

    def _store_cut(self, frame: Frame, read_into: ReadInto, size: int | None, frames: set[int]) -> tuple[list[bytes], int, int]:
        """Read into the free end of the open frame, cut there, and close the gaps that duplicates leave."""
        records: list[bytes] = []
        total = new_bytes = 0
        tier: Tier | None = None if size is not None and size > HEAD_MATTERS_ABOVE else tier_for(size)
        at = end = frame.filled  # cut up to, read up to
        final = False
        while not final:
            wanted = len(frame.view) if tier else end + compression.HEAD_BYTES
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
                    frame, at, end = self._move(frame, at, end, self._frame(PackKind.DATA, True))
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
                    frame = self._close(PackKind.DATA, frame, keep=(at, end))
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

    def known(self, chunk_id: bytes) -> int | None:
        """The ordinal of a frame that holds this chunk and may be relied on; None if it has to be stored."""
        ordinal = self._pending.get(chunk_id)
        if ordinal is None and self._state.has_chunks:
            return self._state.find(chunk_id)
        return ordinal

    def _note_new(self, frame: Frame, chunk_id: bytes, record: bytes, length: int) -> int:
        frame.records.append(record)
        ordinal = frame.ordinal
        self._pending[chunk_id] = ordinal
        if frame.kind is PackKind.DATA:
            self.new_data_bytes += length
        else:
            self.new_listing_bytes += length
        return ordinal

    # -- listings ----------------------------------------------------------------------------------------------------------------------------

    def store_listing(self, nodes: Sequence[Node], frames: set[int]) -> tuple[bytes, int, list[bytes]]:
        """Store a directory's nodes, sorted by name. Returns (content, depth, the listing chunks)."""
        runs = [encode_nodes(run) for run in cut_listing(nodes)]
        records = b"".join([self._store_listing_chunk(run, frames) for run in runs])
        return (*self.fold(records, frames), runs)

    def fold(self, records: bytes, frames: set[int]) -> tuple[bytes, int]:
        """Content records as they stand in a node: themselves if few, else those of the chunks that hold them, and how often that was done."""
        depth = 0
        while len(records) > INLINE_RECORDS_LIMIT * CONTENT_RECORD_BYTES:
            records = b"".join([self._store_listing_chunk(piece, frames) for piece in _cut_records(records)])
            depth += 1
        return records, depth

    def _store_listing_chunk(self, data: bytes, frames: set[int]) -> bytes:
        chunk_id = primitives.keyed_hash(self._listing_id_key, data, CHUNK_ID_BYTES)
        record = chunk_id + len(data).to_bytes(4, "little")
        ordinal = self.known(chunk_id)
        if ordinal is None:
            frame = self._frame(PackKind.LISTING, False)
            if frame.filled + len(data) > len(frame.view):
                frame = self._close(PackKind.LISTING, frame)
            frame.view[frame.filled : frame.filled + len(data)] = data
            frame.filled += len(data)
            ordinal = self._note_new(frame, chunk_id, record, len(data))
            if frame.filled >= FRAME_TARGET_BYTES or len(frame.records) >= FRAME_CHUNK_LIMIT:
                self._close(PackKind.LISTING, frame)
        frames.add(ordinal)
        return record

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def _frame(self, kind: PackKind, stored: bool) -> Frame:
        """The open frame for compressible content, or for content that is kept as it is."""
        frame = self._frames.get((kind, stored))
        if frame is None:
            frame = self._frames[kind, stored] = self._packer.new_frame(
                kind, stored, self._next_seq, frame_ordinal(self.session_number, self._next_seq)
            )
            self._next_seq += 1
        return frame

    def _close(self, kind: PackKind, frame: Frame, *, keep: tuple[int, int] = (0, 0)) -> Frame:
        """Send a full frame on and open its successor, which begins with the bytes ``keep`` (from, to) of the old one."""
        del self._frames[kind, frame.stored]
        successor = self._frame(kind, frame.stored)
        successor.view[: keep[1] - keep[0]] = frame.view[keep[0] : keep[1]]
        self._packer.submit(frame)
        if self._packer.finished_packs >= self._options.checkpoint_packs or (
            self._packer.finished_packs and self._clock.elapsed_ns() - self._last_checkpoint_ns > self._options.checkpoint_seconds * 10**9
        ):
            self.checkpoint()
        return successor

    def checkpoint(self) -> None:
        """List the packs that are in the store in a segment, and let the state learn of them."""
        packs = self._packer.take_finished()
        self._last_checkpoint_ns = self._clock.elapsed_ns()
        if not packs:
            return
        key, data = build_segment(self._repository, self.session, self._next_segment, self._row, packs)
        self._next_segment += 1
        self._packer.put(key, data)
        self._state.add_segment(key, self._repository.host, self._repository.key.secrets.domain, [self._row], packs)
        for pack in packs:
            self.packs[pack.kind] += 1
            for frame in pack.frames:
                for chunk_id, _ in content_records(frame.records):
                    self._pending.pop(chunk_id, None)

    # -- the end -----------------------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Seal and put everything that is open, and the last segment. After this every chunk handed out is in the store and indexed."""
        for frame in self._frames.values():
            if frame.records:
                self._packer.submit(frame)
            else:
                self._packer.release(frame)
        self._frames.clear()
        self._packer.drain()
        self.checkpoint()

    def put(self, key: str, data: bytes) -> None:
        """Put one object (the snapshot) from an upload thread, and wait."""
        self._packer.put(key, data)

    def close(self) -> None:
        """Stop all threads; what is not yet in the store is given up."""
        self._packer.close()


_SINGLE_BYTES = tier_for(0).avg_bytes


def _cut_records(records: bytes) -> list[bytes]:
    """Pieces of a record sequence: one ends after each record whose id begins with a zero byte, and after 4096 records."""
    pieces: list[bytes] = []
    begin = 0
    for at in range(0, len(records), CONTENT_RECORD_BYTES):
        end = at + CONTENT_RECORD_BYTES
        if records[at] == 0 or end - begin >= _FOLD_LIMIT * CONTENT_RECORD_BYTES:
            pieces.append(records[begin:end])
            begin = end
    if begin < len(records):
        pieces.append(records[begin:])
    return pieces
