"""The listings of the last run on this machine: what a host, which can not read its own backups, compares the next walk with.

Owns how a directory is remembered: a small head, and its listing chunks in parts, so that a directory of any size is written and read in bounded
memory. Lives in the state's database and is never authoritative. Invariant: parts belong to the session that wrote them, and a head names its
session; so a head never meets the parts of another run, whenever that run was killed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import takewhile
from typing import Any

import msgspec

from seedcorn.format.tree import Node, decode_own_nodes
from seedcorn.repo.state.mapping import FileMapping

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

    def __init__(
        self,
        env: Any,
        heads: Any,
        parts: Any,
        domain: int,
        writing: Callable[[], AbstractContextManager[Any]],
        believed: Callable[[CachedListing], bool],
        mapping: FileMapping,
    ) -> None:
        """``env``, ``heads`` and ``parts``: LMDB's. ``believed`` says whether everything that a listing needs is known to be in the store."""
        self._env = env
        self._heads = heads
        self._parts = parts
        self._domain = _DOMAIN.pack(domain)  # before every key
        self._writing = writing
        self._believed = believed
        self._mapping = mapping
        self._mapped_bytes = 0
        self._unwritten: list[tuple[bytes, CachedListing | bytes | None]] = []
        self._unwritten_bytes = 0
        self._view: Any = None

    def get(self, key: bytes) -> CachedListing | None:
        """A directory's listing, if all frames that it needs are there."""
        if self._view is None:
            self._view = self._env.begin()
        value = self._read(self._domain + key, self._heads)
        if value is None:
            return None
        cached = _DECODER.decode(value)
        return cached if self._believed(cached) else None

    def parts(self, key: bytes, cached: CachedListing) -> Iterator[CachedPart]:
        """What the listing, as ``get`` gave it, consists of, in order."""
        base = self._domain + key
        for number in range(cached.part_count):
            yield msgspec.msgpack.decode(self._read(base + _PART_KEY.pack(cached.session_number, number), self._parts), type=CachedPart)

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
        with self._writing() as txn:
            for key, value in self._unwritten:
                if isinstance(value, bytes):
                    txn.put(key, value, db=self._parts)
                elif value is None:
                    txn.delete(key, db=self._heads)
                    self._delete_parts(txn, key)
                else:
                    self._delete_parts(txn, key, keep=_SESSION_KEY.pack(value.session_number))
                    txn.put(key, msgspec.msgpack.encode(value), db=self._heads)
        self._unwritten, self._unwritten_bytes = [], 0
        self._mapping.release()

    def _read(self, key: bytes, database: Any) -> Any:
        value = self._view.get(key, db=database)
        self._mapped_bytes += _MAPPED_BYTES + (len(value) if value is not None else 0)
        if self._mapped_bytes > _RELEASE_BYTES:
            self._mapped_bytes = 0
            self._mapping.release()
        return value

    def _delete_parts(self, txn: Any, key: bytes, *, keep: bytes = b"none") -> None:
        """Delete a directory's parts of all sessions (one that was killed may have left some) but one."""
        with txn.cursor(self._parts) as cursor:
            cursor.set_range(key)
            mine = takewhile(lambda part: part.startswith(key), cursor.iternext(keys=True, values=False))
            doomed = [part for part in mine if not part.startswith(keep, len(key))]
        for part in doomed:
            txn.delete(part, db=self._parts)

    def finish(self) -> None:
        """Write what has been put and forgotten. Nothing may be asked afterwards."""
        self._write()
        self.close()

    def close(self) -> None:
        """Give up what has not been written."""
        if self._view is not None:
            self._view.abort()
