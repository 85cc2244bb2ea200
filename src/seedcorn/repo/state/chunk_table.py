"""Chunk tables: files of index entries, sorted by chunk id and never changed. One table: its bytes, writing it, looking up in it, merging several.

An entry is 40 bytes: chunk id (24), ordinal of the frame (u64), then, from the low bits, offset in the frame (24 bits), length (24) and a check
value over the rest (16). Numbers are little-endian. A file has the entries first; then the *fences*: for each value of the id's leading bits the
position of the first entry that has it or a greater one (u32); then, in all but large tables, the set of 24-bit prefixes that occur; then a trailer.
In memory are only the fences, about an eighth of a byte for each entry, and that set, which tells most chunks that are new without a read. A lookup
reads one bucket of about 36 entries with ``pread``: what it touches is page cache and not this process's memory.

Invariant: an answer is an entry as it was written. A file of the wrong length, damaged fences, or an entry that does not match its check value is a
``DamagedTableError``. Chunk ids look random; should somebody find a way to choose them, a lookup takes a binary search more and stays as small.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import eq, le
from pathlib import Path

import msgspec
from pyroaring import BitMap

from seedcorn.ids import CHUNK_ID_BYTES

__all__ = [
    "BLOCK_ENTRIES",
    "ChunkPlace",
    "ChunkTable",
    "DamagedTableError",
    "distinct",
    "entry_ordinal",
    "merge_tables",
    "pack_entry",
    "write_table",
]

BLOCK_ENTRIES = 4096  # how many of one table are in memory while merging
_FILTERED_ENTRIES = 1 << 23  # the most of a table with a set of prefixes; two fifths of all prefixes occur then, and the set takes 2 MiB
_VALUE = struct.Struct("<QQ")
_ENTRY_BYTES = CHUNK_ID_BYTES + _VALUE.size
_CHECKED_BYTES = _ENTRY_BYTES - 2
_BLOCK = struct.Struct(f"{_ENTRY_BYTES}s" * BLOCK_ENTRIES)
_ID_HEAD = struct.Struct(">I")
_ID_HEADS = struct.Struct(f">I{_ENTRY_BYTES - 4}x")
_BUCKET_ENTRIES = 24  # fewest on average; at most twice as many
_READ_ENTRIES = 512  # never more in one read of a lookup
_MAGIC = b"SEEDCTB1"
# Magic, number of entries, bits of a fence, bytes of the set of prefixes, check values of the fences, of the set, and of the trailer so far.
_TRAILER = struct.Struct("<8sIIIIII")


class DamagedTableError(Exception):
    """A table is not as it was written."""


class ChunkPlace(msgspec.Struct, frozen=True, gc=False):
    """One copy of a chunk: in which frame, and where in its raw bytes."""

    ordinal: int
    offset: int
    length: int


def pack_entry(chunk_id: bytes, ordinal: int, offset: int, length: int) -> bytes:
    """One entry. Offset and length, in bytes, are below 16 MiB."""
    checked = chunk_id + _VALUE.pack(ordinal, length << 24 | offset)[:-2]
    return checked + (zlib.crc32(checked) & 0xFFFF).to_bytes(2, "little")


def entry_ordinal(entry: bytes) -> int:
    """The ordinal in an entry."""
    return int.from_bytes(entry[CHUNK_ID_BYTES : CHUNK_ID_BYTES + 8], "little")


class ChunkTable:
    """An open table of ``count`` entries; ``prefixes`` are the first 24 bits of its ids, None if it is large.

    Threads may share it; the file may be unlinked meanwhile.
    """

    __slots__ = ("_descriptor", "_fences", "_shift", "count", "path", "prefixes")

    def __init__(self, path: Path) -> None:
        """Open the table at ``path``.

        Raises:
            FileNotFoundError: there is none.
            DamagedTableError: it is not as it was written.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self._descriptor).st_size
        trailer = self._read_bytes(max(0, size - _TRAILER.size), _TRAILER.size)
        magic, self.count, bits, filter_bytes, fences_check, filter_check, trailer_check = _TRAILER.unpack(trailer)
        if magic != _MAGIC or zlib.crc32(trailer[:-4]) != trailer_check:
            raise DamagedTableError(f"{path} does not end as it should")
        fences_at, fences_bytes = self.count * _ENTRY_BYTES, 4 * ((1 << bits) + 1)
        if size != fences_at + fences_bytes + filter_bytes + _TRAILER.size:
            raise DamagedTableError(f"{path} does not have the length that it should")
        fences = self._read_bytes(fences_at, fences_bytes)
        if zlib.crc32(fences) != fences_check:
            raise DamagedTableError(f"{path} has damaged fences")
        self._shift = 32 - bits
        self._fences = _little_endian(array("I", fences))
        packed = self._read_bytes(fences_at + fences_bytes, filter_bytes)
        if zlib.crc32(packed) != filter_check:
            raise DamagedTableError(f"{path} has a damaged set of prefixes")
        self.prefixes = BitMap.deserialize(packed) if packed else None

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def find(self, chunk_id: bytes) -> int | None:
        """The ordinal of a frame that holds the chunk; None if there is none here. The hot path of a backup.

        Raises:
            DamagedTableError: as all that reads.
        """
        data, at, _ = self._seek(chunk_id)
        return None if at < 0 else self._value(data, at)[0]

    def copies(self, chunk_id: bytes) -> Iterator[ChunkPlace]:
        """Every copy of the chunk."""
        data, at, following = self._seek(chunk_id)
        while at >= 0 and data.startswith(chunk_id, at):
            ordinal, rest = self._value(data, at)
            yield ChunkPlace(ordinal, rest & 0xFFFFFF, rest >> 24 & 0xFFFFFF)
            at += _ENTRY_BYTES
            if at == len(data):
                data, at = self._read(following, min(_READ_ENTRIES, self.count - following)), 0
                following = min(following + _READ_ENTRIES, self.count)

    def _seek(self, chunk_id: bytes) -> tuple[bytes, int, int]:
        """(entries, where among them the first one of the chunk begins or -1, position of the entry after them)."""
        bucket = _ID_HEAD.unpack_from(chunk_id)[0] >> self._shift
        begin = self._fences[bucket]
        end = self._fences[bucket + 1]
        if end - begin > _READ_ENTRIES:
            begin, end = self._narrow(chunk_id, begin, end)
        data = self._read_bytes(begin * _ENTRY_BYTES, (end - begin) * _ENTRY_BYTES)
        at = data.find(chunk_id)
        while at > 0 and at % _ENTRY_BYTES:
            at = data.find(chunk_id, at + 1)
        return data, at, end

    def _narrow(self, chunk_id: bytes, begin: int, end: int) -> tuple[int, int]:
        """The part of a bucket in which the first entry of the chunk lies, if there is any."""
        low, high = begin, end  # it is at one of these or between
        while high - low >= _READ_ENTRIES:
            middle = (low + high) // 2
            if self._read(middle, 1) < chunk_id:
                low = middle + 1
            else:
                high = middle
        return low, min(high + 1, end)

    def _value(self, data: bytes, at: int) -> tuple[int, int]:
        ordinal, rest = _VALUE.unpack_from(data, at + CHUNK_ID_BYTES)
        if zlib.crc32(data[at : at + _CHECKED_BYTES]) & 0xFFFF != rest >> 48:
            raise DamagedTableError(f"{self.path} has a damaged entry")
        return ordinal, rest

    def _read(self, begin: int, count: int) -> bytes:
        return self._read_bytes(begin * _ENTRY_BYTES, count * _ENTRY_BYTES)

    def _read_bytes(self, at: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, at)
        except OSError as error:
            raise DamagedTableError(f"{self.path} can not be read: {error}") from error
        if len(data) != length:
            raise DamagedTableError(f"{self.path} is cut short")
        return data

    def blocks(self) -> Iterator[list[bytes]]:
        """All entries in order, a block at a time.

        Raises:
            DamagedTableError: also if they are not in order; check values are not looked at.
        """
        last = b""
        for begin in range(0, self.count, BLOCK_ENTRIES):
            count = min(BLOCK_ENTRIES, self.count - begin)
            data = self._read(begin, count)
            block = (
                list(_BLOCK.unpack(data)) if count == BLOCK_ENTRIES else [data[at : at + _ENTRY_BYTES] for at in range(0, len(data), _ENTRY_BYTES)]
            )
            if block[0] < last or not all(map(le, block, islice(block, 1, None))):
                raise DamagedTableError(f"{self.path} is not in order")
            last = block[-1]
            yield block


