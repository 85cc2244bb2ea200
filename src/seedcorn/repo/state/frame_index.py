"""Which frames lie where, as the loaded segments say: sessions, segments, packs and frames in the tables of the local state.

Knows nothing of chunks (``chunk_index``) and decides nothing about trust (``state``). Invariants: a pack is here as long as a loaded segment lists
it, and once however many do; two lists of one pack that differ are two packs; a segment that nobody here could open is known as such, and lists
nothing. All that changes something works in the caller's transaction.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from pyroaring import BitMap
from pyroaring import BitMap64 as FrameSet  # a set of frame ordinals

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.codec import encode
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.tree import content_records
from seedcorn.ids import HostId, PackId, SessionId
from seedcorn.repo.packs import entries_digest
from seedcorn.repo.state.chunk_table import pack_entry

__all__ = ["FrameIndex", "FramePlace", "FrameSet", "PackRecord", "SegmentRecord", "SessionRecord", "frame_ordinal"]

_FRAME_KEY = struct.Struct(">II")
_FRAME = struct.Struct("<IIIIB")  # pack number, offset, sealed bytes, raw bytes, kind
_NUMBER = struct.Struct(">I")
_COUNT, _HIGH = struct.Struct("<Q"), struct.Struct("<I")  # of a portable 64-bit bitmap


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
    complete: bool = False  # ended with a confirmed snapshot


class SegmentRecord(msgspec.Struct, array_like=True, frozen=True):
    """One segment. ``packs`` are the numbers of those that it lists; None: it is in the store, and nobody here has had the key of its domain yet."""

    domain: int
    packs: tuple[int, ...] | None

    @property
    def is_loaded(self) -> bool:
        return self.packs is not None


class PackRecord(msgspec.Struct, array_like=True, frozen=True):
    """One pack as a segment lists it: for set operations over whole packs, no frame is looked up.

    ``runs`` are (session number, serialized 32-bit bitmap of sequence numbers); ``sealed`` the sealed bytes of the frames in that order, as 32-bit
    numbers; ``digest`` tells two lists of one pack apart.
    """

    host: HostId
    pack: PackId
    kind: int
    digest: bytes
    runs: tuple[tuple[int, bytes], ...]
    sealed: bytes

    def frames(self) -> dict[int, BitMap]:
        """Sequence numbers by session number."""
        return {number: BitMap.deserialize(bitmap) for number, bitmap in self.runs}

    def ordinals(self) -> Iterator[int]:
        """In the order of ``sealed_bytes``."""
        return (frame_ordinal(number, seq) for number, seqs in self.frames().items() for seq in seqs)

    @property
    def sealed_bytes(self) -> array[int]:
        return array("I", self.sealed)


def frame_ordinal(session_number: int, seq: int) -> int:
    return session_number << 32 | seq


class FrameIndex:
    """The tables in one LMDB environment."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._sessions = env.open_db(b"sessions")  # session number -> SessionRecord
        self._session_keys = env.open_db(b"session-keys")  # session number -> sealed key: long, and most readers of sessions need none
        self._session_numbers = env.open_db(b"session-numbers")  # hash of host, session, domain and sealed key -> session number
        self._segments = env.open_db(b"segments")  # store key -> SegmentRecord
        self._packs = env.open_db(b"packs")  # pack number -> PackRecord
        self._pack_numbers = env.open_db(b"pack-numbers")  # hash of host, pack and digest -> pack number
        self._frames = env.open_db(b"frames", dupsort=True, dupfixed=True)  # session number, seq -> places

    # -- sessions ----------------------------------------------------------------------------------------------------------------------------

    def session_number(self, txn: Any, record: SessionRecord, sealed_key: bytes) -> int:
        """The number of a session, a new one if it is not known."""
        # Session ids are public and a host may sign anything: a session is what one host says under one key, and another key is another session.
        name = object_hash(encode((record.host, record.session, record.domain, sealed_key)))
        packed = txn.get(name, db=self._session_numbers)
        if packed is not None:
            return int(_NUMBER.unpack(packed)[0])
        number: int = txn.stat(self._sessions)["entries"]
        txn.put(name, _NUMBER.pack(number), db=self._session_numbers)
        txn.put(_NUMBER.pack(number), sealed_key, db=self._session_keys)
        self.put_session(txn, number, record)
        return number

    def put_session(self, txn: Any, number: int, record: SessionRecord) -> None:
        txn.put(_NUMBER.pack(number), msgspec.msgpack.encode(record), db=self._sessions)

    def session(self, number: int) -> SessionRecord:
        """The session of that number, which must be known."""
        with self._env.begin() as txn:
            return msgspec.msgpack.decode(_known(txn.get(_NUMBER.pack(number), db=self._sessions)), type=SessionRecord)

    def sealed_key(self, number: int) -> bytes:
        """The key of the session of that number, which must be known, sealed to the owner."""
        with self._env.begin() as txn:
            return bytes(_known(txn.get(_NUMBER.pack(number), db=self._session_keys)))

    def sessions(self) -> dict[int, SessionRecord]:
        """Every known session by number."""
        with self._env.begin() as txn, txn.cursor(self._sessions) as cursor:
            return {_NUMBER.unpack(key)[0]: msgspec.msgpack.decode(value, type=SessionRecord) for key, value in cursor}

    # -- segments and packs ------------------------------------------------------------------------------------------------------------------

    def segments(self) -> dict[str, SegmentRecord]:
        """Every known segment by its key."""
        with self._env.begin() as txn, txn.cursor(self._segments) as cursor:
            return {key.decode("ascii"): _decode_segment(value) for key, value in cursor}

    def note_closed_segment(self, txn: Any, key: str, domain: int) -> None:
        """A segment that can not be opened with the keys at hand; unless another process has loaded it."""
        txn.put(key.encode("ascii"), msgspec.msgpack.encode(SegmentRecord(domain, None)), db=self._segments, overwrite=False)

    def add_segment(
        self, txn: Any, key: str, host: HostId, domain: int, rows: Iterable[KeyRow], packs: Iterable[PackEntry], placed: FrameSet
    ) -> Iterator[bytes]:
        """Take in a segment; yields the entries of the chunks in packs that were not known, to its end. ``placed`` collects their frames."""
        name = key.encode("ascii")
        before = txn.get(name, db=self._segments)
        if before is not None and _decode_segment(before).is_loaded:
            return
        rows = tuple(rows)
        numbers = {row.session: self.session_number(txn, SessionRecord(SessionId(row.session), host, domain), row.sealed_key) for row in rows}
        listed = []
        for pack in packs:
            digest = entries_digest(domain, pack.kind, pack.frames, rows)
            identity = object_hash(host + pack.pack + digest)
            known = txn.get(identity, db=self._pack_numbers)
            if known is not None:
                listed.append(_NUMBER.unpack(known)[0])
                continue
            number = self._next_pack_number(txn)
            record = _pack_record(host, pack, digest, numbers)
            txn.put(_NUMBER.pack(number), msgspec.msgpack.encode(record), db=self._packs)
            txn.put(identity, _NUMBER.pack(number), db=self._pack_numbers)
            listed.append(number)
            placed.update(record.ordinals())
            yield from self._add_frames(txn, number, pack, numbers)
        txn.put(name, msgspec.msgpack.encode(SegmentRecord(domain, tuple(listed))), db=self._segments)

    def _next_pack_number(self, txn: Any) -> int:
        with txn.cursor(self._packs) as cursor:
            return int(_NUMBER.unpack(cursor.key())[0]) + 1 if cursor.last() else 0

    def _add_frames(self, txn: Any, pack_number: int, pack: PackEntry, numbers: dict[bytes, int]) -> Iterator[bytes]:
        for frame in pack.frames:
            number = numbers[frame.session]
            place = _FRAME.pack(pack_number, frame.offset, frame.sealed_bytes, frame.raw_bytes, int(pack.kind))
            txn.put(_FRAME_KEY.pack(number, frame.seq), place, db=self._frames)
            ordinal, offset = frame_ordinal(number, frame.seq), 0
            for chunk_id, length in content_records(frame.records):
                yield pack_entry(chunk_id, ordinal, offset, length)
                offset += length

    def remove_segments(self, txn: Any, keys: Iterable[str]) -> FrameSet:
        """Forget segments that are gone from the store, and the packs that only they listed; the frames that are nowhere now."""
        gone: set[int] = set()
        for key in keys:
            value = txn.pop(key.encode("ascii"), db=self._segments)
            gone.update((_decode_segment(value).packs or ()) if value is not None else ())
        with txn.cursor(self._segments) as cursor:
            for value in cursor.iternext(keys=False, values=True):
                gone.difference_update(_decode_segment(value).packs or ())
        return self.remove_packs(txn, gone)

    def remove_packs(self, txn: Any, numbers: Iterable[int]) -> FrameSet:
        """Forget packs; the frames that are nowhere now."""
        dead = FrameSet()
        for number in numbers:
            value = txn.pop(_NUMBER.pack(number), db=self._packs)
            if value is None:
                continue
            record = _decode_pack(value)
            txn.delete(object_hash(record.host + record.pack + record.digest), db=self._pack_numbers)
            for ordinal in record.ordinals():
                if self._remove_place(txn, ordinal, number):
                    dead.add(ordinal)
        return dead

    def _remove_place(self, txn: Any, ordinal: int, pack_number: int) -> bool:
        """Whether that was the frame's last place."""
        key = _frame_key(ordinal)
        with txn.cursor(self._frames) as cursor:
            places = list(cursor.iternext_dup()) if cursor.set_key(key) else []
        here = [place for place in places if _FRAME.unpack(place)[0] == pack_number]
        for place in here:
            txn.delete(key, place, db=self._frames)
        return len(here) == len(places)

    def numbers_of(self, txn: Any, packs: Collection[PackId]) -> list[int]:
        """The numbers of these packs."""
        with txn.cursor(self._packs) as cursor:
            return [_NUMBER.unpack(key)[0] for key, value in cursor if _decode_pack(value).pack in packs]

    def drop(self, txn: Any) -> None:
        """Forget everything but the sessions, whose numbers are in the cached listings."""
        for database in (self._segments, self._packs, self._pack_numbers, self._frames):
            txn.drop(database, delete=False)

    def packs(self) -> Iterator[PackRecord]:
        """Every indexed pack."""
        with self._env.begin() as txn, txn.cursor(self._packs) as cursor:
            yield from map(_decode_pack, cursor.iternext(keys=False, values=True))

    def segment_packs(self) -> dict[str, list[tuple[HostId, PackId]]]:
        """What every loaded segment lists, by its key."""
        with self._env.begin() as txn:
            with txn.cursor(self._packs) as cursor:
                packs = {_NUMBER.unpack(key)[0]: ((record := _decode_pack(value)).host, record.pack) for key, value in cursor}
            with txn.cursor(self._segments) as cursor:
                listed = {key.decode("ascii"): _decode_segment(value).packs for key, value in cursor}
        return {key: [packs[number] for number in numbers if number in packs] for key, numbers in listed.items() if numbers is not None}

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def count(self, txn: Any) -> int:
        """How many places of frames there are."""
        return int(txn.stat(self._frames)["entries"])

    def places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        found: dict[int, FramePlace] = {}
        with self._env.begin() as txn:
            for ordinal in ordinals:
                value = txn.get(_frame_key(ordinal), db=self._frames)
                if value is not None:
                    found[ordinal] = self._place(txn, value)
        return found

    def places_between(self, first: int, end: int) -> dict[int, FramePlace]:
        """A place for each indexed frame from the ordinal ``first`` up to, and without, ``end``."""
        found: dict[int, FramePlace] = {}
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            if cursor.set_range(_frame_key(first)):
                for key, value in cursor.iternext_nodup(values=True):
                    ordinal = frame_ordinal(*_FRAME_KEY.unpack(key))
                    if ordinal >= end:
                        break
                    found[ordinal] = self._place(txn, value)
        return found

    def all_places(self, ordinal: int) -> list[FramePlace]:
        """Every place that an index segment gives for one frame."""
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            return [self._place(txn, value) for value in cursor.iternext_dup()] if cursor.set_key(_frame_key(ordinal)) else []

    def _place(self, txn: Any, value: bytes) -> FramePlace:
        pack_number, offset, sealed_bytes, raw_bytes, kind = _FRAME.unpack(value)
        record = _decode_pack(_known(txn.get(_NUMBER.pack(pack_number), db=self._packs)))
        return FramePlace(record.host, record.pack, offset, sealed_bytes, raw_bytes, kind)

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(ordinal, pack number, sealed bytes, raw bytes) of every place of a frame."""
        with self._env.begin() as txn, txn.cursor(self._frames) as cursor:
            for key, value in cursor:
                number, seq = _FRAME_KEY.unpack(key)
                pack_number, _, sealed_bytes, raw_bytes, _ = _FRAME.unpack(value)
                yield frame_ordinal(number, seq), pack_number, sealed_bytes, raw_bytes

    def has_all(self, ordinals: Iterable[int]) -> bool:
        """Whether every one of these frames is indexed."""
        with self._env.begin(db=self._frames) as txn:
            return all(txn.get(_frame_key(ordinal)) is not None for ordinal in ordinals)

    def only_in(self, packs: Collection[tuple[HostId, PackId]]) -> FrameSet:
        """The frames that have a place in these packs and in no other."""
        found = FrameSet()
        with self._env.begin() as txn:
            with txn.cursor(self._packs) as cursor:
                meant = {_NUMBER.unpack(key)[0]: record for key, value in cursor if ((record := _decode_pack(value)).host, record.pack) in packs}
            with txn.cursor(self._frames) as cursor:
                for record in meant.values():
                    for ordinal in record.ordinals():
                        cursor.set_key(_frame_key(ordinal))
                        if all(_FRAME.unpack(place)[0] in meant for place in cursor.iternext_dup()):
                            found.add(ordinal)
        return found

    def outside(self, packs: Collection[tuple[HostId, PackId]]) -> FrameSet:
        """The frames that have a place in another pack than these."""
        found: dict[int, BitMap] = {}
        for record in self.packs():
            if (record.host, record.pack) not in packs:
                for number, seqs in record.frames().items():
                    found[number] = found[number] | seqs if number in found else seqs
        return _frame_set(found)


def _frame_set(frames: dict[int, BitMap]) -> FrameSet:
    """The same set by ordinals, made of its portable form: a number for each 32-bit set. Frame by frame it would take a hundred times as long."""
    pieces = (_HIGH.pack(number) + seqs.serialize() for number, seqs in sorted(frames.items()))
    return FrameSet.deserialize(_COUNT.pack(len(frames)) + b"".join(pieces))


def _pack_record(host: HostId, pack: PackEntry, digest: bytes, numbers: dict[bytes, int]) -> PackRecord:
    by_session: dict[int, dict[int, FrameEntry]] = {}
    for frame in pack.frames:
        by_session.setdefault(numbers[frame.session], {})[frame.seq] = frame
    runs = tuple((number, BitMap(frames).serialize()) for number, frames in sorted(by_session.items()))
    sealed = array("I", [frames[seq].sealed_bytes for _, frames in sorted(by_session.items()) for seq in sorted(frames)])
    return PackRecord(host, PackId(pack.pack), int(PackKind(pack.kind)), digest, runs, sealed.tobytes())


def _frame_key(ordinal: int) -> bytes:
    return _FRAME_KEY.pack(ordinal >> 32, ordinal & 0xFFFFFFFF)


def _decode_segment(value: bytes) -> SegmentRecord:
    return msgspec.msgpack.decode(value, type=SegmentRecord)


def _decode_pack(value: bytes) -> PackRecord:
    return msgspec.msgpack.decode(value, type=PackRecord)


def _known(value: bytes | None) -> bytes:
    assert value is not None, "the number comes from this state"
    return value
