"""Chunks out of frames that are mostly dead, together in new frames: a session of the owner's in the room of the host whose frames they were.

Owns what makes this as good as what the host itself has written: the session is the host's, of its domain, so the host goes on reusing the chunks;
its key is new, so no frame key is ever used twice; the segment is signed as those are that maintainers rewrite. Invariant: chunks come verified.
docs/format.md, sections "Frame", "Pack" and "Index segment".
"""

from __future__ import annotations

from seedcorn.crypto.keys import HostKey, new_session_id, new_session_key
from seedcorn.events import Monitor
from seedcorn.format.codec import SUITE
from seedcorn.format.pack import KeyRow, PackEntry, PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import ChunkId, HostId
from seedcorn.repo.bindings import session_binding
from seedcorn.repo.content.packer import FRAME_TARGET_BYTES, Frame, Packer, PackerOptions
from seedcorn.repo.content.writer import FRAME_CHUNK_LIMIT
from seedcorn.repo.index import next_segment_number
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.packs import entries_digest
from seedcorn.repo.repository import HostRepository, OwnerRepository
from seedcorn.repo.rewriting.segments import write_segment
from seedcorn.repo.state.state import SessionRecord, State, frame_ordinal

__all__ = ["Regrouping"]


class Regrouping:
    """One session in the room of one host. For one thread; close it."""

    def __init__(self, repository: OwnerRepository, state: State, host: HostId, domain: int, options: PackerOptions, monitor: Monitor) -> None:
        self._repository = repository
        self._state = state
        self._host = host
        self._domain = domain
        self.session = new_session_id(host)
        session_key = new_session_key()
        key = repository.key
        sealed_key = key.public.seal_read(session_binding(repository.repository, host, self.session), session_key)
        self._row = KeyRow(self.session, host, SUITE, sealed_key)
        self._number = state.begin_session(SessionRecord(self.session, host, domain), sealed_key)
        # Its signing key is of no use: a packer signs nothing.
        room = HostKey.create(repository.repository, host, key.public, key.domain(domain))
        self._packer = Packer(HostRepository(repository.store, repository.header, room, ""), self.session, session_key, self._row, options, monitor)
        self._next_seq = 0
        self._open: dict[PackKind, Frame] = {}
        self._seqs: dict[tuple[PackKind, bytes], int] = {}  # of chunks that have been added

    def add(self, kind: PackKind, chunk_id: ChunkId, data: bytes | memoryview) -> int:
        """Store a verified chunk, once; the sequence number of the frame that holds it."""
        known = self._seqs.get((kind, chunk_id))
        if known is not None:
            return known
        frame = self._open.get(kind)
        if frame is not None and (
            frame.filled >= FRAME_TARGET_BYTES or frame.filled + len(data) > len(frame.view) or len(frame.records) >= FRAME_CHUNK_LIMIT
        ):
            self._packer.submit(frame)
            frame = None
        if frame is None:
            frame = self._open[kind] = self._packer.new_frame(kind, False, self._next_seq, frame_ordinal(self._number, self._next_seq))
            self._next_seq += 1
        frame.view[frame.filled : frame.filled + len(data)] = data
        frame.filled += len(data)
        frame.records.append(pack_content([(chunk_id, len(data))]))
        self._seqs[kind, chunk_id] = frame.seq
        return frame.seq

    def finish(self) -> list[PackEntry]:
        """Put what is open, and the segment that lists all packs; these."""
        for frame in self._open.values():
            self._packer.submit(frame)
        self._open = {}
        self._packer.drain()
        packs = self._packer.take_finished()
        if packs:
            number = next_segment_number(self._state, self._host)
            key, data = write_segment(maintained_by_owner(self._repository), self._host, self._domain, number, [self._row], packs)
            self._packer.put(key, data)
            self._state.add_segment(key, self._host, self._domain, [self._row], packs)
        return packs

    def digest(self, entry: PackEntry) -> bytes:
        """Of what the segment says of one of the packs."""
        return entries_digest(self._domain, entry.kind, entry.frames, [self._row])

    def close(self) -> None:
        """Stop all threads; what is not yet in the store is given up."""
        self._packer.close()
