"""One session of one host: new chunks into frames, frames into packs, packs and their segments into the store.

Owns the session's key, its open frames, and which of its chunks no segment lists yet. One thread (the caller's) fills frames; worker threads
compress, seal and open again to compare; upload threads put packs. All buffers are pooled and of fixed size, so memory depends on neither the tree
nor the repository, and a slow store slows the reader down. Invariants: packs are in the store before the segment that lists them, and only then does
the local state learn of their chunks; no session is finished while a chunk that it has handed out is in no segment.

docs/format.md, sections "Frame", "Pack", "Index segment".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from seedcorn.crypto.keys import new_session_id, new_session_key
from seedcorn.errors import SeedcornError
from seedcorn.events import Clock, Monitor
from seedcorn.format.codec import SUITE
from seedcorn.format.names import following_number
from seedcorn.format.pack import KeyRow, PackEntry, PackKind
from seedcorn.format.tree import content_records
from seedcorn.repo.bindings import session_binding
from seedcorn.repo.content.packer import Frame, Packer, PackerOptions
from seedcorn.repo.index import build_segment, next_segment_number
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state.state import FrameSet, SessionRecord, State, frame_ordinal

__all__ = ["CONTENT", "LISTING", "STORED", "FrameWriter", "WriterOptions"]

_PENDING_LIMIT = 100_000  # chunks that only memory knows, about 150 bytes each

CONTENT, STORED, LISTING = range(3)  # lanes: a frame can be open for content, for content that is kept as it is, and for listings
_LANES = 3


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How to write. Sizes in bytes, times in seconds."""

    packer: PackerOptions = field(default_factory=PackerOptions)
    checkpoint_packs: int = 8
    checkpoint_seconds: int = 300


class FrameWriter:
    """A session while it is written. Not thread-safe: one thread calls it."""

    def __init__(self, repository: HostRepository, state: State, options: WriterOptions, clock: Clock, monitor: Monitor) -> None:
        self._repository = repository
        self._state = state
        self._options = options
        self._clock = clock
        secrets = repository.key.secrets
        self.domain = secrets.domain
        self.session = new_session_id(repository.host)
        session_key = new_session_key()
        sealed_key = repository.key.seal_read(session_binding(repository.repository, repository.host, self.session), session_key)
        self._row = KeyRow(self.session, repository.host, SUITE, sealed_key)
        self.session_number = state.begin_session(SessionRecord(self.session, repository.host, secrets.domain), sealed_key)
        self._next_segment = next_segment_number(state, repository.host)
        self._packer = Packer(repository, self.session, session_key, self._row, options.packer, monitor)
        self._next_seq = 0
        self._open: list[Frame | None] = [None] * _LANES
        self._pending: dict[bytes, int] = {}  # chunk id -> ordinal, for chunks that no segment lists yet
        self._unlisted: list[PackEntry] = []  # packs in the store that no segment lists yet
        self._last_checkpoint_ns = clock.elapsed_ns()
        self.indexed_frames = FrameSet()  # of this session, and listed in a segment
        self.new_data_bytes = 0  # content of new chunks, before compression
        self.new_listing_bytes = 0
        self.packs = {PackKind.DATA: 0, PackKind.LISTING: 0}

    # -- chunks and frames -------------------------------------------------------------------------------------------------------------------

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

    def _frame(self, lane: int) -> Frame:
        """The open frame of a lane."""
        frame = self._open[lane]
        if frame is None:
            kind = PackKind.LISTING if lane == LISTING else PackKind.DATA
            ordinal = frame_ordinal(self.session_number, self._next_seq)
            frame = self._open[lane] = self._packer.new_frame(kind, lane == STORED, self._next_seq, ordinal)
            self._next_seq += 1
        return frame

    def _close(self, frame: Frame, *, keep: tuple[int, int] = (0, 0)) -> Frame:
        """Send a full frame on and open its successor, which begins with the bytes ``keep`` (from, to) of the old one."""
        lane = self._open.index(frame)
        self._open[lane] = None
        successor = self._frame(lane)
        successor.view[: keep[1] - keep[0]] = frame.view[keep[0] : keep[1]]
        self._packer.submit(frame)
        if self._is_checkpoint_due():
            self.checkpoint()
        return successor

    def _is_checkpoint_due(self) -> bool:
        packs = self._packer.finished_packs
        if not packs or packs >= self._options.checkpoint_packs or len(self._pending) > _PENDING_LIMIT:
            return packs > 0
        return self._clock.elapsed_ns() - self._last_checkpoint_ns > self._options.checkpoint_seconds * 10**9

    def checkpoint(self) -> None:
        """List the packs that are in the store in a segment, and let the state learn of them. One that was interrupted can be called again."""
        self._unlisted += self._packer.take_finished()
        self._last_checkpoint_ns = self._clock.elapsed_ns()
        packs = self._unlisted
        if not packs:
            return
        key, data = build_segment(self._repository, self.session, self._next_segment, self._row, packs)
        self._next_segment = following_number(self._next_segment)
        self._packer.put(key, data)
        self._state.add_segment(key, self._repository.host, self._repository.key.secrets.domain, [self._row], packs)
        self._unlisted = []
        for pack in packs:
            self.packs[pack.kind] += 1
            for frame in pack.frames:
                self.indexed_frames.add(frame_ordinal(self.session_number, frame.seq))
                for chunk_id, _ in content_records(frame.records):
                    self._pending.pop(chunk_id, None)

    # -- the end -----------------------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Seal and put everything that is open, and the last segment. After this every chunk handed out is in the store and indexed.

        Raises:
            SeedcornError: one is not, because of what had failed before.
        """
        for frame in filter(None, self._open):
            if frame.records:
                self._packer.submit(frame)
            else:
                self._packer.release(frame)
        self._open = [None] * _LANES
        self._packer.drain()
        self.checkpoint()
        if self._pending:  # whoever went on after an error must not get a snapshot of it
            raise SeedcornError(f"{len(self._pending)} new chunks have not come to the repository, so there is no snapshot: run the backup again")

    def put(self, key: str, data: bytes) -> None:
        """Put one object (a snapshot, receipt or checkpoint) from an upload thread, and wait."""
        self._packer.put(key, data)

    def close(self) -> None:
        """Stop all threads; what is not yet in the store is given up."""
        self._packer.close()
