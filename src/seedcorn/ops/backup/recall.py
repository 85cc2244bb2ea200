"""What the last run saw of a directory, and what the next one will know of it: the two sides of a backup's memory.

Owns how a directory that has changed is written: to the repository as a listing, and to this machine's cache as the same listing with what it takes
to compare. Both sides go block by block, so memory does not depend on the size of a directory. Knows nothing of the file system.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice, takewhile

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.tree import Kind, Node, content_records, decode_own_nodes, encode_nodes
from seedcorn.fs.walk import BLOCK_ENTRIES
from seedcorn.repo.content.writer import ListingWriter, Writer
from seedcorn.repo.state.listings import CachedListing, CachedPart, ListingCache
from seedcorn.repo.state.state import FrameSet

__all__ = ["Recalled", "Recorder", "listing_key"]

_PART_BYTES = 128 << 10
LongContents = dict[bytes, bytes]  # name -> frames (FrameSet) of each file whose content is indirect


def listing_key(path: bytes) -> bytes:
    """Under which a directory is cached."""
    return object_hash(path)[:16]


class Recalled:
    """A directory as it was, read along with the walk."""

    def __init__(self, cache: ListingCache, key: bytes, listing: CachedListing) -> None:
        self._cache = cache
        self._key = key
        self.listing = listing
        self._rest = self._nodes()
        self._ahead: tuple[Node, bytes | None] | None = None
        self._is_read = False  # most directories are known to be unchanged without a look at their nodes
        self.long_contents: LongContents = {}  # of the nodes that ``until`` has returned last

    def _nodes(self) -> Iterator[tuple[Node, bytes | None]]:
        for part in self._cache.parts(self._key, self.listing):
            long_contents = part.long_contents
            for run in part.runs:
                for node in decode_own_nodes(run):
                    yield node, long_contents.get(node.name) if long_contents else None

    def until(self, last: bytes | None) -> dict[bytes, Node]:
        """The nodes that come after those of the call before, up to the name ``last``, or to the end."""
        found: dict[bytes, Node] = {}
        self.long_contents = {}
        if not self._is_read:
            self._ahead, self._is_read = next(self._rest, None), True
        ahead = self._ahead
        while ahead is not None and (last is None or ahead[0].name <= last):
            node, frames = ahead
            found[node.name] = node
            if frames is not None:
                self.long_contents[node.name] = frames
            ahead = next(self._rest, None)
        self._ahead = ahead
        return found

    def up_to(self, last: bytes) -> Iterator[tuple[list[Node], LongContents]]:
        """Once more from the beginning: the nodes with names up to ``last``, some at a time."""
        nodes = takewhile(lambda found: found[0].name <= last, self._nodes())
        while block := list(islice(nodes, BLOCK_ENTRIES)):
            yield [node for node, _ in block], {node.name: frames for node, frames in block if frames is not None}


class Recorder:
    """Writes one directory that is new or has changed, a block of nodes at a time, and remembers it."""

    def __init__(self, writer: Writer, cache: ListingCache, key: bytes) -> None:
        self._writer = writer
        self._cache = cache
        self._key = key
        self.frames: set[int] = set()  # that hold the files of the directory, and its listing
        self._listing = ListingWriter(writer, self.frames)
        self._long_contents: LongContents = {}
        self._runs: list[bytes] = []
        self._runs_bytes = 0
        self._part_contents: LongContents = {}
        self._part_count = 0

    def add_file(self, node: Node, frames: Collection[int]) -> None:
        """Frames that hold the content of a node that has been, or will be, added."""
        self.frames.update(frames)
        if node.extra is not None and node.extra.depth:
            self._long_contents[node.name] = FrameSet(frames).serialize()

    def add_known(self, node: Node, long_contents: LongContents) -> bool:
        """The same for a node that is as it was; False if the store is not known to hold all of its content (it may have been lost)."""
        if node.kind != Kind.FILE:
            return True
        if node.extra is not None and node.extra.depth:
            frames = long_contents.get(node.name)
            if frames is None:
                return False
            self._long_contents[node.name] = frames
            self.frames.update(FrameSet.deserialize(frames))
            return True
        for chunk_id, _ in content_records(node.content):
            ordinal = self._writer.known(chunk_id)
            if ordinal is None:
                return False
            self.frames.add(ordinal)
        return True

    def add(self, nodes: Sequence[Node]) -> None:
        """The next nodes, sorted by name."""
        self._remember(self._listing.add(nodes))

    def finish(self) -> tuple[bytes, int]:
        """(content, depth) of the directory's own node."""
        self._remember(self._listing.finish())
        self._flush_part()
        return self._listing.content, self._listing.depth

    def remember_only(self, nodes: Sequence[Node]) -> None:
        """Remember nodes that stand in no listing of their own (a path that is not a directory)."""
        self._remember([(list(nodes), encode_nodes(nodes))])
        self._flush_part()

    def listing(self, epoch: int, scan_start_ns: int, entries: int, size_bytes: int, fingerprint: bytes, children: bytes) -> CachedListing:
        """The head under which this is remembered."""
        number, frames = self._writer.session_number, FrameSet(self.frames).serialize()
        content, depth = self._listing.content, self._listing.depth
        return CachedListing(epoch, number, scan_start_ns, content, depth, frames, self._part_count, entries, size_bytes, fingerprint, children)

    def _remember(self, runs: Sequence[tuple[list[Node], bytes]]) -> None:
        for nodes, chunk in runs:
            if self._long_contents:
                for node in nodes:
                    if node.name in self._long_contents:
                        self._part_contents[node.name] = self._long_contents.pop(node.name)
            self._runs.append(chunk)
            self._runs_bytes += len(chunk)
            if self._runs_bytes > _PART_BYTES:
                self._flush_part()

    def _flush_part(self) -> None:
        if self._runs:
            part = CachedPart(tuple(self._runs), self._part_contents)
            self._cache.put_part(self._key, self._writer.session_number, self._part_count, part)
            self._part_count += 1
            self._runs, self._runs_bytes, self._part_contents = [], 0, {}
