"""The reading side: from chunk ids to verified bytes.

Finds a chunk's copies in the index, fetches the frame that holds one (neighbours in a pack in one request, and those of a frame of listings before
anybody asks for them), opens and decompresses it, and recomputes the id of every chunk that is handed out. A copy that fails is passed over for the
next one, and so is a place of its frame; only when none is left does it become an error.

docs/format.md, section "Frame". Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import DomainSecrets
from seedcorn.errors import AccessDeniedError, IntegrityError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Kind, Node, content_records, decode_nodes, pack_content
from seedcorn.ids import ChunkId, SessionId
from seedcorn.repo.bindings import frame_binding, session_binding
from seedcorn.repo.content.opener import SessionKeys
from seedcorn.repo.content.ranges import FrameRange, surroundings
from seedcorn.repo.frames import open_frame, verify_chunks
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.state.state import ChunkPlace, FramePlace, State

__all__ = ["FetchChunk", "Reader"]

_Name = tuple[int, FramePlace]  # of a frame in one place
_Value = TypeVar("_Value")
FetchChunk = Callable[[ChunkId, int], bytes | memoryview]  # by id and length; raises IntegrityError
_DEPTH_LIMIT = 8
_RECORDS_SLACK_BYTES = 64 << 20
_FILE_PART = 512  # of a file's size its records may be; writers cut what is larger than 256 MiB, and streams, into pieces of which they are a 1,170th
_ENTRY_BYTES = 8  # of records for each entry of a directory; writers make one record of 28 bytes for at least four entries
_RECORDS_LIMIT_BYTES = 4 << 30  # those of a stream of nine tebibytes
_CACHED_FRAMES = 8  # about 1 MiB each
_FAILURES_LIMIT = 20_000  # a few hundred bytes each
_EXPECTED_RECORDS = 64
_EXPECTED_LIMIT = 20_000
_READ_AHEADS = 2  # ranges of listing frames that are kept as they came
_READ_AHEAD_SEQS = 4096  # how far from a frame its neighbours are looked for; a session numbers content and listings together


@dataclass(frozen=True, slots=True)
class _Session:
    id: SessionId
    key: bytes
    sealer: Sealer
    secrets: DomainSecrets

    def id_key(self, kind: PackKind) -> bytes:
        return self.secrets.chunk_id_key if kind is PackKind.DATA else self.secrets.listing_id_key


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A part of a pack as it is in the store."""

    key: str
    start: int
    data: memoryview

    def sealed(self, place: FramePlace) -> memoryview | None:
        """The frame there, whoever says that there is one; None if it is not all in this part."""
        at = place.offset - self.start
        is_in = self.key == pack_key(place.host, place.pack) and 0 <= at <= len(self.data) - place.sealed_bytes
        return self.data[at : at + place.sealed_bytes] if is_in else None


