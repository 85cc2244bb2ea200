"""When this machine last verified the content of each pack. Owns its rows in the state; knows nothing of packs but their ids.

A hint that saves reading, and no proof: what others may believe is the verified set, which the owner signs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from seedcorn.ids import PackId
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.table import Table

__all__ = ["Verifications"]

_ROW = struct.Struct("<Q32s")  # nanoseconds since the epoch, digest of what is said of it


class Verifications:
    """One row for each pack that has been verified here."""

    def __init__(self, database: Database, rows: Table) -> None:
        self._database = database
        self._rows = rows

    def verified_ns(self, pack: PackId, digest: bytes) -> int | None:
        """When the pack was verified by this machine's clock, as it is listed with this digest; None if it never was."""
        with self._database.reading() as txn:
            row = self._rows.get(txn, pack)
        if row is None:
            return None
        moment_ns, verified_digest = _ROW.unpack(row)
        return moment_ns if verified_digest == digest else None

    def note(self, packs: Iterable[tuple[PackId, bytes]], now_ns: int) -> None:
        """Each of these (pack, digest) has been verified now."""
        with self._database.writing() as txn:
            for pack, digest in packs:
                self._rows.put(txn, pack, _ROW.pack(now_ns, digest))
