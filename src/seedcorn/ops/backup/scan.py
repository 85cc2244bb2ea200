"""From a directory tree to stored listings: walk, compare with the last run, read what changed. The hot path of a backup.

Each directory is listed once, its entries merged with the cached listing of the last run. An entry whose size, times, inode and mode are as they
were is taken over unread; a directory in which nothing changed is taken over whole, its listing not even encoded. Everything else is read into the
writer. Invariant: a node is only taken over if every frame that holds its content is known to be in the store.

Cost matters here: a system has hundreds of thousands of files, so there is one stat per entry and nothing is made that is thrown away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

from seedcorn.events import Counter, Monitor
from seedcorn.format.tree import Kind, Node
from seedcorn.fs.metadata import node_from_stat
from seedcorn.fs.read_ahead import ReadAhead
from seedcorn.fs.selection import CACHE_TAG_NAME, is_cache_directory
from seedcorn.fs.walk import Block, Listed, list_directory, open_directory
from seedcorn.ops.backup.entries import EntryReader, Tally
from seedcorn.ops.backup.recall import Children, Recalled, Recorder, fingerprint_of, listing_key
from seedcorn.ops.backup.scanned import ScannedDirectory
from seedcorn.repo.content.writer import Writer
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["ScanOptions", "TreeScanner"]

CLOCK_GRANULARITY_NS = 2 * 10**9  # the coarsest time stamps of file systems in use (FAT, some network file systems)

Excluded = Callable[[bytes, bytes, bool], bool]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``excluded(path, name, is_directory)`` is None if nothing is excluded by pattern."""

    excluded: Excluded | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False  # read every file, whatever the last run knew


