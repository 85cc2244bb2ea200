"""Walking trees for what they use: everything, once; and nobody's chunk is passed over because of the use that somebody else has made of it."""

from __future__ import annotations

import hashlib

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Extra, Kind, Node, encode_nodes, pack_content
from seedcorn.ops.deep.walk import TreeWalk


class Shelf:
    """Stands in for the reader and for what notes use."""

    def __init__(self) -> None:
        self._chunks: dict[bytes, bytes] = {}
        self.read: list[bytes] = []
        self.noted: set[tuple[bytes, int]] = set()

    def put(self, chunk: bytes) -> bytes:
        """Content of one chunk."""
        chunk_id = hashlib.sha256(chunk).digest()[:24]
        self._chunks[chunk_id] = chunk
        return pack_content([(chunk_id, len(chunk))])

    def listing_chunk(self, chunk_id: bytes, length: int) -> bytes:
        self.read.append(chunk_id)
        if chunk_id not in self._chunks:
            raise IntegrityError("lost")
        return self._chunks[chunk_id]

    def note(self, chunk_id: bytes, length: int) -> None:
        self.noted.add((chunk_id, length))

    def walk(self, *roots: Node) -> None:
        walk = TreeWalk(self, self)  # type: ignore[arg-type]
        for root in roots:
            walk.walk(root)


def node(kind: Kind, content: bytes, *, name: bytes = b"x", depth: int = 0, size: int = 0) -> Node:
    return Node(name, kind, 0o644, 0, 0, 0, 0, 0, 0, size, content, Extra(depth=depth) if depth else None)


def file(name: bytes, *chunks: tuple[bytes, int]) -> Node:
    return node(Kind.FILE, pack_content(chunks), name=name, size=sum(length for _, length in chunks))


ONE, TWO, THREE = ((bytes([number]) * 24, 100 + number) for number in (1, 2, 3))


def test_everything_is_noted_and_no_listing_is_read_twice() -> None:
    shelf = Shelf()
    listed = shelf.put(pack_content([THREE]))
    long = node(Kind.FILE, listed, name=b"c", depth=1, size=THREE[1])
    below = node(Kind.DIRECTORY, shelf.put(encode_nodes([file(b"a", ONE), long])), name=b"below")
    first = node(Kind.DIRECTORY, shelf.put(encode_nodes([below, file(b"d", TWO)])))
    second = node(Kind.DIRECTORY, shelf.put(encode_nodes([below])))
    shelf.walk(first, second, first)
    assert {ONE, TWO, THREE} <= shelf.noted
    assert len(shelf.noted) == 3 + 4 and len(shelf.read) == 4


def test_a_listing_in_pieces() -> None:
    shelf = Shelf()
    runs = shelf.put(encode_nodes([file(b"a", ONE)])) + shelf.put(encode_nodes([file(b"b", TWO)]))
    shelf.walk(node(Kind.DIRECTORY, shelf.put(runs), depth=1))
    assert {ONE, TWO} <= shelf.noted


def test_the_same_bytes_in_another_use_are_read_again() -> None:
    """A host that names another's listing as the content list of a file must not hide what is in that directory."""
    shelf = Shelf()
    run = next(
        chunk for length in range(200) if len(chunk := encode_nodes([file(b"n" * (length + 1), ONE)])) % CONTENT_RECORD_BYTES == 0
    )  # as long as a list of records
    listing = shelf.put(run)
    shelf.walk(node(Kind.FILE, listing, depth=1), node(Kind.DIRECTORY, listing))
    assert ONE in shelf.noted


def test_what_can_not_be_read_ends_the_walk() -> None:
    shelf = Shelf()
    with pytest.raises(IntegrityError, match="lost"):
        shelf.walk(node(Kind.DIRECTORY, pack_content([ONE])))
    assert ONE not in shelf.noted
    with pytest.raises(IntegrityError, match="nested"):
        shelf.walk(node(Kind.FILE, b"", depth=9))
