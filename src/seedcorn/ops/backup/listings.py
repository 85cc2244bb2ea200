"""From the nodes of a scanned directory to its listing: stored and remembered if anything in it is new, else taken over as it was.

Owns what a scan has of the last run and leaves to the next one, and forgets what is gone. Must never walk: ``scan`` hands in each directory a block
of nodes at a time. Invariant: a node is only taken over if every frame that holds its content is known to be in the store; ``frames`` is exactly what
the directories that are done need.
"""

from __future__ import annotations

import msgspec

from seedcorn.events import Counter, Monitor
from seedcorn.format.codec import NUMBER_LIMIT
from seedcorn.format.tree import Kind, Node
from seedcorn.ops.backup.entries import EntryReader, OwnListing, Tally
from seedcorn.ops.backup.recall import Recalled, Recorder, listing_key
from seedcorn.ops.backup.scanned import ScannedDirectory, path_below
from seedcorn.ops.backup.unchanged import Children, racy_from_ns
from seedcorn.repo.content.writer import Writer
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["Listings"]


class Listings:
    """Those of one scan."""

    def __init__(self, writer: Writer, state: State, reader: EntryReader, tally: Tally, scan_start_ns: int, monitor: Monitor) -> None:
        self._writer = writer
        self._epoch = state.epoch
        self._cache = state.listings(writer.domain)
        self._reader = reader
        self._tally = tally
        self._scan_start_ns = scan_start_ns
        self._monitor = monitor
        self.frames = FrameSet()

    def recall(self, directory: ScannedDirectory) -> None:
        """What the last run knew of a directory."""
        cached = self._cache.get(directory.key)
        if cached is not None:
            directory.recalled = Recalled(self._cache, directory.key, cached)

    def finish(self) -> None:
        """Bring what has been seen into the state."""
        self._cache.finish()

    # -- directories -------------------------------------------------------------------------------------------------------------------------

    def end_block(self, directory: ScannedDirectory) -> None:
        """All entries of a block have their nodes: count them, and record them once anything in the directory has changed."""
        if directory.old:
            self._note_deleted(directory)
        self._count_block(directory)
        if directory.recorder is None and (directory.recalled is None or directory.changed):
            directory.recorder = Recorder(self._writer, self._cache, directory.key)
            if directory.recalled is not None and not directory.is_first:
                self._record_passed(directory, directory.recalled, directory.recorder)
        if directory.recorder is not None:
            self._record_frames(directory, directory.recorder)
            directory.recorder.add(directory.nodes)
        directory.is_first = False

    def end(self, directory: ScannedDirectory) -> OwnListing:
        """The last block has been ended."""
        if directory.recorder is not None:
            content, depth = directory.recorder.finish()
            self._remember(directory, directory.recorder)
            return content, depth, directory.count
        listing = directory.last_listing
        self.frames |= FrameSet.deserialize(listing.frames)
        fingerprint, children = self._fingerprints(directory)
        if directory.reread or (listing.fingerprint, listing.children) != (fingerprint, children):
            head = msgspec.structs.replace(listing, scan_start_ns=self._scan_start_ns, fingerprint=fingerprint, children=children)
            self._cache.put(directory.key, head)
        return listing.content, listing.depth, directory.count

    def take_over(self, directory: ScannedDirectory) -> OwnListing:
        """Of a directory in which nothing has changed, and below which nothing has."""
        listing = directory.last_listing
        self._count(listing.entries, listing.size_bytes)
        self.frames |= FrameSet.deserialize(listing.frames)
        return listing.content, listing.depth, listing.entries

    def end_lone(self, lone: ScannedDirectory) -> None:
        """A path that is not a directory: its node stands in a directory that only leads to it."""
        self._count_block(lone)
        if lone.recalled is None or lone.changed or lone.reread:
            recorder = lone.recorder = Recorder(self._writer, self._cache, lone.key)
            self._record_frames(lone, recorder)
            recorder.remember_only(lone.nodes)
            self._remember(lone, recorder)
        elif lone.nodes:
            self.frames |= FrameSet.deserialize(lone.last_listing.frames)

    def _count_block(self, directory: ScannedDirectory) -> None:
        size_bytes = sum([node.size for node in directory.nodes if node.kind == 1])
        directory.count += len(directory.nodes)
        directory.size_bytes += size_bytes
        self._count(len(directory.nodes), size_bytes)
        self._reader.report()

    def _count(self, entries: int, size_bytes: int) -> None:
        self._tally.source_files += entries
        self._tally.source_file_size += size_bytes
        self._monitor.count(Counter.SOURCE_ENTRIES, entries)
        self._monitor.count(Counter.SOURCE_BYTES, size_bytes)

    # -- what is new -------------------------------------------------------------------------------------------------------------------------

    def _record_passed(self, directory: ScannedDirectory, recalled: Recalled, recorder: Recorder) -> None:
        """Record the blocks in which nothing had changed."""
        for nodes, long_contents in recalled.up_to(directory.passed):
            kept = [node if recorder.add_known(node, long_contents) else self._read_lost(directory, node, recorder) for node in nodes]
            recorder.add([node for node in kept if node is not None])

    def _record_frames(self, directory: ScannedDirectory, recorder: Recorder) -> None:
        """Tell the recorder which frames hold the content of the block's nodes."""
        for node, frames in directory.frames:
            recorder.add_file(node, frames)
        if directory.taken_over:
            assert directory.recalled is not None
            long_contents, nodes = directory.recalled.long_contents, directory.nodes
            lost = [position for position in directory.taken_over if not recorder.add_known(nodes[position], long_contents)]
            if lost:
                fresh = {position: self._read_lost(directory, nodes[position], recorder) for position in lost}
                kept = [fresh.get(position, node) for position, node in enumerate(nodes)]
                directory.nodes = [node for node in kept if node is not None]

    def _read_lost(self, directory: ScannedDirectory, node: Node, recorder: Recorder) -> Node | None:
        """Read a file again of whose content not everything is known to be in the store (it may have been lost and repaired away).

        The node takes the place of one that has been counted already; with None, nothing does.
        """
        entry = self._reader.read_again(directory.fd, node.name, path_below(directory.path, node.name))
        if entry is None:
            directory.steady = False
            directory.count -= 1
            directory.size_bytes -= node.size
            return None
        recorder.add_file(*entry)
        directory.size_bytes += entry.node.size - node.size
        return entry.node

    def _remember(self, directory: ScannedDirectory, recorder: Recorder) -> None:
        self.frames |= FrameSet(recorder.frames)
        fingerprints = self._fingerprints(directory)
        size_bytes = min(directory.size_bytes, NUMBER_LIMIT)
        listing = recorder.listing(self._epoch, self._scan_start_ns, directory.count, size_bytes, *fingerprints)
        self._cache.put(directory.key, listing)

    def _fingerprints(self, directory: ScannedDirectory) -> tuple[bytes, bytes]:
        """Of the entries and of the subdirectories' listings, if the next run may conclude from equal ones that nothing has changed; else empty."""
        racy_ns = racy_from_ns(self._scan_start_ns)
        if directory.steady and directory.fingerprint and all(st.st_ctime_ns < racy_ns for _, st in directory.entries):
            return directory.fingerprint, Children.of(directory.nodes).fingerprint()
        return b"", b""

    # -- what is gone ------------------------------------------------------------------------------------------------------------------------

    def forget(self, path: bytes) -> int:
        """Take the listings of a directory that is gone, and of all below it, out of the cache; how many entries they had."""
        count = 0
        pending = [path]
        while pending:
            path = pending.pop()
            key = listing_key(path)
            cached = self._cache.get(key)
            self._cache.forget(key)
            for node in self._cache.nodes(key, cached) if cached is not None else ():
                count += 1
                if node.kind == Kind.DIRECTORY:
                    pending.append(path_below(path, node.name))
        return count

    def _note_deleted(self, directory: ScannedDirectory) -> None:
        present = {node.name for node in directory.nodes}
        for name in directory.old.keys() - present:
            directory.changed = True
            self._tally.deleted_files += 1
            if directory.old[name].kind == Kind.DIRECTORY:
                self._tally.deleted_files += self.forget(path_below(directory.path, name))
