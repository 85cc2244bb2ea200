"""What content of another repository has become in this one: so that what was copied once is not read from there again.

Owns its rows in the state. A row is found by the content records of a node: those name all that a file holds, and all that is below a directory.
Never authoritative: whoever finds a row asks whether its frames may still be relied on. docs/format.md, section "Content".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.tree import Node
from seedcorn.ids import RepositoryId

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

    def __init__(
        self, environment: Any, database: Any, writing: Callable[[], AbstractContextManager[Any]], source: RepositoryId, domain: int
    ) -> None:
        self._environment = environment
        self._database = database
        self._writing = writing
        self._source = source
        self._domain = domain
        self._unwritten: dict[bytes, CopiedContent] = {}

    def get(self, node: Node) -> CopiedContent | None:
        """What the content of a node of the source has become."""
        key = self._key(node)
        found = self._unwritten.get(key)
        if found is not None:
            return found
        with self._environment.begin(db=self._database) as txn:
            row = txn.get(key)
        return None if row is None else _DECODER.decode(row)

    def put(self, node: Node, copied: CopiedContent) -> None:
        """Remember what it has become."""
        self._unwritten[self._key(node)] = copied
        if len(self._unwritten) >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        with self._writing() as txn:
            if txn.stat(self._database)["entries"] > _ROWS_LIMIT:
                txn.drop(self._database, delete=False)
            for key, copied in self._unwritten.items():
                txn.put(key, msgspec.msgpack.encode(copied), db=self._database)
        self._unwritten.clear()

    def _key(self, node: Node) -> bytes:
        depth = node.extra.depth if node.extra else 0
        return self._source + object_hash(msgspec.msgpack.encode((self._domain, node.kind, depth, node.content)))[:16]
