"""The listings of the last run on this machine: what a host, which can not read its own backups, compares the next walk with.

Owns how a directory is remembered: a small head, and its listing chunks in parts, so that a directory of any size is written and read in bounded
memory. Lives in the state's database and is never authoritative. Invariant: parts belong to the session that wrote them, and a head names its
session; so a head never meets the parts of another run, whenever that run was killed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import takewhile

import msgspec

from seedcorn.format.tree import Node, decode_own_nodes
from seedcorn.repo.state.database import Database, View
from seedcorn.repo.state.table import Table, Transaction

__all__ = ["CachedListing", "CachedPart", "ListingCache"]

_FLUSH_BYTES = 4 << 20
_PART_KEY = struct.Struct(">II")  # after the directory's key: session number, part
_SESSION_KEY = struct.Struct(">I")
_DOMAIN = struct.Struct(">I")
_MAPPED_BYTES = 64 << 10  # the kernel maps as much around what a read touches
_RELEASE_BYTES = 32 << 20
_ENTRY_BYTES = 400  # about what a head costs here, besides its frames


class CachedListing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A directory as the last run saw it, without its nodes."""

    epoch: int  # of the index when this was written
    session_number: int  # of the run that wrote the parts
    scan_start_ns: int
    content: bytes
    depth: int
    frames: bytes  # FrameSet of the ordinals of the frames that hold the files' chunks and this listing's
    part_count: int
    entries: int
    size_bytes: int  # of all files in it
    fingerprint: bytes = b""  # of what lstat said of every entry; empty if equal fingerprints would not prove that nothing has changed
    children: bytes = b""  # of the listings of all subdirectories, as they stand in this one


class CachedPart(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Consecutive listing chunks of one directory."""

    runs: tuple[bytes, ...]
    long_contents: dict[bytes, bytes] = {}  # name -> frames of each file in ``runs`` whose content is indirect, a subset of the listing's


_DECODER = msgspec.msgpack.Decoder(CachedListing)


class ListingCache:
    """Cached listings by directory key (bytes of fixed length), for one run in one thread. Each dedup domain has its own: what has been stored in one
    is of no use in another.

    What it reads is the state of things at its first question, whatever this run or another process writes meanwhile; writes are collected.
    """

    def __init__(self, database: Database, heads: Table, parts: Table, domain: int, believed: Callable[[CachedListing], bool]) -> None:
        """``believed`` says whether everything that a listing needs is known to be in the store."""
        self._database = database
        self._heads = heads
        self._parts = parts
        self._domain = _DOMAIN.pack(domain)  # before every key
        self._believed = believed
        self._mapped_bytes = 0
        self._unwritten: list[tuple[bytes, CachedListing | bytes | None]] = []
        self._unwritten_bytes = 0
        self._view: View | None = None

    def get(self, key: bytes) -> CachedListing | None:
        """A directory's listing, if all frames that it needs are there."""
        if self._view is None:
            self._view = self._database.view()
        row = self._view.get(self._heads, self._domain + key)
        self._count_mapped(row)
        if row is None:
            return None
        cached = _DECODER.decode(row)
        return cached if self._believed(cached) else None

    def parts(self, key: bytes, cached: CachedListing) -> Iterator[CachedPart]:
        """What the listing, as ``get`` gave it, consists of, in order."""
        assert self._view is not None
        for number in range(cached.part_count):
            row = self._view.require(self._parts, self._domain + key + _PART_KEY.pack(cached.session_number, number))
            self._count_mapped(row)
            yield msgspec.msgpack.decode(row, type=CachedPart)

    def nodes(self, key: bytes, cached: CachedListing) -> Iterator[Node]:
        """The entries of a directory, in order."""
        for part in self.parts(key, cached):
            for run in part.runs:
                yield from decode_own_nodes(run)

    def put(self, key: bytes, listing: CachedListing) -> None:
        """Remember a directory, whose parts have been put; what was known of it before goes."""
        self._collect(key, listing, len(listing.frames))

    def put_part(self, key: bytes, session_number: int, number: int, part: CachedPart) -> None:
        """One part of a listing that will be put."""
        packed = msgspec.msgpack.encode(part)
        self._collect(key + _PART_KEY.pack(session_number, number), packed, len(packed))

    def forget(self, key: bytes) -> None:
        """There is no such directory any more."""
        self._collect(key, None, 0)

    def _collect(self, key: bytes, value: CachedListing | bytes | None, size_bytes: int) -> None:
        self._unwritten.append((self._domain + key, value))
        self._unwritten_bytes += size_bytes + _ENTRY_BYTES
        if self._unwritten_bytes > _FLUSH_BYTES:
            self._write()

    def _write(self) -> None:
        with self._database.writing() as txn:
            for key, value in self._unwritten:
                if isinstance(value, bytes):
                    self._parts.put(txn, key, value)
                elif value is None:
                    self._heads.delete(txn, key)
                    self._delete_parts(txn, key)
                else:
                    self._delete_parts(txn, key, keep=_SESSION_KEY.pack(value.session_number))
                    self._heads.put(txn, key, msgspec.msgpack.encode(value))
        self._unwritten, self._unwritten_bytes = [], 0
        self._database.mapping.release()

    def _delete_parts(self, txn: Transaction, key: bytes, *, keep: bytes = b"none") -> None:
        """Delete a directory's parts of all sessions (one that was killed may have left some) but one."""
        mine = takewhile(lambda part: part.startswith(key), self._parts.keys_from(txn, key))
        for part in [part for part in mine if not part.startswith(keep, len(key))]:
            self._parts.delete(txn, part)

    def _count_mapped(self, row: bytes | None) -> None:
        """What has been read stays mapped: give it up from time to time."""
        self._mapped_bytes += _MAPPED_BYTES + (len(row) if row is not None else 0)
        if self._mapped_bytes > _RELEASE_BYTES:
            self._mapped_bytes = 0
            self._database.mapping.release()

    def finish(self) -> None:
        """Write what has been put and forgotten. Nothing may be asked afterwards."""
        self._write()
        self.close()

    def close(self) -> None:
        """Give up what has not been written."""
        if self._view is not None:
            self._view.close()
