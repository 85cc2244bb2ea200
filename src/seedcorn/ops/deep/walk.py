"""Which chunks the trees of snapshots consist of: listings, content lists and content.

A chunk of a listing that has been read is not read again, in whatever snapshot it comes up; but only if it is used in the same way: a host may put
the same bytes to another use, in which other chunks follow from them. Reads no content. docs/format.md, sections "Listing" and "Content".
"""

from __future__ import annotations

from collections import defaultdict

from seedcorn.errors import IntegrityError
from seedcorn.format.tree import Kind, Node, content_records, decode_nodes
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.state.chunk_use import ChunkUse

__all__ = ["TreeWalk"]

_DEPTH_LIMIT = 8
_Content = tuple[int, int, bytes]  # kind of node, levels of indirection, records


class TreeWalk:
    """Notes what it finds in ``use``. About 100 bytes of memory for each different chunk of a listing."""

    def __init__(self, reader: Reader, use: ChunkUse) -> None:
        self._reader = reader
        self._use = use
        self._read: defaultdict[tuple[int, int], set[bytes]] = defaultdict(set)  # by use: kind of node and levels of indirection

    def walk(self, root: Node) -> None:
        """Note every chunk of the tree below ``root``.

        Raises:
            IntegrityError: a part of it can not be read, so that nobody can say what else is used.
        """
        pending = [_content_of(root)]
        while pending:
            kind, depth, records = pending.pop()
            if kind == Kind.FILE and not depth:
                for chunk_id, length in content_records(records):
                    self._use.note(chunk_id, length)
                continue
            read = self._read[kind, depth]
            for chunk_id, length in content_records(records):
                if chunk_id in read:
                    continue
                chunk = self._reader.listing_chunk(chunk_id, length)
                self._use.note(chunk_id, length)
                read.add(chunk_id)
                if depth:
                    pending.append((kind, depth - 1, bytes(chunk)))
                else:
                    pending += [_content_of(node) for node in decode_nodes(chunk) if node.content]


def _content_of(node: Node) -> _Content:
    depth = node.extra.depth if node.extra else 0
    if not 0 <= depth <= _DEPTH_LIMIT:
        raise IntegrityError(f"content is nested {depth} deep")
    return node.kind, depth, node.content
