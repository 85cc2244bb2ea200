"""The index on this machine: which chunk lies in which frame, which frame in which pack, and which of them may be relied on.

Owns what segments bring in and take with them, and the lookups of a backup and of a reader. A chunk gets in here only after the segment that lists it
is in the store. Invariant: ``find`` gives only frames of sessions that are trusted or believed, that have a place, and not only in packs that are
avoided. A damaged chunk table makes the index begin anew, under another epoch.

docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from seedcorn.errors import SeedcornError
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import ChunkId, HostId, PackId
from seedcorn.repo.state.chunk_catalog import ChunkCatalog
from seedcorn.repo.state.chunk_table import ChunkPlace, DamagedTableError
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.frame_index import FrameIndex
from seedcorn.repo.state.indexed import FramePlace, FrameSet, PackRecord, SessionRecord

__all__ = ["LocalIndex"]


class LocalIndex:
    """Several processes may change it; lookups of chunks see what was committed at the last call of ``segments``, or of what changes the index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._frames = FrameIndex(database)
        self._catalog = ChunkCatalog(database)
        self._chunks = self._catalog.chunks
        self._trusted: set[int] | None = None  # session numbers; None: all
        self._has_foreign = False  # whether others are known
        self._believed = FrameSet()  # of other sessions, and believed all the same
        self._believes: Callable[[PackRecord], bool] | None = None
        self._avoided = FrameSet()  # about to be deleted
        self._unusable = FrameSet()  # dead or avoided
        self._load_more: Callable[[], None] | None = None
        self.has_chunks = False  # whether there is any sense in asking for one
        try:
            self._renew()
        except DamagedTableError:
            self.forget_index()  # and the next ``sync_state`` reads all segments again
        self._catalog.sweep_leftovers()

    # -- sessions and segments ---------------------------------------------------------------------------------------------------------------

    def begin_session(self, record: SessionRecord, sealed_key: bytes) -> int:
        """The number of this process's own session, whose key is sealed to the owner."""
        with self._database.writing() as txn:
            number = self._frames.sessions.number_of(txn, record, sealed_key)
        if self._trusted is not None:
            self._trusted.add(number)
        return number

    def complete_session(self, number: int) -> None:
        """The session's snapshot is confirmed."""
        record = msgspec.structs.replace(self.session(number), complete=True)
        with self._database.writing() as txn:
            self._frames.sessions.put(txn, number, record)

    def session(self, number: int) -> SessionRecord:
        """The session of that number, which must be known."""
        return self._frames.sessions.get(number)

    def sealed_key(self, number: int) -> bytes:
        """The key of the session of that number, which must be known, sealed to the owner."""
        return self._frames.sessions.sealed_key(number)

    def sessions(self) -> dict[int, SessionRecord]:
        """Every known session by number."""
        return self._frames.sessions.all()

    def segments(self) -> set[str]:
        """Keys of the segments that are loaded, by whichever process; from now on all their chunks are found."""
        keys = {key for key, record in self._frames.segments().items() if record.is_loaded}
        with self._undamaged():
            self._renew()
        return keys

    def segment_domains(self) -> dict[str, int]:
        """The dedup domain of every segment that is known, by its key: of those that are loaded, and of those that nobody here could open yet."""
        return {key: record.domain for key, record in self._frames.segments().items()}

    def segment_packs(self) -> dict[str, list[tuple[HostId, PackId]]]:
        """What every loaded segment lists, by its key."""
        return self._frames.segment_packs()

    def note_closed_segment(self, key: str, domain: int) -> None:
        """A segment that is in the store and can not be opened here, for want of the key of its domain: whoever has that is to load it."""
        with self._database.writing() as txn:
            self._frames.note_closed_segment(txn, key, domain)

    def add_segment(self, key: str, host: HostId, domain: int, rows: Iterable[KeyRow], packs: Iterable[PackEntry]) -> None:
        """Take in a segment that is in the store: its sessions, packs, frames and chunks, in one transaction."""
        with self._changing():
            with self._database.writing() as txn:
                placed = FrameSet()
                self._catalog.add(txn, self._frames.add_segment(txn, key, host, domain, rows, packs, placed))
                self._catalog.revive(txn, placed)
            self._renew()
            if self._catalog.merge():
                self._renew()

    def remove_segments(self, keys: Collection[str]) -> None:
        """Segments are gone from the store: drop what they alone listed. Cached listings stay, to be checked frame by frame if anything was lost."""
        with self._changing():
            self._renew()
            with self._database.writing() as txn:
                self._catalog.bury(txn, self._frames.remove_segments(txn, keys), self._frames.count(txn))
            self._renew()

    def forget_index(self) -> None:
        """Drop segments, packs, frames and chunks (the chunk tables are damaged). Listings stay, to be checked frame by frame."""
        with self._changing():
            with self._database.writing() as txn:
                self._frames.clear(txn)
                self._catalog.clear(txn)
            self._renew()

    @property
    def epoch(self) -> int:
        """How often the index has lost something."""
        return self._catalog.epoch

    def _renew(self) -> None:
        self._catalog.renew()
        self._unusable = self._catalog.dead | self._avoided
        self.has_chunks = len(self._chunks) > 0 or self._load_more is not None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Exclusive among those who change the index."""
        try:
            with self._undamaged(), self._catalog.changing():
                yield
        except OSError as error:
            raise self._database.unwritable(error) from error

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def _dropped(self, damage: DamagedTableError) -> SeedcornError:
        """Begin the index anew; what to raise then."""
        self._database.discard_writes = False
        self.forget_index()
        return SeedcornError(
            f"the local index was damaged and has been dropped ({damage}); run the command again: the index is read from the repository"
        )

    # -- what may be relied on ---------------------------------------------------------------------------------------------------------------

    def trust_only(self, host: HostId, believes: Callable[[PackRecord], bool] | None = None) -> None:
        """From now on nothing is relied on that other hosts have written, also what another process loads meanwhile, but for packs that ``believes``
        accepts."""
        sessions = self.sessions()
        self._trusted = {number for number, record in sessions.items() if record.host == host}
        self._has_foreign = len(self._trusted) < len(sessions)
        self._believes = believes
        self._believed = FrameSet()
        if believes is not None:
            doubtful = FrameSet()  # a frame that a second list gives other chunks must not be believed for the sake of the first
            for record in self._frames.packs():
                (self._believed if believes(record) else doubtful).update(record.ordinals())
            self._believed -= doubtful

    def avoid(self, packs: Collection[tuple[HostId, PackId]]) -> None:
        """These packs are about to be deleted: from now on ``find`` and the cached listings pass over frames that lie nowhere else."""
        self._avoided = self._frames.only_in(packs) if packs else FrameSet()
        with self._undamaged():
            self._renew()

    def before_first_miss(self, load: Callable[[], None]) -> None:
        """``load`` is called once, before ``find`` says for the first time that a chunk is not there: it may bring in the segments of other hosts."""
        self._load_more = load
        self.has_chunks = True

    def may_rely_on_all(self, frames: FrameSet) -> bool:
        """Whether every one of these frames is in the index, of a session that is trusted or believed, and none is about to be deleted."""
        return self.has_all(frames) and self.may_trust_all(frames)

    @property
    def trusts_all_frames(self) -> bool:
        """Whether ``may_trust_all`` is true of whatever is in the index."""
        return not self._avoided and not self._has_foreign

    def may_trust_all(self, frames: FrameSet) -> bool:
        """Whether all of these frames are of sessions that are trusted or believed, and none is about to be deleted."""
        return not frames & self._avoided and (self._trusted is None or all(self._is_trusted(ordinal) for ordinal in frames))

    def _is_trusted(self, ordinal: int) -> bool:
        return self._trusted is None or ordinal >> 32 in self._trusted or ordinal in self._believed

    def _may_rely_on(self, ordinal: int) -> bool:
        return self._is_trusted(ordinal) and ordinal not in self._unusable

    # -- chunks ------------------------------------------------------------------------------------------------------------------------------

    def find(self, chunk_id: bytes) -> int | None:
        """The ordinal of a frame that holds the chunk, in a copy that may be relied on; None if there is none."""
        try:
            ordinal = self._chunks.find(chunk_id)
            if ordinal is not None and ((self._trusted is None or ordinal >> 32 in self._trusted) and ordinal not in self._unusable):
                return ordinal
            if ordinal is not None:
                ordinal = next((place.ordinal for place in self._chunks.copies(chunk_id) if self._may_rely_on(place.ordinal)), None)
            if ordinal is None and self._load_more is not None:
                load, self._load_more = self._load_more, None
                load()
                self._renew()
                return self.find(chunk_id)
            return ordinal
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def copies(self, chunk_id: ChunkId) -> list[ChunkPlace]:
        """Every indexed copy of a chunk."""
        with self._undamaged():
            return list(dict.fromkeys(place for place in self._chunks.copies(chunk_id) if place.ordinal not in self._unusable))

    def first_copies(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One indexed copy of each chunk that has any."""
        with self._undamaged():
            found = self._chunks.first_copies(chunk_ids)
        if self._unusable:
            for chunk_id in [chunk_id for chunk_id, place in found.items() if place.ordinal in self._unusable]:
                others = self.copies(ChunkId(chunk_id))
                if others:
                    found[chunk_id] = others[0]
                else:
                    del found[chunk_id]
        return found

    # -- frames and packs --------------------------------------------------------------------------------------------------------------------

    def frame_places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        return self._frames.places(ordinals)

    def frame_places_between(self, first: int, end: int) -> dict[int, FramePlace]:
        """A place for each indexed frame from the ordinal ``first`` up to, and without, ``end``."""
        return self._frames.places_between(first, end)

    def all_frame_places(self, ordinal: int) -> list[FramePlace]:
        """Every place that an index segment gives for one frame."""
        return self._frames.all_places(ordinal)

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(ordinal, pack number, sealed bytes, raw bytes) of every place of a frame."""
        return self._frames.frames()

    def packs(self) -> Iterator[PackRecord]:
        """Every indexed pack."""
        return self._frames.packs()

    def has_all(self, frames: FrameSet) -> bool:
        """Whether every one of these frames is in the index."""
        return self._frames.has_all(frames)

    def outside(self, packs: Collection[tuple[HostId, PackId]]) -> FrameSet:
        """The frames that have a place in another pack than these, which is one's own or believed, if not all are trusted."""
        return self._frames.outside(packs, self._counts)

    def _counts(self, pack: PackRecord) -> bool:
        trusted = self._trusted
        if trusted is None or all(number in trusted for number, _ in pack.runs):
            return True
        return self._believes is not None and self._believes(pack)