class TreeScanner:
    """Scans any number of trees into one writer. ``frames`` collects the ordinals of all frames that the result needs.

    ``heartbeat`` is called often, with those so far of directories that are done.
    """

    def __init__(
        self, writer: Writer, state: State, options: ScanOptions, scan_start_ns: int, monitor: Monitor, heartbeat: Callable[[FrameSet], None]
    ) -> None:
        self._writer = writer
        self._epoch = state.epoch
        self._cache = state.listings(writer.domain)
        self._options = options
        self._scan_start_ns = scan_start_ns
        self._monitor = monitor
        self._heartbeat = heartbeat
        self.frames = FrameSet()
        self.tally = Tally()
        self._reader = EntryReader(writer, self.tally, monitor, lambda: heartbeat(self.frames))

    # -- trees -------------------------------------------------------------------------------------------------------------------------------

    def scan(self, dir_fd: int, name: bytes, path: bytes) -> Node | None:
        """The node for one path given to the backup: ``name`` in ``dir_fd``, called ``path`` in messages. None if it can not be stored."""
        try:
            st = os.lstat(name, dir_fd=dir_fd) if name else os.fstat(dir_fd)
        except OSError as error:
            self.fail(path, error)
            if isinstance(error, FileNotFoundError):
                self._forget(path)
            return None
        if stat.S_ISDIR(st.st_mode):
            with ReadAhead() as self._ahead:
                return self._scan_tree(dir_fd, name, path, st)
        return self._scan_entry(dir_fd, name, path, st)

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that ``path`` can not be read; the run goes on."""
        self._reader.fail(path, error)

    def finish(self) -> None:
        """Bring what has been seen into the state."""
        self._cache.finish()

    def _scan_entry(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> Node | None:
        """A path that is not a directory: cached like a directory with this one entry."""
        lone = ScannedDirectory(dir_fd, os.path.dirname(path), name, st, iter(()))
        lone.key = listing_key(path)
        lone.entries = [(name, st)]
        self._recall(lone)
        if lone.recalled is not None:
            lone.old = lone.recalled.until(None)
            if lone.old.keys() - {name}:  # it was a directory, whose listing lies under the same key
                self._forget(path)
                lone.old = {}
                lone.changed = True
        self._scan_entries(lone, st.st_dev)
        self._count(lone)
        if lone.recalled is None or lone.changed or lone.reread:
            recorder = lone.recorder = Recorder(self._writer, self._cache, lone.key)
            self._record_frames(lone, recorder)
            recorder.remember_only(lone.nodes)
            self._remember(lone, recorder)
        else:
            self.frames |= FrameSet.deserialize(lone.recalled.listing.frames)
        return lone.nodes[0] if lone.nodes else None

    def _scan_tree(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> Node | None:
        """Depth first with a stack of our own: a tree may be deeper than Python's."""
        top = self._enter(dir_fd, name, path, st)
        if top is None:
            return None
        stack = [top]
        try:
            while True:
                directory = stack[-1]
                child = self._scan_entries(directory, top.st.st_dev)
                if child is not None:
                    stack.append(child)
                    continue
                if not directory.last:
                    self._end_block(directory)
                    self._begin_block(directory)
                    continue
                parent = stack[-2] if len(stack) > 1 else None
                node = self._leave(directory, parent)
                os.close(stack.pop().fd)
                if parent is None:
                    return node
                if node is not None:
                    self._add_directory(parent, node)
        finally:
            for directory in stack:
                os.close(directory.fd)

    def _enter(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> ScannedDirectory | None:
        try:
            fd = open_directory(name, dir_fd=dir_fd) if name else os.dup(dir_fd)
        except OSError as error:
            self.fail(path, error)
            return None
        blocks = list_directory(fd)
        if self._options.exclude_caches and is_cache_directory(fd):
            blocks = (Block([entry for entry in block.entries if entry[0] == CACHE_TAG_NAME], [], block.last) for block in blocks)
        directory = ScannedDirectory(fd, path, name, st, blocks)
        self._recall(directory)
        self._begin_block(directory)
        return directory

    def _recall(self, directory: ScannedDirectory) -> None:
        """What the last run knew of the directory."""
        cached = self._cache.get(directory.key)
        if cached is not None:
            directory.recalled = Recalled(self._cache, directory.key, cached)
            directory.changed = self._options.force

    def _begin_block(self, directory: ScannedDirectory) -> None:
        """The next entries of a directory, and what the last run knew of them."""
        try:
            entries, failed, directory.last = next(directory.blocks)
        except OSError as error:
            self.fail(directory.path, error)
            entries, failed, directory.last, directory.steady = [], [], True, False
        for name, reason in failed:
            self.fail(_join(directory.path, name), reason)
            directory.steady = False
        directory.passed = directory.bound
        if entries:
            directory.bound = entries[-1][0]
        if self._options.excluded is not None:
            entries = [entry for entry in entries if not self._excluded(directory.path, entry)]
        directory.entries, directory.at = entries, 0
        directory.nodes, directory.taken_over, directory.frames = [], [], []
        recalled = directory.recalled
        if directory.is_first and directory.last:
            directory.fingerprint = fingerprint_of(entries)
            if recalled is not None and recalled.listing.fingerprint == directory.fingerprint and not self._options.force:
                directory.unchanged = True
                directory.entries = [entry for entry in entries if stat.S_ISDIR(entry[1].st_mode)]
        if recalled is not None and not directory.unchanged:
            directory.old = recalled.until(None if directory.last else directory.bound)
        if self._ahead.is_worth_while():
            self._look_ahead(directory)

    def _excluded(self, path: bytes, entry: Listed) -> bool:
        name, st = entry
        assert self._options.excluded is not None
        return self._options.excluded(_join(path, name), name, stat.S_ISDIR(st.st_mode))

    # -- ahead -------------------------------------------------------------------------------------------------------------------------------

    def _look_ahead(self, directory: ScannedDirectory) -> None:
        """Have the next entries that will be read brought into memory."""
        if directory.ahead is not None:
            self._ahead.come_to(directory.ahead)
        directory.ahead = self._ahead.ask_for(directory.fd, directory.st.st_dev, self._next_wanted(directory))
        directory.ahead_last = directory.ahead.last if directory.ahead is not None else None

    def _next_wanted(self, directory: ScannedDirectory) -> Iterator[Listed]:
        """Of the entries still to come, those that the scan can not do without reading. Each of them passes ``_read`` or ``_subdirectory``."""
        for entry in islice(directory.entries, directory.at, None):
            name, st = entry
            old = directory.old.get(name)
            if old is None or old.ctime_ns != st.st_ctime_ns or self._options.force or stat.S_ISDIR(st.st_mode):
                yield entry

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _scan_entries(self, directory: ScannedDirectory, device_id: int) -> ScannedDirectory | None:
        """Go on with the entries of a block. A subdirectory is returned, to be scanned first; None at the end."""
        entries, nodes, old_nodes, taken_over = directory.entries, directory.nodes, directory.old, directory.taken_over
        racy_from_ns = 0
        if directory.recalled is not None and not self._options.force:
            racy_from_ns = directory.recalled.listing.scan_start_ns - CLOCK_GRANULARITY_NS
        at = directory.at
        count = len(entries)
        while at < count:
            name, st = entries[at]
            at += 1
            mode = st.st_mode
            if mode & 0o170000 == 0o040000:
                directory.at = at
                child = self._subdirectory(directory, name, st, device_id)
                if child is not None:
                    return child
                continue
            old = old_nodes.get(name)
            if (
                old is not None
                and old.ctime_ns == st.st_ctime_ns
                and old.mtime_ns == st.st_mtime_ns
                and old.inode == st.st_ino
                and old.mode == mode & 0o7777
                and (old.size == st.st_size or old.kind != 1)
                and old.ctime_ns < racy_from_ns
                and (old.extra is None or _may_take_over(old, st))
            ):
                taken_over.append(len(nodes))
                nodes.append(old)
                continue
            directory.at = at
            node = self._read(directory, name, st, old)
            if node is None:
                directory.steady = False
            else:
                nodes.append(node)
                if node == old:
                    directory.reread = True
                else:
                    directory.changed = True
        directory.at = at
        return None

    def _read(self, directory: ScannedDirectory, name: bytes, st: os.stat_result, old: Node | None) -> Node | None:
        """Read an entry that is new or may have changed, and count what it is."""
        if name == directory.ahead_last:
            self._look_ahead(directory)
        new_before = self._writer.new_data_bytes
        entry = self._reader.read(directory.fd, name, _join(directory.path, name), st)
        if entry is None:
            return None
        node, frames = entry
        if frames:
            directory.frames.append((node, frames))
        if not node.ctime_ns or (node.extra is not None and node.extra.changed):
            directory.steady = False
        if old is None or old.kind != node.kind:
            self.tally.new_files += 1
            self.tally.new_file_size += node.size
            if old is not None and old.kind == Kind.DIRECTORY:
                self._forget_below(directory, name)
        elif node != old:
            self.tally.changed_files += 1
            self.tally.changed_file_size += node.size
            self.tally.changed_delta_size += self._writer.new_data_bytes - new_before
        return node

    def _subdirectory(self, directory: ScannedDirectory, name: bytes, st: os.stat_result, device_id: int) -> ScannedDirectory | None:
        if name == directory.ahead_last:
            self._look_ahead(directory)
        path = _join(directory.path, name)
        if self._options.one_file_system and st.st_dev != device_id:
            self._add_directory(directory, node_from_stat(name, st, Kind.DIRECTORY))  # a mount point: the directory, without what is mounted on it
            return None
        child = self._enter(directory.fd, name, path, st)
        if child is None:
            self._add_directory(directory, node_from_stat(name, st, Kind.DIRECTORY))
        return child

    def _add_directory(self, directory: ScannedDirectory, node: Node) -> None:
        if not node.ctime_ns:
            directory.steady = False
        if directory.unchanged:
            directory.changed_children[node.name] = node
            return
        old = directory.old.get(node.name)
        if old is None or old.kind != Kind.DIRECTORY:
            self.tally.new_files += 1
            directory.changed = True
        elif old != node:
            if _same_but_device(old, node):
                node = old
            else:
                directory.changed = True
        directory.nodes.append(node)

    # -- one directory done ------------------------------------------------------------------------------------------------------------------

    def _leave(self, directory: ScannedDirectory, parent: ScannedDirectory | None) -> Node | None:
        """Store the listing if anything in it is new, and make the directory's own node; None if the parent, unchanged so far, need only be told."""
        self._heartbeat(self.frames)
        st = directory.st
        self.tally.users.add(st.st_uid)
        self.tally.groups.add(st.st_gid)
        recalled = directory.recalled
        if directory.unchanged:
            assert recalled is not None
            if directory.changed_children or directory.children.fingerprint() != recalled.listing.children:
                self._merge_children(directory, recalled)
        if directory.unchanged:
            assert recalled is not None
            listing = recalled.listing
            self._count_as(listing.entries, listing.size_bytes)
            self.frames |= FrameSet.deserialize(listing.frames)
            own = listing.content, listing.depth, listing.entries
            if parent is not None and parent.unchanged:
                parent.children.add(directory.name, *own)
                return None
        else:
            self._end_block(directory)
            content, depth = self._finish_listing(directory)
            own = content, depth, directory.count
        return self._reader.directory(directory.fd, directory.name, directory.path, st, own)

    def _merge_children(self, directory: ScannedDirectory, recalled: Recalled) -> None:
        """A directory whose own entries are as they were, with subdirectories that are not: its nodes after all."""
        directory.unchanged = False
        directory.old = recalled.until(None)
        for name, old in directory.old.items():
            if old.kind == Kind.DIRECTORY:
                self._add_directory(directory, directory.changed_children.get(name) or directory.children.node(old))
            else:
                directory.taken_over.append(len(directory.nodes))
                directory.nodes.append(old)

    def _end_block(self, directory: ScannedDirectory) -> None:
        """All entries of a block have their nodes: count them, and record them once anything in the directory has changed."""
        if directory.old:
            self._note_deleted(directory)
        self._count(directory)
        if directory.recorder is None and (directory.recalled is None or directory.changed):
            directory.recorder = Recorder(self._writer, self._cache, directory.key)
            if directory.recalled is not None and not directory.is_first:
                self._record_passed(directory, directory.recalled, directory.recorder)
        if directory.recorder is not None:
            self._record_frames(directory, directory.recorder)
            directory.recorder.add(directory.nodes)
        directory.is_first = False

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
        entry = self._reader.read_again(directory.fd, node.name, _join(directory.path, node.name))
        if entry is None:
            directory.steady = False
            directory.count -= 1
            directory.size_bytes -= node.size
            return None
        recorder.add_file(*entry)
        directory.size_bytes += entry.node.size - node.size
        return entry.node

    def _finish_listing(self, directory: ScannedDirectory) -> tuple[bytes, int]:
        """(content, depth) of the directory's listing."""
        recorder, recalled = directory.recorder, directory.recalled
        if recorder is not None:
            content, depth = recorder.finish()
            self._remember(directory, recorder)
            return content, depth
        assert recalled is not None
        listing = recalled.listing
        self.frames |= FrameSet.deserialize(listing.frames)
        fingerprint, children = self._usable_fingerprints(directory)
        if directory.reread or (listing.fingerprint, listing.children) != (fingerprint, children):
            head = msgspec.structs.replace(listing, scan_start_ns=self._scan_start_ns, fingerprint=fingerprint, children=children)
            self._cache.put(directory.key, head)
        return listing.content, listing.depth

    def _remember(self, directory: ScannedDirectory, recorder: Recorder) -> None:
        self.frames |= FrameSet(recorder.frames)
        fingerprints = self._usable_fingerprints(directory)
        listing = recorder.listing(self._epoch, self._scan_start_ns, directory.count, directory.size_bytes, *fingerprints)
        self._cache.put(directory.key, listing)

    def _usable_fingerprints(self, directory: ScannedDirectory) -> tuple[bytes, bytes]:
        """Of the entries and of the subdirectories' listings, if the next run may conclude from equal ones that nothing has changed."""
        racy_from_ns = self._scan_start_ns - CLOCK_GRANULARITY_NS
        if directory.steady and directory.fingerprint and all(st.st_ctime_ns < racy_from_ns for _, st in directory.entries):
            return directory.fingerprint, Children.of(directory.nodes).fingerprint()
        return b"", b""

    def _count(self, directory: ScannedDirectory) -> None:
        size_bytes = sum([node.size for node in directory.nodes if node.kind == 1])
        directory.count += len(directory.nodes)
        directory.size_bytes += size_bytes
        self._count_as(len(directory.nodes), size_bytes)
        self._reader.report()

    def _count_as(self, entries: int, size_bytes: int) -> None:
        self.tally.source_files += entries
        self.tally.source_file_size += size_bytes
        self._monitor.count(Counter.SOURCE_ENTRIES, entries)
        self._monitor.count(Counter.SOURCE_BYTES, size_bytes)

    # -- what is gone ------------------------------------------------------------------------------------------------------------------------

    def _note_deleted(self, directory: ScannedDirectory) -> None:
        present = {node.name for node in directory.nodes}
        for name in directory.old.keys() - present:
            directory.changed = True
            self.tally.deleted_files += 1
            if directory.old[name].kind == Kind.DIRECTORY:
                self._forget_below(directory, name)

    def _forget_below(self, directory: ScannedDirectory, name: bytes) -> None:
        self.tally.deleted_files += self._forget(_join(directory.path, name))

    def _forget(self, path: bytes) -> int:
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
                    pending.append(_join(path, node.name))
        return count


def _may_take_over(old: Node, st: os.stat_result) -> bool:
    """The rest of the comparison, for nodes with extras: a device number matters only where it tells hard links apart."""
    extra = old.extra
    assert extra is not None
    return not extra.changed and extra.link_count == st.st_nlink and (st.st_nlink == 1 or old.device_id == st.st_dev)


def _same_but_device(old: Node, node: Node) -> bool:
    """Whether a directory is as it was; its device number may be another after each boot."""
    return msgspec.structs.replace(node, device_id=old.device_id) == old


def _join(path: bytes, name: bytes) -> bytes:
    return path + name if path == b"/" else path + b"/" + name
