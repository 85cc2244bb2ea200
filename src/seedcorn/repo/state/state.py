"""What this machine remembers of a repository between runs: where chunks lie, and the host's last listings. Sole importer of lmdb.

Never authoritative: losing it costs a re-read of the sources, not a re-upload. A chunk gets in here only after the segment that lists it is in the
store; a cached listing counts only if every frame it needs is in here, so a killed run can leave nothing that lies.

All is in LMDB but the entries of chunks, which are in the files of ``ChunkIndex``; LMDB has the list of the files that count, so that one transaction
makes a segment's frames and chunks known. Whatever changes that list holds the index lock; a damaged file makes the index begin anew. Chunks of
frames that are gone stay in the files for a while: the set of dead frames tells them from the others.

A frame's *ordinal* is ``session number << 32 | seq``, where the session number is this state's own short name for a session id.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from seedcorn.errors import SeedcornError
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import ChunkId, HostId, PackId, RepositoryId
from seedcorn.repo.state.chunk_index import ChunkIndex
from seedcorn.repo.state.chunk_table import ChunkPlace, DamagedTableError
from seedcorn.repo.state.copied_contents import CopiedContents
from seedcorn.repo.state.frame_index import FrameIndex, FramePlace, FrameSet, PackRecord, SessionRecord, frame_ordinal
from seedcorn.repo.state.listings import CachedListing, ListingCache
from seedcorn.repo.state.mapping import FileMapping
from seedcorn.repo.state.verifications import Verifications

__all__ = ["ChunkPlace", "FramePlace", "FrameSet", "PackRecord", "SessionRecord", "State", "frame_ordinal"]

_SCHEMA = b"10"
_MAP_BYTES = 1 << 36  # address space, not disk
_READERS = 1024
_LOCK_FILE_BYTES = (_READERS + 2) * 64  # LMDB's: one cache line for each reader, and its head
_DEAD = b"dead-frames"
_DEAD_SHARE = 4  # one frame in so many may be dead before the chunk tables are written anew


class State:
    """One repository's state directory. Several processes may have it open; lookups of chunks see what was committed at the last call of
    ``segments``, or of what changes the index.
    """

    def __init__(self, folder: Path, repository: RepositoryId) -> None:
        """Open or make the state in ``folder`` (made with mode 0700). One of another repository or schema is thrown away and begun anew.

        Raises:
            SeedcornError: the folder can not be used.
        """
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open(folder)
            with self._env.begin() as txn:
                known = txn.get(b"repository", db=self._meta), txn.get(b"schema", db=self._meta)
            if known not in ((None, None), (repository, _SCHEMA)):
                self._env.close()
                shutil.rmtree(folder / "index")
                self._open(folder)
            if known != (repository, _SCHEMA):
                with self._env.begin(write=True) as txn:
                    txn.put(b"repository", repository, db=self._meta)
                    txn.put(b"schema", _SCHEMA, db=self._meta)
            self._env.reader_check()  # one that was killed would keep free pages from being used again
        except (OSError, lmdb.Error) as error:
            raise SeedcornError(f"the state directory {folder} can not be used: {error}; give another place with SEEDCORN_STATE_DIR") from error
        self.discard_writes = False  # for a dry run: nothing that is learned is kept
        self._trusted: set[int] | None = None  # session numbers; None: all
        self._believed = FrameSet()  # of other sessions, and believed all the same
        self._avoided = FrameSet()  # about to be deleted
        self._load_more: Callable[[], None] | None = None
        self._complete = {number for number, record in self.sessions().items() if record.complete}
        try:
            self._renew()
        except DamagedTableError:
            self.forget_index()  # and the next ``sync_state`` reads all segments again
        self._sweep_leftovers()

    def _open(self, folder: Path) -> None:
        (folder / "index").mkdir(mode=0o700, exist_ok=True)  # lmdb would make it with the mode of its files
        (folder / "index" / "chunks").mkdir(mode=0o700, exist_ok=True)
        _reserve_lock_file(folder / "index" / "lock.mdb")
        self._env = lmdb.open(str(folder / "index"), map_size=_MAP_BYTES, max_dbs=16, mode=0o600, readahead=False, max_readers=_READERS)
        self._mapping = FileMapping(folder / "index" / "data.mdb")
        self._meta = self._env.open_db(b"meta")
        self._frames = FrameIndex(self._env)
        self._tables = self._env.open_db(b"tables")  # name of a chunk table -> nothing
        self._chunks = ChunkIndex(folder / "index" / "chunks")
        self._listings = self._env.open_db(b"listings")  # directory key -> CachedListing
        self._listing_parts = self._env.open_db(b"listing-parts")  # directory key, session number, part -> CachedPart
        self._objects = self._env.open_db(b"objects")  # store key -> small immutable objects, as stored
        self._verified = self._env.open_db(b"verified")  # pack id -> when it was verified, and as what
        self._copied = self._env.open_db(b"copied-contents")  # content of another repository -> what it has become in this one

    def close(self) -> None:
        self._env.close()

    # -- the index ---------------------------------------------------------------------------------------------------------------------------

    def segments(self) -> set[str]:
        """Keys of the segments that are loaded, by whichever process; from now on all their chunks are found."""
        keys = {key for key, record in self._frames.segments().items() if record.is_loaded}
        try:
            self._renew()
        except DamagedTableError as error:
            raise self._dropped(error) from error
        return keys

    def segment_domains(self) -> dict[str, int]:
        """The dedup domain of every segment that is known, by its key: of those that are loaded, and of those that nobody here could open yet."""
        return {key: record.domain for key, record in self._frames.segments().items()}

    def note_closed_segment(self, key: str, domain: int) -> None:
        """A segment that is in the store and can not be opened here, for want of the key of its domain: whoever has that is to load it."""
        with self._writing() as txn:
            self._frames.note_closed_segment(txn, key, domain)

    def begin_session(self, record: SessionRecord, sealed_key: bytes) -> int:
        """The number of this process's own session, whose key is sealed to the owner."""
        with self._writing() as txn:
            number = self._frames.session_number(txn, record, sealed_key)
        if self._trusted is not None:
            self._trusted.add(number)
        return number

    def session(self, number: int) -> SessionRecord:
        """The session of that number, which must be known."""
        return self._frames.session(number)

    def sealed_key(self, number: int) -> bytes:
        """The key of the session of that number, which must be known, sealed to the owner."""
        return self._frames.sealed_key(number)

    def sessions(self) -> dict[int, SessionRecord]:
        """Every known session by number."""
        return self._frames.sessions()

    def complete_session(self, number: int) -> None:
        """The session's snapshot is confirmed."""
        record = msgspec.structs.replace(self.session(number), complete=True)
        with self._writing() as txn:
            self._frames.put_session(txn, number, record)
        self._complete.add(number)

    def add_segment(self, key: str, host: HostId, domain: int, rows: Iterable[KeyRow], packs: Iterable[PackEntry]) -> None:
        """Take in a segment that is in the store: its sessions, packs, frames and chunks, in one transaction."""
        with self._changing_index():
            with self._writing() as txn:
                placed = FrameSet()
                for table in self._chunks.write(self._frames.add_segment(txn, key, host, domain, rows, packs, placed)):
                    txn.put(table.encode("ascii"), b"", db=self._tables)
                dead = self._dead_frames(txn)
                if dead & placed:
                    txn.put(_DEAD, (dead - placed).serialize(), db=self._meta)
            self._renew()
            self._merge_tables()

    def _merge_tables(self) -> None:
        outgrown = self._chunks.outgrown()
        if not outgrown or self.discard_writes:
            return
        merged = self._chunks.merge(outgrown)  # which may take long, and is no part of the transaction
        with self._writing() as txn:
            for table in outgrown:
                txn.delete(table.path.name.encode("ascii"), db=self._tables)
            txn.put(merged.encode("ascii"), b"", db=self._tables)
        self._renew()

    def forget_index(self) -> None:
        """Drop segments, packs, frames and chunks (the chunk tables are damaged). Listings stay, to be checked frame by frame."""
        with self._changing_index():
            with self._writing() as txn:
                self._frames.drop(txn)
                txn.drop(self._tables, delete=False)
                txn.delete(_DEAD, db=self._meta)
                self._next_epoch(txn)
            self._renew()

    def remove_segments(self, keys: Collection[str]) -> None:
        """Segments are gone from the store: drop what they alone listed. Cached listings stay, to be checked frame by frame if anything was lost."""
        with self._changing_index():
            self._renew()
            with self._writing() as txn:
                self._bury(txn, self._frames.remove_segments(txn, keys))
            self._renew()

    def forget_packs(self, packs: Collection[PackId]) -> None:
        """Drop what these packs hold from the index. Cached listings stay, to be checked frame by frame."""
        with self._changing_index():
            self._renew()
            with self._writing() as txn:
                self._bury(txn, self._frames.remove_packs(txn, self._frames.numbers_of(txn, packs)))
            self._renew()

    def _bury(self, txn: Any, lost: FrameSet) -> None:
        """Note frames that have no place any more. Many of them are taken out of the chunk tables."""
        if not lost:
            return
        self._next_epoch(txn)
        dead = self._dead_frames(txn) | lost
        if len(dead) * _DEAD_SHARE > self._frames.count(txn):
            txn.drop(self._tables, delete=False)
            txn.put(self._chunks.write_without(dead).encode("ascii"), b"", db=self._tables)
            dead = FrameSet()
        txn.put(_DEAD, dead.serialize(), db=self._meta)

    def _dead_frames(self, txn: Any) -> FrameSet:
        packed = txn.get(_DEAD, db=self._meta)
        return FrameSet.deserialize(packed) if packed is not None else FrameSet()

    def _next_epoch(self, txn: Any) -> None:
        txn.put(b"epoch", str(int(txn.get(b"epoch", b"0", db=self._meta)) + 1).encode(), db=self._meta)

    @contextmanager
    def _changing_index(self) -> Iterator[None]:
        """Exclusive among those who change the list of tables; at the end, files that are not in it are removed."""
        try:
            with _flock(self.folder / "index.lock", fcntl.LOCK_EX):
                try:
                    yield
                finally:
                    self._chunks.sweep(self._table_names())
        except DamagedTableError as error:
            raise self._dropped(error) from error
        except OSError as error:
            raise self._unwritable(error) from error

    def _sweep_leftovers(self) -> None:
        """Remove what a killed process left; not while another one may be about to commit it."""
        with suppress(OSError), _flock(self.folder / "index.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._chunks.sweep(self._table_names())

    def _table_names(self) -> list[str]:
        with self._env.begin() as txn, txn.cursor(self._tables) as cursor:
            return [key.decode("ascii") for key in cursor.iternext(keys=True, values=False)]

    def _dropped(self, damage: DamagedTableError) -> SeedcornError:
        """Begin the index anew; what to raise then."""
        self.discard_writes = False
        self.forget_index()
        return SeedcornError(
            f"the local index was damaged and has been dropped ({damage}); run the command again: the index is read from the repository"
        )

    # -- looking up --------------------------------------------------------------------------------------------------------------------------

    def trust_only(self, host: HostId, believes: Callable[[PackRecord], bool] | None = None) -> None:
        """``find`` skips copies written by other hosts, also those that another process loads meanwhile, but for packs that ``believes`` accepts."""
        self._trusted = {number for number, record in self.sessions().items() if record.host == host}
        self._believed = FrameSet()
        if believes is not None:
            doubtful = FrameSet()  # a frame that a second list gives other chunks must not be believed for the sake of the first
            for record in self._frames.packs():
                (self._believed if believes(record) else doubtful).update(record.ordinals())
            self._believed -= doubtful

    def before_first_miss(self, load: Callable[[], None]) -> None:
        """``load`` is called once, before ``find`` says for the first time that a chunk is not there: it may bring in the segments of other hosts."""
        self._load_more = load
        self.has_chunks = True

    def avoid(self, packs: Collection[tuple[HostId, PackId]]) -> None:
        """These packs are about to be deleted: from now on ``find`` and the cached listings pass over frames that lie nowhere else."""
        self._avoided = self._frames.only_in(packs) if packs else FrameSet()
        self._renew()

    def outside(self, packs: Collection[tuple[HostId, PackId]]) -> FrameSet:
        """The frames that have a place in another pack than these."""
        return self._frames.outside(packs)

    def _renew(self) -> None:
        """Let lookups see what has been committed since."""
        while True:
            names = self._table_names()
            try:
                self._chunks.use(names)
                break
            except FileNotFoundError as error:
                if names == self._table_names():  # else it has been merged meanwhile
                    raise DamagedTableError(f"{error.filename} is missing") from error
        with self._env.begin() as txn:
            self._unusable = self._dead_frames(txn) | self._avoided
            self._epoch = int(txn.get(b"epoch", b"0", db=self._meta))
        self.has_chunks = len(self._chunks) > 0 or self._load_more is not None

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

    def _may_rely_on(self, ordinal: int) -> bool:
        return (self._trusted is None or ordinal >> 32 in self._trusted or ordinal in self._believed) and ordinal not in self._unusable

    def copies(self, chunk_id: ChunkId) -> list[ChunkPlace]:
        """Every indexed copy of a chunk."""
        try:
            return list(dict.fromkeys(place for place in self._chunks.copies(chunk_id) if place.ordinal not in self._unusable))
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def first_copies(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One indexed copy of each chunk that has any."""
        try:
            found = self._chunks.first_copies(chunk_ids)
        except DamagedTableError as error:
            raise self._dropped(error) from error
        if self._unusable:
            for chunk_id in [chunk_id for chunk_id, place in found.items() if place.ordinal in self._unusable]:
                others = self.copies(ChunkId(chunk_id))
                if others:
                    found[chunk_id] = others[0]
                else:
                    del found[chunk_id]
        return found

    def frame_places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        return self._frames.places(ordinals)

    def frame_places_between(self, first: int, end: int) -> dict[int, FramePlace]:
        """A place for each indexed frame from the ordinal ``first`` up to, and without, ``end``."""
        return self._frames.places_between(first, end)

    def all_frame_places(self, ordinal: int) -> list[FramePlace]:
        """Every place that an index segment gives for one frame."""
        return self._frames.all_places(ordinal)

    def packs(self) -> Iterator[PackRecord]:
        """Every indexed pack."""
        return self._frames.packs()

    def segment_packs(self) -> dict[str, list[tuple[HostId, PackId]]]:
        """What every loaded segment lists, by its key."""
        return self._frames.segment_packs()

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(ordinal, pack number, sealed bytes, raw bytes) of every place of a frame."""
        return self._frames.frames()

    # -- listings ----------------------------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """How often the index was begun anew."""
        return self._epoch

    def listings(self, domain: int) -> ListingCache:
        """What the last runs on this machine, by hosts of a dedup domain, have seen."""
        return ListingCache(self._env, self._listings, self._listing_parts, domain, self._writing, self._believes, self._mapping)

    def forget_listings(self) -> None:
        """Drop all that runs have seen, of files and of other repositories: it costs one reading."""
        with self._writing() as txn:
            for database in (self._listings, self._listing_parts, self._copied):
                txn.drop(database, delete=False)

    def _believes(self, cached: CachedListing) -> bool:
        """A listing of this epoch and of a run that ended well can be relied on; of any other one every frame is looked up."""
        if cached.epoch == self._epoch and cached.session_number in self._complete and not self._avoided:
            return True
        return self.may_rely_on_all(FrameSet.deserialize(cached.frames))

    def may_rely_on_all(self, frames: FrameSet) -> bool:
        """Whether every one of these frames is in the index, and none is about to be deleted."""
        return self._frames.has_all(frames) and not frames & self._avoided

    def copied_contents(self, source: RepositoryId, domain: int) -> CopiedContents:
        """What content that hosts of a dedup domain have copied from the repository ``source`` has become here."""
        return CopiedContents(self._env, self._copied, self._writing, source, domain)

    def has_all(self, frames: FrameSet) -> bool:
        """Whether every one of these frames is in the index."""
        return self._frames.has_all(frames)

    def verifications(self) -> Verifications:
        """When this machine has verified which pack."""
        return Verifications(self._env, self._verified, self._writing)

    # -- small facts -------------------------------------------------------------------------------------------------------------------------

    def fact(self, name: str) -> bytes | None:
        """A remembered value (heads seen, names of users)."""
        with self._env.begin(db=self._meta) as txn:
            return txn.get(b"fact/" + name.encode())

    def remember(self, name: str, value: bytes) -> None:
        with self._writing() as txn:
            txn.put(b"fact/" + name.encode(), value, db=self._meta)

    def cached_object(self, key: str) -> bytes | None:
        """A small immutable object as it is in the store (still sealed, its signature still to be verified)."""
        with self._env.begin(db=self._objects) as txn:
            return txn.get(key.encode("ascii"))

    def cache_object(self, key: str, data: bytes) -> None:
        if self.cached_object(key) != data:  # a look costs next to nothing, a transaction waits for the disk
            with self._writing() as txn:
                txn.put(key.encode("ascii"), data, db=self._objects)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive among the processes of this machine, for the moment in which a snapshot gets its number.

        Raises:
            SeedcornError: the folder can not be written any more.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(_flock(self.folder / "commit.lock", fcntl.LOCK_EX))
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            with self._env.begin(write=True) as txn:
                yield txn
                if self.discard_writes:
                    txn.abort()
        except lmdb.Error as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> SeedcornError:
        return SeedcornError(f"the state directory {self.folder} can not be written: {error}; is its disk full?")


@contextmanager
def _flock(path: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file its blocks: it is mapped and written, which on a full disk would be a bus error instead of an exception."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_blocks == 0:
            os.posix_fallocate(descriptor, 0, _LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
