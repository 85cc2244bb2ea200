"""The reading side: from chunk ids to verified bytes.

Finds a chunk's copies in the index, fetches the frame that holds one (neighbours in a pack in one request), opens and decompresses it, and recomputes
the id of every chunk that is handed out. A copy that fails is passed over for the next one; only when none is left does it become an error.

docs/format.md, section "Frame". Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from seedcorn import compression
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import SEAL_OVERHEAD, Sealer
from seedcorn.crypto.keys import DomainSecrets
from seedcorn.errors import AccessDeniedError, IntegrityError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.format.header import pack_key
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Node, content_records, decode_nodes
from seedcorn.ids import CHUNK_ID_BYTES, ChunkId, SessionId
from seedcorn.repo.bindings import frame_binding, session_binding
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.state import ChunkPlace, FramePlace, State

__all__ = ["FetchChunk", "FrameRange", "Reader", "coalesce"]

FetchChunk = Callable[[ChunkId, int], bytes | memoryview]  # by id and length; raises IntegrityError
_DEPTH_LIMIT = 8
_CACHED_FRAMES = 48  # about 1 MiB each
COALESCE_GAP_BYTES = 256 << 10  # cheaper to read over than to ask twice
COALESCE_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames that lie close together in one pack, in order of their offset: fetched in one request."""

    key: str
    start: int
    length: int
    frames: tuple[tuple[int, FramePlace], ...]


