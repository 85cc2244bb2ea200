"""Which frames lie where, as the loaded segments say: segments, packs and frames in tables of the state's database.

Knows nothing of chunks (``chunk_catalog``) and decides nothing about trust (``local_index``). Invariants: a pack is here as long as a loaded segment
lists it, and once however many do; two lists of one pack that differ are two packs; a segment that nobody here could open is known as such, and
lists nothing. All that changes something works in the caller's transaction.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec
from pyroaring import BitMap

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.tree import content_records
from seedcorn.ids import HostId, PackId, SessionId
from seedcorn.repo.packs import entries_digest
from seedcorn.repo.state.chunk_table import pack_entry
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.indexed import FramePlace, FrameSet, PackRecord, SegmentRecord, SessionRecord, frame_ordinal
from seedcorn.repo.state.session_table import SessionTable
from seedcorn.repo.state.table import Transaction

__all__ = ["FrameIndex"]

_FRAME_KEY = struct.Struct(">II")
_PLACE = struct.Struct("<IIIIB")  # pack number, offset, sealed bytes, raw bytes, kind
_NUMBER = struct.Struct(">I")
_COUNT, _HIGH = struct.Struct("<Q"), struct.Struct("<I")  # of a portable 64-bit bitmap


class FrameIndex:
    """The tables in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sessions = SessionTable(database)
        self._segments = database.table(b"segments")  # store key -> SegmentRecord
        self._packs = database.table(b"packs")  # pack number -> PackRecord
        self._pack_numbers = database.table(b"pack-numbers")  # hash of host, pack and digest -> pack number
        self._frames = database.table(b"frames", several=True)  # session number, seq -> places

    # -- segments ----------------------------------------------------------------------------------------------------------------------------

    def segments(self) -> dict[str, SegmentRecord]:
        """Every known segment by its key."""
        with self._database.reading() as txn:
            return {key.decode("ascii"): _decode_segment(row) for key, row in self._segments.items(txn)}

    def note_closed_segment(self, txn: Transaction, key: str, domain: int) -> None:
        """A segment that can not be opened with the keys at hand; unless another process has loaded it."""
        self._segments.put(txn, key.encode("ascii"), msgspec.msgpack.encode(SegmentRecord(domain, None)), overwrite=False)

    def add_segment(
        self, txn: Transaction, key: str, host: HostId, domain: int, rows: Iterable[KeyRow], packs: Iterable[PackEntry], placed: FrameSet
    ) -> Iterator[bytes]:
        """Take in a segment, unless it is loaded: yields the entries of the chunks in packs that were not known, and is done when it has yielded
        them all. ``placed`` collects their frames.
        """
        name = key.encode("ascii")
        before = self._segments.get(txn, name)
        if before is not None and _decode_segment(before).is_loaded:
            return
        rows = tuple(rows)
        numbers = {row.session: self.sessions.number_of(txn, SessionRecord(SessionId(row.session), host, domain), row.sealed_key) for row in rows}
        listed = []
        for pack in packs:
            digest = entries_digest(domain, pack.kind, pack.frames, rows)
            identity = object_hash(host + pack.pack + digest)
            known = self._pack_numbers.get(txn, identity)
            if known is not None:
                listed.append(_NUMBER.unpack(known)[0])
                continue
            number = self._next_pack_number(txn)
            record = _pack_record(host, pack, digest, numbers)
            self._packs.put(txn, _NUMBER.pack(number), msgspec.msgpack.encode(record))
            self._pack_numbers.put(txn, identity, _NUMBER.pack(number))
            listed.append(number)
            placed.update(record.ordinals())
            yield from self._add_frames(txn, number, pack, numbers)
        self._segments.put(txn, name, msgspec.msgpack.encode(SegmentRecord(domain, tuple(listed))))

    def _next_pack_number(self, txn: Transaction) -> int:
        last = self._packs.last_key(txn)
        return int(_NUMBER.unpack(last)[0]) + 1 if last is not None else 0

    def _add_frames(self, txn: Transaction, pack_number: int, pack: PackEntry, numbers: dict[bytes, int]) -> Iterator[bytes]:
        for frame in pack.frames:
            number = numbers[frame.session]
            place = _PLACE.pack(pack_number, frame.offset, frame.sealed_bytes, frame.raw_bytes, int(pack.kind))
            self._frames.put(txn, _FRAME_KEY.pack(number, frame.seq), place)
            ordinal, offset = frame_ordinal(number, frame.seq), 0
            for chunk_id, length in content_records(frame.records):
                yield pack_entry(chunk_id, ordinal, offset, length)
                offset += length

    def remove_segments(self, txn: Transaction, keys: Iterable[str]) -> FrameSet:
        """Forget segments that are gone from the store, and the packs that only they listed; the frames that are nowhere now."""
        gone: set[int] = set()
        for key in keys:
            row = self._segments.pop(txn, key.encode("ascii"))
            gone.update((_decode_segment(row).packs or ()) if row is not None else ())
        for _, row in self._segments.items(txn):
            gone.difference_update(_decode_segment(row).packs or ())
        return self._remove_packs(txn, gone)

    # -- packs -------------------------------------------------------------------------------------------------------------------------------

    def _remove_packs(self, txn: Transaction, numbers: Iterable[int]) -> FrameSet:
        dead = FrameSet()
        for number in numbers:
            row = self._packs.pop(txn, _NUMBER.pack(number))
            if row is None:
                continue
            record = _decode_pack(row)
            self._pack_numbers.delete(txn, object_hash(record.host + record.pack + record.digest))
            for ordinal in record.ordinals():
                if self._remove_place(txn, ordinal, number):
                    dead.add(ordinal)
        return dead

    def _remove_place(self, txn: Transaction, ordinal: int, pack_number: int) -> bool:
        """Whether that was the frame's last place."""
        key = _frame_key(ordinal)
        places = self._frames.all(txn, key)
        here = [place for place in places if _PLACE.unpack(place)[0] == pack_number]
        for place in here:
            self._frames.delete_one(txn, key, place)
        return len(here) == len(places)

    def clear(self, txn: Transaction) -> None:
        """Forget everything but the sessions, whose numbers are in the cached listings."""
        for table in (self._segments, self._packs, self._pack_numbers, self._frames):
            table.clear(txn)

    def packs(self) -> Iterator[PackRecord]:
        """Every indexed pack."""
        with self._database.reading() as txn:
            for _, record in self._numbered_packs(txn):
                yield record

    def _numbered_packs(self, txn: Transaction) -> Iterator[tuple[int, PackRecord]]:
        return ((_NUMBER.unpack(key)[0], _decode_pack(row)) for key, row in self._packs.items(txn))

    def segment_packs(self) -> dict[str, list[tuple[HostId, PackId]]]:
        """What every loaded segment lists, by its key."""
        with self._database.reading() as txn:
            packs = {number: (record.host, record.pack) for number, record in self._numbered_packs(txn)}
            listed = {key.decode("ascii"): _decode_segment(row).packs for key, row in self._segments.items(txn)}
        return {key: [packs[number] for number in numbers] for key, numbers in listed.items() if numbers is not None}

    # -- frames ------------------------------------------------------------------------------------------------------------------------------

    def count(self, txn: Transaction) -> int:
        """How many places of frames there are."""
        return self._frames.count(txn)

    def places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        """A place for each frame; those that are not indexed are left out."""
        found: dict[int, FramePlace] = {}
        with self._database.reading() as txn:
            decode = self._place_decoder(txn)
            for ordinal in ordinals:
                place = self._frames.get(txn, _frame_key(ordinal))
                if place is not None:
                    found[ordinal] = decode(place)
        return found

    def places_between(self, first: int, end: int) -> dict[int, FramePlace]:
        """A place for each indexed frame from the ordinal ``first`` up to, and without, ``end``."""
        found: dict[int, FramePlace] = {}
        with self._database.reading() as txn:
            decode = self._place_decoder(txn)
            for key, place in self._frames.items_from(txn, _frame_key(first)):
                ordinal = frame_ordinal(*_FRAME_KEY.unpack(key))
                if ordinal >= end:
                    break
                found[ordinal] = decode(place)
        return found

    def all_places(self, ordinal: int) -> list[FramePlace]:
        """Every place that an index segment gives for one frame."""
        with self._database.reading() as txn:
            return list(map(self._place_decoder(txn), self._frames.all(txn, _frame_key(ordinal))))

    def _place_decoder(self, txn: Transaction) -> Callable[[bytes], FramePlace]:
        """Rows of places as what they say; each pack is looked up once."""
        packs: dict[int, tuple[HostId, PackId]] = {}

        def decode(place: bytes) -> FramePlace:
            number, offset, sealed_bytes, raw_bytes, kind = _PLACE.unpack(place)
            pack = packs.get(number)
            if pack is None:
                record = _decode_pack(self._packs.require(txn, _NUMBER.pack(number)))
                pack = packs[number] = record.host, record.pack
            return FramePlace(*pack, offset, sealed_bytes, raw_bytes, kind)

        return decode

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(ordinal, pack number, sealed bytes, raw bytes) of every place of a frame."""
        with self._database.reading() as txn:
            for key, place in self._frames.items(txn):
                pack_number, _, sealed_bytes, raw_bytes, _ = _PLACE.unpack(place)
                yield frame_ordinal(*_FRAME_KEY.unpack(key)), pack_number, sealed_bytes, raw_bytes

    def has_all(self, ordinals: Iterable[int]) -> bool:
        """Whether every one of these frames is indexed."""
        with self._database.reading() as txn:
            return all(self._frames.get(txn, _frame_key(ordinal)) is not None for ordinal in ordinals)

    def only_in(self, packs: Collection[tuple[HostId, PackId]]) -> FrameSet:
        """The frames that have a place in these packs and in no other."""
        found = FrameSet()
        with self._database.reading() as txn:
            meant = {number: record for number, record in self._numbered_packs(txn) if (record.host, record.pack) in packs}
            for record in meant.values():
                for ordinal in record.ordinals():
                    if all(_PLACE.unpack(place)[0] in meant for place in self._frames.all(txn, _frame_key(ordinal))):
                        found.add(ordinal)
        return found

    def outside(self, packs: Collection[tuple[HostId, PackId]], counts: Callable[[PackRecord], bool]) -> FrameSet:
        """The frames that have a place in another pack than these, of those that count."""
        found: dict[int, BitMap] = {}
        for record in self.packs():
            if (record.host, record.pack) not in packs and counts(record):
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


def _decode_segment(row: bytes) -> SegmentRecord:
    return msgspec.msgpack.decode(row, type=SegmentRecord)


def _decode_pack(row: bytes) -> PackRecord:
    return msgspec.msgpack.decode(row, type=PackRecord)
