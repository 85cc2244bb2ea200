"""What content of another repository has become in this one: so that what was copied once is not read from there again.

Owns its rows in the state. A row is found by the content records of a node: those name all that a file holds, and all that is below a directory.
Never authoritative: whoever finds a row asks whether its frames may still be relied on. docs/format.md, section "Content".
"""

from __future__ import annotations

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.tree import Node
from seedcorn.ids import RepositoryId
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.table import Table

__all__ = ["CopiedContent", "CopiedContents"]

_FLUSH_ROWS = 5_000
_ROWS_LIMIT = 1 << 23  # about a gigabyte; then the memory begins anew, which costs one more reading of what is still copied


class CopiedContent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The content of a file or directory as it stands in this repository, and the frames (a FrameSet) that hold it and all below it."""

    content: bytes
    depth: int
    size: int  # of a directory: its entries; of a file: its bytes
    frames: bytes


_DECODER = msgspec.msgpack.Decoder(CopiedContent)


class CopiedContents:
    """The rows of one source repository and one dedup domain of this one. For one run in one thread; writes are collected until ``flush``."""

    def __init__(self, database: Database, rows: Table, source: RepositoryId, domain: int) -> None:
        self._database = database
        self._rows = rows
        self._source = source
        self._domain = domain
        self._unwritten: dict[bytes, CopiedContent] = {}

    def get(self, node: Node) -> CopiedContent | None:
        """What the content of a node of the source has become."""
        key = self._key(node)
        found = self._unwritten.get(key)
        if found is not None:
            return found
        with self._database.reading() as txn:
            row = self._rows.get(txn, key)
        return None if row is None else _DECODER.decode(row)

    def put(self, node: Node, copied: CopiedContent) -> None:
        """Remember what it has become."""
        self._unwritten[self._key(node)] = copied
        if len(self._unwritten) >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        with self._database.writing() as txn:
            if self._rows.count(txn) > _ROWS_LIMIT:
                self._rows.clear(txn)
            for key, copied in self._unwritten.items():
                self._rows.put(txn, key, msgspec.msgpack.encode(copied))
        self._unwritten.clear()

    def _key(self, node: Node) -> bytes:
        depth = node.extra.depth if node.extra else 0
        return self._source + object_hash(msgspec.msgpack.encode((self._domain, node.kind, depth, node.content)))[:16]