class Reader:
    """Reads one repository as its owner."""

    def __init__(self, repository: OwnerRepository, state: State) -> None:
        self._repository = repository
        self._state = state
        self._sealers: dict[int, tuple[Sealer, DomainSecrets, SessionId]] = {}
        self._domains: dict[int, DomainSecrets] = {}
        self._frames: OrderedDict[int, bytes | memoryview] = OrderedDict()
        self._lock = threading.Lock()

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def open_frame(self, ordinal: int, place: FramePlace, sealed: bytes | memoryview) -> bytes | memoryview:
        """The raw bytes of a frame from its sealed ones. Chunk ids in it are not verified yet.

        Raises:
            IntegrityError: names the pack.
        """
        sealer, _, session = self._session(ordinal >> 32)
        binding = frame_binding(PackKind(place.kind), self._repository.repository, session, ordinal & 0xFFFFFFFF)
        plain = bytearray(max(0, len(sealed) - SEAL_OVERHEAD))
        try:
            length = sealer.open_into(sealed, binding, memoryview(plain))
            return compression.decompress(memoryview(plain)[:length], place.raw_bytes)
        except IntegrityError as error:
            raise error.named(pack_key(place.host, place.pack)) from error

    def read_range(self, wanted: FrameRange) -> Iterator[tuple[int, FramePlace, bytes]]:
        """(ordinal, place, sealed bytes) of the frames of one range, in one request.

        Raises:
            IntegrityError: the pack is gone, or shorter than the index says.
        """
        try:
            data = memoryview(self._repository.store.get_range(wanted.key, wanted.start, wanted.length))
        except ObjectNotFoundError as error:
            raise IntegrityError("is missing from the store", object_name=wanted.key) from error
        except StoreError as error:
            if (
                isinstance(error, AccessDeniedError | StoreUnavailableError)
                or self._repository.store.head(wanted.key).size_bytes >= wanted.start + wanted.length
            ):
                raise
            raise IntegrityError("is shorter than the index says", object_name=wanted.key) from error
        for ordinal, place in wanted.frames:
            at = place.offset - wanted.start
            yield ordinal, place, data[at : at + place.sealed_bytes]  # type: ignore[misc]  # a view of bytes serves as bytes

    def frame(self, ordinal: int) -> bytes | memoryview:
        """The raw bytes of one frame, from the cache or the store.

        Raises:
            IntegrityError: it is damaged or not indexed.
        """
        with self._lock:
            cached = self._frames.get(ordinal)
            if cached is not None:
                self._frames.move_to_end(ordinal)
                return cached
        problem = IntegrityError(f"frame {ordinal & 0xFFFFFFFF} is not in the index")
        for place in self._state.all_frame_places(ordinal):
            try:
                raw = self._frame_at(ordinal, place)
                break
            except IntegrityError as error:
                problem = error
        else:
            raise problem
        with self._lock:
            self._frames[ordinal] = raw
            while len(self._frames) > _CACHED_FRAMES:
                self._frames.popitem(last=False)
        return raw

    def _frame_at(self, ordinal: int, place: FramePlace) -> bytes | memoryview:
        wanted = FrameRange(pack_key(place.host, place.pack), place.offset, place.sealed_bytes, ((ordinal, place),))
        ((_, _, sealed),) = self.read_range(wanted)
        return self.open_frame(ordinal, place, sealed)

    def _session(self, number: int) -> tuple[Sealer, DomainSecrets, SessionId]:
        with self._lock:
            known = self._sealers.get(number)
            if known is None:
                record = self._state.session(number)
                info = session_binding(self._repository.repository, record.host, record.session)
                session_key = self._repository.key.open_read(info, self._state.sealed_key(number))
                if len(session_key) != primitives.KEY_BYTES:
                    raise IntegrityError(f"the key of session {record.session.hex()[:12]} has the wrong length")
                secrets = self._domains.setdefault(record.domain, self._repository.key.domain(record.domain))
                known = self._sealers[number] = (Sealer(session_key, "frame"), secrets, record.session)
        return known

    # -- chunks ------------------------------------------------------------------------------------------------------------------------------

    def verifier(self, kind: PackKind, ordinal: int) -> Callable[[bytes, bytes | memoryview], bool]:
        """Whether given bytes are the chunk of a given id, in the domain of the frame they came from."""
        _, secrets, _ = self._session(ordinal >> 32)
        key = secrets.chunk_id_key if kind is PackKind.DATA else secrets.listing_id_key
        keyed_hash = primitives.keyed_hash
        return lambda chunk_id, data: keyed_hash(key, data, CHUNK_ID_BYTES) == chunk_id

    def chunk(self, kind: PackKind, chunk_id: ChunkId, length: int) -> bytes | memoryview:
        """A chunk's bytes, verified; every indexed copy is tried.

        Raises:
            IntegrityError: no copy is good; says what was wrong with the last one.
        """
        problem = IntegrityError(f"chunk {chunk_id.hex()[:16]} is not in the index")
        for place in self._state.copies(chunk_id):
            try:
                return self._chunk_at(kind, chunk_id, length, place)
            except IntegrityError as error:
                problem = error
        raise problem

    def _chunk_at(self, kind: PackKind, chunk_id: ChunkId, length: int, place: ChunkPlace) -> bytes | memoryview:
        raw = memoryview(self.frame(place.ordinal))[place.offset : place.offset + place.length]
        if place.length != length or not self.verifier(kind, place.ordinal)(chunk_id, raw):
            raise IntegrityError(f"chunk {chunk_id.hex()[:16]} does not have the content its id stands for")
        return raw

    def listing_chunk(self, chunk_id: ChunkId, length: int) -> bytes | memoryview:
        """A chunk of a listing or of a content list; as ``chunk``."""
        return self.chunk(PackKind.LISTING, chunk_id, length)

    def records(self, node: Node, fetch: FetchChunk | None = None) -> bytes:
        """A node's content records with every indirection followed. ``fetch`` stands in for ``listing_chunk``, for who has to see what is read.

        Raises:
            IntegrityError: a list of records is damaged, or nested more deeply than any honest one.
        """
        fetch = fetch or self.listing_chunk
        content = node.content
        depth = node.extra.depth if node.extra else 0
        if depth > _DEPTH_LIMIT:
            raise IntegrityError(f"content is nested {depth} deep")
        for _ in range(depth):
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
            for child in decode_nodes(fetch(chunk_id, length), after=last):
                last = child.name
                yield child

    # -- many frames -------------------------------------------------------------------------------------------------------------------------

    def places(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One indexed copy of each chunk that has any."""
        return self._state.first_copies(chunk_ids)

    def plan(self, ordinals: Iterable[int]) -> list[FrameRange]:
        """The requests that fetch these frames; frames that are not indexed are in none of them."""
        return coalesce(self._state.frame_places(ordinals))


def coalesce(places: dict[int, FramePlace]) -> list[FrameRange]:
    """Ranges over frames, sorted by pack and offset; close neighbours together up to a limit."""
    ranges: list[FrameRange] = []
    run: list[tuple[int, FramePlace]] = []
    for ordinal, place in sorted(places.items(), key=lambda item: (item[1].host, item[1].pack, item[1].offset)):
        if run and (place.pack != run[0][1].pack or not _near(run, place)):
            ranges.append(_range(run))
            run = []
        run.append((ordinal, place))
    if run:
        ranges.append(_range(run))
    return ranges


def _near(run: Sequence[tuple[int, FramePlace]], place: FramePlace) -> bool:
    last = run[-1][1]
    gap = place.offset - (last.offset + last.sealed_bytes)
    return gap <= COALESCE_GAP_BYTES and place.offset + place.sealed_bytes - run[0][1].offset <= COALESCE_LIMIT_BYTES


def _range(run: Sequence[tuple[int, FramePlace]]) -> FrameRange:
    first, last = run[0][1], run[-1][1]
    return FrameRange(pack_key(first.host, first.pack), first.offset, last.offset + last.sealed_bytes - first.offset, tuple(run))