def merge_tables(tables: Iterable[ChunkTable]) -> Iterator[list[bytes]]:
    """The entries of all tables in order and without repeats, a block at a time."""
    sources = [(block, rest) for table in tables for rest in [table.blocks()] for block in islice(rest, 1)]
    while sources:
        limit = min(block[-1] for block, _ in sources)  # nobody has an entry up to this in a later block
        merged: list[bytes] = []
        left: list[tuple[list[bytes], Iterator[list[bytes]]]] = []
        for block, rest in sources:
            count = bisect_right(block, limit)
            merged += block[:count]
            remaining = block[count:] or next(rest, [])
            if remaining:
                left.append((remaining, rest))
        sources = left
        merged.sort()
        yield distinct(merged)


def distinct(entries: list[bytes]) -> list[bytes]:
    """Sorted entries without repeats."""
    return list(dict.fromkeys(entries)) if any(map(eq, entries, islice(entries, 1, None))) else entries


def write_table(path: Path, blocks: Iterable[Sequence[bytes]], most: int) -> None:
    """Make the table ``path``, safe on disk, from blocks of entries, sorted throughout and without repeats, ``most`` or fewer in all.

    Raises:
        OSError: also if there is a file of that name.
    """
    bits = max(0, (most // _BUCKET_ENTRIES).bit_length() - 1)
    shift = 32 - bits
    fences = array("I")
    prefixes = BitMap()
    count = 0
    with open(path, "xb", opener=_private) as file:
        for block in blocks:
            data = b"".join(block)
            file.write(data)
            if most <= _FILTERED_ENTRIES:
                prefixes.update([head >> 8 for (head,) in _ID_HEADS.iter_unpack(data)])
            for bucket in range(len(fences), (_ID_HEAD.unpack_from(block[-1])[0] >> shift) + 1):
                fences.append(count + bisect_left(block, _ID_HEAD.pack(bucket << shift)))
            count += len(block)
        fences.extend([count] * ((1 << bits) + 1 - len(fences)))
        packed = _little_endian(fences).tobytes()
        packed_prefixes = prefixes.serialize() if prefixes else b""
        trailer = _TRAILER.pack(_MAGIC, count, bits, len(packed_prefixes), zlib.crc32(packed), zlib.crc32(packed_prefixes), 0)[:-4]
        file.write(packed + packed_prefixes + trailer + zlib.crc32(trailer).to_bytes(4, "little"))
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _little_endian(numbers: array[int]) -> array[int]:
    """The numbers, changed in place from this machine's order of bytes to the file's or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