class Reader:
    """Reads one repository as its owner."""

    def __init__(self, repository: OwnerRepository, state: State) -> None:
        self._repository = repository
        self._state = state
        self._sessions: dict[int, _Session] = {}
        self._domains: dict[int, DomainSecrets] = {}
        self._frames: OrderedDict[_Name, bytes | memoryview] = OrderedDict()
        self._failures: OrderedDict[_Name, tuple[str, str]] = OrderedDict()  # message, name of the object
        self._ahead: deque[_Fetched] = deque(maxlen=_READ_AHEADS)
        self._expected: dict[bytes, ChunkPlace] = {}  # of listing chunks
        self._lock = threading.Lock()

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def open_frame(self, ordinal: int, place: FramePlace, sealed: bytes | memoryview) -> bytes | memoryview:
        """The raw bytes of a frame from its sealed ones. Chunk ids in it are not verified yet.

        Raises:
            IntegrityError: names the pack.
        """
        session = self._session(ordinal >> 32)
        binding = frame_binding(PackKind(place.kind), self._repository.repository, session.id, ordinal & 0xFFFFFFFF)
        try:
            return open_frame(session.sealer, binding, sealed, place.raw_bytes, memoryview(bytearray(len(sealed))))
        except IntegrityError as error:
            raise error.named(pack_key(place.host, place.pack)) from error

    def read_range(self, wanted: FrameRange) -> Iterator[tuple[int, FramePlace, bytes]]:
        """(ordinal, place, sealed bytes) of the frames of one range, in one request.

        Raises:
            IntegrityError: the pack is gone, or shorter than the index says.
        """
        fetched = self._fetch(wanted)
        for ordinal, place in wanted.frames:
            yield ordinal, place, fetched.sealed(place)  # type: ignore[misc]  # a view of bytes serves as bytes, and the range is over all of them

    def _fetch(self, wanted: FrameRange) -> _Fetched:
        try:
            return _Fetched(wanted.key, wanted.start, memoryview(self._repository.store.get_range(wanted.key, wanted.start, wanted.length)))
        except ObjectNotFoundError as error:
            raise IntegrityError("is missing from the store", object_name=wanted.key) from error
        except StoreError as error:
            if (
                isinstance(error, AccessDeniedError | StoreUnavailableError)
                or self._repository.store.head(wanted.key).size_bytes >= wanted.start + wanted.length
            ):
                raise
            raise IntegrityError("is shorter than the index says", object_name=wanted.key) from error

    def _opened(self, ordinal: int, place: FramePlace) -> bytes | memoryview:
        """The raw bytes of a frame at one of its places, from the cache or the store. What failed there is not asked for again: who lies in an index
        would otherwise have the same bytes fetched for each chunk.

        Raises:
            IntegrityError: it is damaged, or something else is there.
        """
        name = ordinal, place
        with self._lock:
            cached = self._frames.get(name)
            if cached is not None:
                self._frames.move_to_end(name)
                return cached
            failure = self._failures.get(name)
        if failure is not None:
            raise IntegrityError(failure[0], object_name=failure[1])
        try:
            raw = self._frame_at(ordinal, place)
        except IntegrityError as error:
            with self._lock:
                _keep(self._failures, name, (error.message, error.object_name), _FAILURES_LIMIT)
            raise
        with self._lock:
            _keep(self._frames, name, raw, _CACHED_FRAMES)
        return raw

    def _frame_at(self, ordinal: int, place: FramePlace) -> bytes | memoryview:
        sealed = self._sealed_listing(ordinal, place) if place.kind == PackKind.LISTING else None
        if sealed is None:
            ((_, _, sealed),) = self.read_range(FrameRange.over([(ordinal, place)]))
        return self.open_frame(ordinal, place, sealed)

    def _sealed_listing(self, ordinal: int, place: FramePlace) -> bytes | memoryview | None:
        """A frame of listings as it is in the store, and with the same request those around it: who walks a tree needs them next.

        None if that fails: damage beside a frame must not keep anybody from it.
        """
        with self._lock:
            for fetched in self._ahead:
                if (sealed := fetched.sealed(place)) is not None:
                    return sealed
        low = ordinal & ~0xFFFFFFFF  # of the same session
        first, end = max(low, ordinal - _READ_AHEAD_SEQS), min(low + (1 << 32), ordinal + _READ_AHEAD_SEQS)
        try:
            fetched = self._fetch(surroundings(self._state.frame_places_between(first, end) | {ordinal: place}, ordinal))
        except IntegrityError:
            return None
        with self._lock:
            self._ahead.append(fetched)
        return fetched.sealed(place)

    def _session(self, number: int) -> _Session:
        with self._lock:
            known = self._sessions.get(number)
            if known is None:
                record = self._state.session(number)
                info = session_binding(self._repository.repository, record.host, record.session)
                session_key = self._repository.key.open_read(info, self._state.sealed_key(number))
                if len(session_key) != primitives.KEY_BYTES:
                    raise IntegrityError(f"the key of session {record.session.hex()[:12]} has the wrong length")
                secrets = self._domains.setdefault(record.domain, self._repository.key.domain(record.domain))
                known = self._sessions[number] = _Session(record.session, session_key, Sealer(session_key, "frame"), secrets)
        return known

    def session_keys(self, number: int, kind: PackKind) -> SessionKeys:
        """What opens and verifies the frames of one kind of one session, for a ``FrameOpener``.

        Raises:
            IntegrityError: the session's key is not sealed to this owner.
        """
        session = self._session(number)
        return SessionKeys(session.id, session.key, session.id_key(kind))

    # -- chunks ------------------------------------------------------------------------------------------------------------------------------

    def chunk(self, kind: PackKind, chunk_id: ChunkId, length: int) -> bytes | memoryview:
        """A chunk's bytes, verified; every indexed copy is tried.

        Raises:
            IntegrityError: no copy is good; says what was wrong with the last one.
        """
        problem = IntegrityError(f"chunk {chunk_id.hex()[:16]} is not in the index")
        expected = self._expected.pop(chunk_id, None)
        if expected is not None:
            with suppress(IntegrityError):
                return self._chunk_at(kind, chunk_id, length, expected)
        for place in self._state.copies(chunk_id):
            if place.length != length:
                continue
            try:
                return self._chunk_at(kind, chunk_id, length, place)
            except IntegrityError as error:
                problem = error
        raise problem

    def _chunk_at(self, kind: PackKind, chunk_id: ChunkId, length: int, place: ChunkPlace) -> bytes | memoryview:
        """The chunk from wherever its frame has it. Two packs with different frames of one name are what a host leaves that lies, or that was set
        back to where it was in the middle of a session."""
        problem = IntegrityError(f"frame {place.ordinal & 0xFFFFFFFF} is not in the index")
        frame_places = self._state.all_frame_places(place.ordinal)
        for frame_place in sorted(frame_places, key=lambda frame_place: (place.ordinal, frame_place) not in self._frames):
            try:
                return self.chunk_in(self._opened(place.ordinal, frame_place), place, kind, chunk_id, length)
            except IntegrityError as error:
                problem = error
        raise problem

    def chunk_in(self, frame: bytes | memoryview, place: ChunkPlace, kind: PackKind, chunk_id: ChunkId, length: int) -> memoryview:
        """A chunk out of the raw bytes of the frame that it lies in, verified.

        Raises:
            IntegrityError: other bytes are there.
        """
        raw = memoryview(frame)
        end = verify_chunks(self._session(place.ordinal >> 32).id_key(kind), raw, place.offset, pack_content([(chunk_id, length)]))
        return raw[place.offset : end]

    def listing_chunk(self, chunk_id: ChunkId, length: int) -> bytes | memoryview:
        """A chunk of a listing or of a content list; as ``chunk``."""
        return self.chunk(PackKind.LISTING, chunk_id, length)

    def records(self, node: Node, fetch: FetchChunk | None = None) -> bytes:
        """A node's content records with every indirection followed. ``fetch`` stands in for ``listing_chunk``, for who has to see what is read.

        Raises:
            IntegrityError: a list of records is damaged, nested more deeply than any honest one, or of more records than its size can need: a few
                chunks that name each other often could stand for more than fits into any memory.
        """
        fetch = fetch or self.listing_chunk
        content = node.content
        depth = node.extra.depth if node.extra else 0
        if not 0 <= depth <= _DEPTH_LIMIT:
            raise IntegrityError(f"content is nested {depth} deep")
        size_bytes = node.size // _FILE_PART if node.kind == Kind.FILE else node.size * _ENTRY_BYTES
        limit_bytes = min(_RECORDS_SLACK_BYTES + size_bytes, _RECORDS_LIMIT_BYTES)
        for _ in range(depth):
            if sum(length for _, length in content_records(content)) > limit_bytes:
                raise IntegrityError(f"its list of chunks is longer than any that an honest host writes for a size of {node.size}")
            content = b"".join([fetch(chunk_id, length) for chunk_id, length in content_records(content)])
        if len(content) % CONTENT_RECORD_BYTES:
            raise IntegrityError("a list of content records is cut short")
        return content

    def list_directory(self, node: Node, fetch: FetchChunk | None = None) -> Iterator[Node]:
        """The entries of a directory, sorted by name, read run by run. ``fetch`` as for ``records``.

        Raises:
            IntegrityError: the listing is damaged or malformed.
        """
        fetch = fetch or self.listing_chunk
        last = b""
        for chunk_id, length in content_records(self.records(node, fetch)):
            children = decode_nodes(fetch(chunk_id, length), after=last)
            self._expect(children)
            last = children[-1].name if children else last
            yield from children

    def _expect(self, nodes: Iterable[Node]) -> None:
        """Look up the listings of the directories among ``nodes`` at once: who walks a tree asks for them next."""
        contents = [node.content for node in nodes if node.kind == Kind.DIRECTORY and len(node.content) <= _EXPECTED_RECORDS * CONTENT_RECORD_BYTES]
        if contents:
            if len(self._expected) > _EXPECTED_LIMIT:
                self._expected.clear()
            self._expected.update(self._state.first_copies([chunk_id for content in contents for chunk_id, _ in content_records(content)]))

    # -- many frames -------------------------------------------------------------------------------------------------------------------------

    def places(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One indexed copy of each chunk that has any."""
        return self._state.first_copies(chunk_ids)

    def frame_places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        return self._state.frame_places(ordinals)


def _keep(cache: OrderedDict[_Name, _Value], name: _Name, value: _Value, limit: int) -> None:
    cache[name] = value
    while len(cache) > limit:
        cache.popitem(last=False)
