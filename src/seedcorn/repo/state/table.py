"""Tables of the state's database: rows with check values.

Knows LMDB's transactions and cursors, and not the environment that they are of. Invariant: a value is given out as it was put. LMDB has no check
values, and a flipped bit in what is remembered of a directory would get into the next snapshot: so each row carries one, over its table, key and
value. A damaged row of a table that is only a cache is as good as none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

__all__ = ["DamagedRowError", "Table", "Transaction"]

Transaction = Any  # LMDB's; it has no types

_CHECK_BYTES = 4


class DamagedRowError(Exception):
    """A row is not as it was put, or not there."""


class Table:
    """Rows by key, in the order of their keys. Whatever is done with them is done in a transaction of the caller's."""

    __slots__ = ("_handle", "_is_cache", "_seed")

    def __init__(self, handle: Any, name: bytes, is_cache: bool) -> None:
        self._handle = handle
        self._seed = crc32(name)
        self._is_cache = is_cache

    def get(self, txn: Transaction, key: bytes) -> bytes | None:
        """The value of a key (the first one, if it may have several); None if there is none."""
        row = txn.get(key, db=self._handle)
        return None if row is None else self._opened(key, row)

    def require(self, txn: Transaction, key: bytes) -> bytes:
        """The value of a key that is there, since another row says so."""
        value = self.get(txn, key)
        if value is None:
            raise DamagedRowError("a row is missing")
        return value

    def put(self, txn: Transaction, key: bytes, value: bytes, *, overwrite: bool = True) -> None:
        """Set the value of a key; where keys have several values, it is one more."""
        txn.put(key, value + self._check(key, value), db=self._handle, overwrite=overwrite)

    def pop(self, txn: Transaction, key: bytes) -> bytes | None:
        """Delete a key; what its value was."""
        row = txn.pop(key, db=self._handle)
        return None if row is None else self._opened(key, row)

    def delete(self, txn: Transaction, key: bytes) -> None:
        """Delete a key with whatever it has, if it is there."""
        txn.delete(key, db=self._handle)

    def delete_one(self, txn: Transaction, key: bytes, value: bytes) -> None:
        """Delete one of the values of a key."""
        txn.delete(key, value + self._check(key, value), db=self._handle)

    def all(self, txn: Transaction, key: bytes) -> list[bytes]:
        """All values of a key that may have several."""
        with txn.cursor(self._handle) as cursor:
            return [self._whole(key, row) for row in cursor.iternext_dup()] if cursor.set_key(key) else []

    def items(self, txn: Transaction) -> Iterator[tuple[bytes, bytes]]:
        """Every key with every value."""
        with txn.cursor(self._handle) as cursor:
            for key, row in cursor:
                yield key, self._whole(key, row)

    def items_from(self, txn: Transaction, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key from ``first`` on, with its first value."""
        with txn.cursor(self._handle) as cursor:
            if cursor.set_range(first):
                for key, row in cursor.iternext_nodup(values=True):
                    yield key, self._whole(key, row)

    def keys_from(self, txn: Transaction, first: bytes) -> Iterator[bytes]:
        """Every key from ``first`` on."""
        with txn.cursor(self._handle) as cursor:
            if cursor.set_range(first):
                yield from cursor.iternext(keys=True, values=False)

    def last_key(self, txn: Transaction) -> bytes | None:
        """The greatest key."""
        with txn.cursor(self._handle) as cursor:
            return bytes(cursor.key()) if cursor.last() else None

    def count(self, txn: Transaction) -> int:
        """How many values there are."""
        return int(txn.stat(self._handle)["entries"])

    def clear(self, txn: Transaction) -> None:
        """Delete everything."""
        txn.drop(self._handle, delete=False)

    def _check(self, key: bytes, value: bytes) -> bytes:
        return crc32(value, crc32(key, self._seed)).to_bytes(_CHECK_BYTES, "little")

    def _opened(self, key: bytes, row: bytes) -> bytes | None:
        value = row[:-_CHECK_BYTES]
        if row[-_CHECK_BYTES:] == self._check(key, value):
            return value
        if self._is_cache:
            return None
        raise DamagedRowError("a row does not match its check value")

    def _whole(self, key: bytes, row: bytes) -> bytes:
        value = self._opened(key, row)
        assert value is not None, "rows of a cache are asked for one by one"
        return value
