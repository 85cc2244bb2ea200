"""What this machine remembers of a repository between runs: where chunks lie, and the host's last listings. Sole importer of lmdb.

Never authoritative: losing it costs a re-read of the sources, not a re-upload. A chunk gets in here only after the segment that lists it is in the
store; a cached listing counts only if every frame it needs is in here, so a killed run can leave nothing that lies.

All is in LMDB but the entries of chunks, which are in the files of ``ChunkIndex``; LMDB has the list of the files that count, so that one transaction
makes a segment's frames and chunks known. Whatever changes that list holds the index lock; a damaged file makes the index begin anew.

A frame's *ordinal* is ``session number << 32 | seq``, where the session number is this state's own short name for a session id.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb
import msgspec
from pyroaring import BitMap64 as FrameSet  # a set of frame ordinals

from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import SeedcornError
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.format.tree import content_records
from seedcorn.ids import ChunkId, HostId, PackId, RepositoryId, SessionId
from seedcorn.repo.chunk_index import ChunkIndex
from seedcorn.repo.chunk_table import ChunkPlace, DamagedTableError, pack_entry
from seedcorn.repo.listings import CachedListing, ListingCache
from seedcorn.repo.mapping import FileMapping

__all__ = ["ChunkPlace", "FramePlace", "FrameSet", "SessionRecord", "State", "frame_ordinal"]

_SCHEMA = b"7"
_MAP_BYTES = 1 << 36  # address space, not disk
_READERS = 1024
_LOCK_FILE_BYTES = (_READERS + 2) * 64  # LMDB's: one cache line for each reader, and its head
_FRAME_KEY = struct.Struct(">II")
_FRAME = struct.Struct("<IIIIB")  # pack number, offset, sealed bytes, raw bytes, kind
_NUMBER = struct.Struct(">I")


class FramePlace(msgspec.Struct, frozen=True, gc=False):
    """Where a frame lies."""

    host: HostId
    pack: PackId
    offset: int
    sealed_bytes: int
    raw_bytes: int
    kind: int


class SessionRecord(msgspec.Struct, frozen=True):
    """One session whose frames are indexed."""

    session: SessionId
    host: HostId
    domain: int
    complete: bool = False  # ended with a snapshot


class _PackRecord(msgspec.Struct, array_like=True, frozen=True):
    host: bytes
    pack: bytes


def frame_ordinal(session_number: int, seq: int) -> int:
    return session_number << 32 | seq


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
        except (OSError, lmdb.Error) as error:
            raise SeedcornError(f"the state directory {folder} can not be used: {error}; give another place with SEEDCORN_STATE_DIR") from error
        with self._env.begin(write=True) as txn:
            txn.put(b"repository", repository, db=self._meta)
            txn.put(b"schema", _SCHEMA, db=self._meta)
            self._epoch = int(txn.get(b"epoch", b"0", db=self._meta))
        self.discard_writes = False  # for a dry run: nothing that is learned is kept
        self._trusted: set[int] | None = None  # session numbers; None: all
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
        self._sessions = self._env.open_db(b"sessions")  # session number -> SessionRecord
        self._session_keys = self._env.open_db(b"session-keys")  # session number -> sealed key: long, and most readers of sessions need none
        self._session_numbers = self._env.open_db(b"session-numbers")  # hash of host, session and sealed key -> session number
        self._segments = self._env.open_db(b"segments")  # store key -> nothing
        self._packs = self._env.open_db(b"packs")  # pack number -> _PackRecord
        self._frames = self._env.open_db(b"frames", dupsort=True, dupfixed=True)  # session number, seq -> places
        self._tables = self._env.open_db(b"tables")  # name of a chunk table -> nothing
        self._chunks = ChunkIndex(folder / "index" / "chunks")
        self._listings = self._env.open_db(b"listings")  # directory key -> CachedListing
        self._listing_parts = self._env.open_db(b"listing-parts")  # directory key, session number, part -> CachedPart
        self._objects = self._env.open_db(b"objects")  # store key -> host records and snapshots, as stored

    def close(self) -> None:
        self._env.close()

    # -- the index ---------------------------------------------------------------------------------------------------------------------------

    def segments(self) -> set[str]:
        """Keys of the segments that are loaded, by whichever process; from now on all their chunks are found."""
        with self._env.begin() as txn, txn.cursor(self._segments) as cursor:
            keys = {key.decode("ascii") for key in cursor.iternext(keys=True, values=False)}
        try:
            self._renew()
        except DamagedTableError as error:
            raise self._dropped(error) from error
        return keys

    def begin_session(self, record: SessionRecord, sealed_key: bytes) -> int:
        """The number of this process's own session, whose key is sealed to the owner."""
        with self._writing() as txn:
            number = self._session_number(txn, record, sealed_key)
        if self._trusted is not None:
            self._trusted.add(number)
        return number

    def _session_number(self, txn: Any, record: SessionRecord, sealed_key: bytes) -> int:
        # Session ids are public and a host may sign anything: a session is what one host says under one key, and another key is another session.
        name = object_hash(record.host + record.session + sealed_key)
        packed = txn.get(name, db=self._session_numbers)
        if packed is not None:
            return int(_NUMBER.unpack(packed)[0])
        number: int = txn.stat(self._sessions)["entries"]
        txn.put(name, _NUMBER.pack(number), db=self._session_numbers)
        txn.put(_NUMBER.pack(number), sealed_key, db=self._session_keys)
        txn.put(_NUMBER.pack(number), msgspec.msgpack.encode(record), db=self._sessions)
        return number

    def session(self, number: int) -> SessionRecord:
        """The session of that number, which must be known."""
        with self._env.begin() as txn:
            packed = txn.get(_NUMBER.pack(number), db=self._sessions)
        assert packed is not None, "session numbers come from this state"
        return msgspec.msgpack.decode(packed, type=SessionRecord)

    def sealed_key(self, number: int) -> bytes:
        """The key of the session of that number, which must be known, sealed to the owner."""
        with self._env.begin() as txn:
            packed = txn.get(_NUMBER.pack(number), db=self._session_keys)
        assert packed is not None, "session numbers come from this state"
        return bytes(packed)

    def sessions(self) -> dict[int, SessionRecord]:
        """Every known session by number."""
        with self._env.begin() as txn, txn.cursor(self._sessions) as cursor:
            return {_NUMBER.unpack(key)[0]: msgspec.msgpack.decode(value, type=SessionRecord) for key, value in cursor}

    def complete_session(self, number: int) -> None:
        """The session's snapshot is in the store."""
        record = msgspec.structs.replace(self.session(number), complete=True)
        with self._writing() as txn:
            txn.put(_NUMBER.pack(number), msgspec.msgpack.encode(record), db=self._sessions)
        self._complete.add(number)

    def add_segment(self, key: str, host: HostId, domain: int, rows: Iterable[KeyRow], packs: Iterable[PackEntry]) -> None:
        """Take in a segment that is in the store: its sessions, packs, frames and chunks, in one transaction."""
        name = key.encode("ascii")
        with self._changing_index():
            with self._writing() as txn:
                if txn.get(name, db=self._segments) is None:
                    numbers = {
                        row.session: self._session_number(txn, SessionRecord(SessionId(row.session), host, domain), row.sealed_key) for row in rows
                    }
                    for table in self._chunks.write(self._add_packs(txn, host, numbers, packs)):
                        txn.put(table.encode("ascii"), b"", db=self._tables)
                    txn.put(name, b"", db=self._segments)
            self._renew()
            self._merge_tables()

    def _add_packs(self, txn: Any, host: HostId, numbers: dict[bytes, int], packs: Iterable[PackEntry]) -> Iterator[bytes]:
        """Put packs and their frames; yields the entries of their chunks."""
        for pack in packs:
            pack_number = txn.stat(self._packs)["entries"]
            txn.put(_NUMBER.pack(pack_number), msgspec.msgpack.encode(_PackRecord(host, pack.pack)), db=self._packs)
            for frame in pack.frames:
                number = numbers[frame.session]
                place = _FRAME.pack(pack_number, frame.offset, frame.sealed_bytes, frame.raw_bytes, int(pack.kind))
                txn.put(_FRAME_KEY.pack(number, frame.seq), place, db=self._frames)
                ordinal, offset = frame_ordinal(number, frame.seq), 0
                for chunk_id, length in content_records(frame.records):
                    yield pack_entry(chunk_id, ordinal, offset, length)
                    offset += length

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
        """Drop segments, packs, frames and chunks (a segment that was loaded is gone from the store). Listings stay, to be checked frame by frame."""
        with self._changing_index():
            with self._writing() as txn:
                for database in (self._segments, self._packs, self._frames, self._tables):
                    txn.drop(database, delete=False)
                self._next_epoch(txn)
            self._renew()

    def forget_packs(self, packs: Collection[PackId]) -> None:
        """Drop what these packs hold from the index. Cached listings stay, to be checked frame by frame."""
        with self._changing_index():
            self._renew()
            with self._writing() as txn:
                with txn.cursor(self._packs) as cursor:
                    numbers = {_NUMBER.unpack(key)[0] for key, value in cursor if _decode_pack(value).pack in packs}
                lost = FrameSet()

                def is_frame_lost(key: bytes, value: bytes) -> bool:
                    if _FRAME.unpack(value)[0] not in numbers:
                        return False
                    lost.add(frame_ordinal(*_FRAME_KEY.unpack(key)))
                    return True

                with txn.cursor(self._frames) as cursor:
                    _delete_where(cursor, is_frame_lost)
                txn.drop(self._tables, delete=False)
                txn.put(self._chunks.write_without(lost).encode("ascii"), b"", db=self._tables)
                self._next_epoch(txn)
            self._renew()

    def _next_epoch(self, txn: Any) -> None:
        self._epoch += 1
        txn.put(b"epoch", str(self._epoch).encode(), db=self._meta)

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
        with suppress(BlockingIOError), _flock(self.folder / "index.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
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

    def trust_only(self, hosts: Callable[[HostId], bool]) -> None:
        """``find`` skips copies written by other hosts, also those that another process loads meanwhile."""
        self._trusted = {number for number, record in self.sessions().items() if hosts(record.host)}

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
        self.has_chunks = len(self._chunks) > 0

    def find(self, chunk_id: bytes) -> int | None:
        """The ordinal of a frame that holds the chunk, in a copy that may be relied on; None if there is none."""
        try:
            ordinal = self._chunks.find(chunk_id)
            trusted = self._trusted
            if ordinal is None or trusted is None or ordinal >> 32 in trusted:
                return ordinal
            return next((place.ordinal for place in self._chunks.copies(chunk_id) if place.ordinal >> 32 in trusted), None)
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def copies(self, chunk_id: ChunkId) -> list[ChunkPlace]:
        """Every indexed copy of a chunk."""
        try:
            return list(dict.fromkeys(self._chunks.copies(chunk_id)))
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def first_copies(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One indexed copy of each chunk that has any."""
        try:
            return self._chunks.first_copies(chunk_ids)
        except DamagedTableError as error:
            raise self._dropped(error) from error

    def frame_places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        found: dict[int, FramePlace] = {}
        with self._env.begin() as txn:
            for ordinal in ordinals:
                value = txn.get(_FRAME_KEY.pack(ordinal >> 32, ordinal & 0xFFFFFFFF), db=self._frames)
                if value is not None:
                    found[ordinal] = self._frame_place(txn, value)
        return found

    def frame_places_between(self, first: int, end: int) -> dict[int, FramePlace]:
        """A place for each indexed frame from the ordinal ``first`` up to, and without, ``end``."""
        found: dict[int, FramePlace] = {}
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            if cursor.set_range(_FRAME_KEY.pack(first >> 32, first & 0xFFFFFFFF)):
                for key, value in cursor.iternext_nodup(values=True):
                    ordinal = frame_ordinal(*_FRAME_KEY.unpack(key))
                    if ordinal >= end:
                        break
                    found[ordinal] = self._frame_place(txn, value)
        return found

    def all_frame_places(self, ordinal: int) -> list[FramePlace]:
        """Every place that an index segment gives for one frame."""
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            if not cursor.set_key(_FRAME_KEY.pack(ordinal >> 32, ordinal & 0xFFFFFFFF)):
                return []
            return [self._frame_place(txn, value) for value in cursor.iternext_dup()]

    def _frame_place(self, txn: Any, value: bytes) -> FramePlace:
        pack_number, offset, sealed_bytes, raw_bytes, kind = _FRAME.unpack(value)
        record = _decode_pack(txn.get(_NUMBER.pack(pack_number), db=self._packs))
        return FramePlace(HostId(record.host), PackId(record.pack), offset, sealed_bytes, raw_bytes, kind)

    def packs(self) -> Iterator[tuple[HostId, PackId]]:
        """Every indexed pack."""
        with self._env.begin() as txn, txn.cursor(self._packs) as cursor:
            for value in cursor.iternext(keys=False, values=True):
                record = _decode_pack(value)
                yield HostId(record.host), PackId(record.pack)

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(ordinal, pack number, sealed bytes, raw bytes) of every indexed frame."""
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            for key, value in cursor:
                number, seq = _FRAME_KEY.unpack(key)
                pack_number, _, sealed_bytes, raw_bytes, _ = _FRAME.unpack(value)
                yield frame_ordinal(number, seq), pack_number, sealed_bytes, raw_bytes

    # -- listings ----------------------------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """How often the index was begun anew."""
        return self._epoch

    def listings(self) -> ListingCache:
        """What the last runs on this machine have seen."""
        return ListingCache(self._env, self._listings, self._listing_parts, self._writing, self._believes, self._mapping)

    def _believes(self, cached: CachedListing) -> bool:
        """A listing of this epoch and of a run that ended well can be relied on; of any other one every frame is looked up."""
        return (cached.epoch == self._epoch and cached.session_number in self._complete) or self.all_indexed(cached.frames)

    def all_indexed(self, frames: bytes) -> bool:
        """Whether every frame of a serialized FrameSet of ordinals is in the index."""
        with self._env.begin(db=self._frames) as txn:
            return all(txn.get(_FRAME_KEY.pack(ordinal >> 32, ordinal & 0xFFFFFFFF)) is not None for ordinal in FrameSet.deserialize(frames))

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
        with self._writing() as txn:
            txn.put(key.encode("ascii"), data, db=self._objects)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive among the processes of this machine, for the moment in which a snapshot gets its number."""
        with _flock(self.folder / "commit.lock", fcntl.LOCK_EX):
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


def _delete_where(cursor: Any, condition: Callable[[bytes, bytes], bool]) -> None:
    """Delete the entries for whose (key, value) the condition holds."""
    more = cursor.first()
    while more:
        if condition(cursor.key(), cursor.value()):
            cursor.delete()  # and on to the next entry
            more = bool(cursor.key())
        else:
            more = cursor.next()


def _reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file its blocks: it is mapped and written, which on a full disk would be a bus error instead of an exception."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_blocks == 0:
            os.posix_fallocate(descriptor, 0, _LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)


def _decode_pack(value: bytes | None) -> _PackRecord:
    assert value is not None, "pack numbers come from this state"
    return msgspec.msgpack.decode(value, type=_PackRecord)
