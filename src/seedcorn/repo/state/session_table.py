"""The sessions of the index, each with a short number: what the ordinals of its frames begin with.

Invariant: a number keeps its meaning as long as the state exists, also when the index is begun anew, since cached listings hold ordinals.
"""

from __future__ import annotations

import struct

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.codec import encode
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.indexed import SessionRecord
from seedcorn.repo.state.table import Transaction

__all__ = ["SessionTable"]

_NUMBER = struct.Struct(">I")


class SessionTable:
    """What changes something works in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = database.table(b"sessions")  # session number -> SessionRecord
        self._sealed_keys = database.table(b"session-keys")  # session number -> sealed key: long, and most readers of sessions need none
        self._numbers = database.table(b"session-numbers")  # hash of session, domain and sealed key -> session number

    def number_of(self, txn: Transaction, record: SessionRecord, sealed_key: bytes) -> int:
        """The number of a session, a new one if it is not known."""
        # A host may sign anything: a session is what its host says under one key, and another key is another session.
        name = object_hash(encode((record.session, record.domain, sealed_key)))
        known = self._numbers.get(txn, name)
        if known is not None:
            return int(_NUMBER.unpack(known)[0])
        number = self._records.count(txn)
        self._numbers.put(txn, name, _NUMBER.pack(number))
        self._sealed_keys.put(txn, _NUMBER.pack(number), sealed_key)
        self.put(txn, number, record)
        return number

    def put(self, txn: Transaction, number: int, record: SessionRecord) -> None:
        """Change what is known of a session."""
        self._records.put(txn, _NUMBER.pack(number), msgspec.msgpack.encode(record))

    def get(self, number: int) -> SessionRecord:
        """The session of that number, which must be known."""
        with self._database.reading() as txn:
            return msgspec.msgpack.decode(self._records.require(txn, _NUMBER.pack(number)), type=SessionRecord)

    def sealed_key(self, number: int) -> bytes:
        """The key of the session of that number, which must be known, sealed to the owner."""
        with self._database.reading() as txn:
            return self._sealed_keys.require(txn, _NUMBER.pack(number))

    def all(self) -> dict[int, SessionRecord]:
        """Every known session by number."""
        with self._database.reading() as txn:
            return {_NUMBER.unpack(key)[0]: msgspec.msgpack.decode(row, type=SessionRecord) for key, row in self._records.items(txn)}
