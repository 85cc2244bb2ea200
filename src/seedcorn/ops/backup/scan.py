"""From a directory tree to stored listings: walk, compare with the last run, read what changed. The hot path of a backup.

Each directory is listed once, its entries merged with the cached listing of the last run. An entry whose size, times, inode and mode are as they
were is taken over unread; a directory in which nothing changed is taken over whole, its listing not even encoded. Everything else is read into the
writer. Invariant: a node is only taken over if every frame that holds its content is known to be in the store.

Cost matters here: a system has hundreds of thousands of files, so there is one stat per entry and nothing is made that is thrown away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from seedcorn.events import Monitor
from seedcorn.format.tree import Kind, Node
from seedcorn.fs.metadata import node_from_stat
from seedcorn.fs.selection import CACHE_TAG_NAME, is_cache_directory
from seedcorn.fs.walk import Block, Listed, list_directory, open_directory
from seedcorn.ops.backup.ahead import Outlook
from seedcorn.ops.backup.entries import EntryReader, Tally
from seedcorn.ops.backup.listings import Listings
from seedcorn.ops.backup.recall import listing_key
from seedcorn.ops.backup.scanned import ScannedDirectory, path_below
from seedcorn.ops.backup.unchanged import fingerprint_of, is_same_directory, may_take_over, racy_from_ns
from seedcorn.repo.content.writer import Writer
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["ScanOptions", "TreeScanner"]

Excluded = Callable[[bytes, bytes, bool], bool]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``excluded(path, name, is_directory)`` is None if nothing is excluded by pattern."""

    excluded: Excluded | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False  # read every file, whatever the last run knew


class TreeScanner:
    """Scans any number of trees into one writer.

    ``heartbeat`` is called often, with the frames so far of directories that are done.
    """

    def __init__(
        self, writer: Writer, state: State, options: ScanOptions, scan_start_ns: int, monitor: Monitor, heartbeat: Callable[[FrameSet], None]
    ) -> None:
        self._writer = writer
        self._options = options
        self._heartbeat = heartbeat
        self.tally = Tally()
        self._reader = EntryReader(writer, self.tally, monitor, lambda: heartbeat(self.frames))
        self._listings = Listings(writer, state, self._reader, self.tally, scan_start_ns, monitor)

    @property
    def frames(self) -> FrameSet:
        """The ordinals of all frames that the result needs; it may be added to."""
        return self._listings.frames

    # -- trees -------------------------------------------------------------------------------------------------------------------------------

    def scan(self, dir_fd: int, name: bytes, path: bytes) -> Node | None:
        """The node for one path given to the backup: ``name`` in ``dir_fd``, called ``path`` in messages. None if it can not be stored."""
        try:
            st = os.lstat(name, dir_fd=dir_fd) if name else os.fstat(dir_fd)
        except OSError as error:
            self.fail(path, error)
            if isinstance(error, FileNotFoundError):
                self._listings.forget(path)
            return None
        if stat.S_ISDIR(st.st_mode):
            with Outlook(force=self._options.force) as self._outlook:
                return self._scan_tree(dir_fd, name, path, st)
        return self._scan_lone(dir_fd, name, path, st)

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that ``path`` can not be read; the run goes on."""
        self._reader.fail(path, error)

    def finish(self) -> None:
        """Bring what has been seen into the state."""
        self._listings.finish()

    def _scan_lone(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> Node | None:
        """A path that is not a directory: cached like a directory with this one entry."""
        lone = ScannedDirectory(dir_fd, os.path.dirname(path), name, st, iter(()))
        lone.key = listing_key(path)
        lone.entries = [(name, st)]
        self._recall(lone)
        if lone.recalled is not None:
            lone.old = lone.recalled.until(None)
            if lone.old.keys() - {name}:  # it was a directory, whose listing lies under the same key
                self._listings.forget(path)
                lone.old = {}
                lone.changed = True
        self._scan_entries(lone, st.st_dev)
        self._listings.end_lone(lone)
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
                    self._listings.end_block(directory)
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

    # -- one directory -----------------------------------------------------------------------------------------------------------------------

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
        self._listings.recall(directory)
        directory.changed = directory.recalled is not None and self._options.force

    def _begin_block(self, directory: ScannedDirectory) -> None:
        """The next entries of a directory, and what the last run knew of them."""
        entries = self._next_entries(directory)
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
        self._outlook.begin_block(directory)

    def _next_entries(self, directory: ScannedDirectory) -> list[Listed]:
        try:
            entries, failed, directory.last = next(directory.blocks)
        except OSError as error:
            self.fail(directory.path, error)
            entries, failed, directory.last, directory.steady = [], [], True, False
        for name, reason in failed:
            self.fail(path_below(directory.path, name), reason)
            directory.steady = False
        return entries

    def _excluded(self, path: bytes, entry: Listed) -> bool:
        name, st = entry
        assert self._options.excluded is not None
        return self._options.excluded(path_below(path, name), name, stat.S_ISDIR(st.st_mode))

    def _leave(self, directory: ScannedDirectory, parent: ScannedDirectory | None) -> Node | None:
        """Store the listing if anything in it is new, and make the directory's own node; None if the parent, unchanged so far, need only be told."""
        self._heartbeat(self.frames)
        st = directory.st
        self.tally.users.add(st.st_uid)
        self.tally.groups.add(st.st_gid)
        if directory.unchanged and (directory.changed_children or directory.children.fingerprint() != directory.last_listing.children):
            self._merge_children(directory)
        if directory.unchanged:
            own = self._listings.take_over(directory)
            if parent is not None and parent.unchanged:
                parent.children.add(directory.name, *own)
                return None
        else:
            self._listings.end_block(directory)
            own = self._listings.end(directory)
        return self._reader.directory(directory.fd, directory.name, directory.path, st, own)

    def _merge_children(self, directory: ScannedDirectory) -> None:
        """A directory whose own entries are as they were, with subdirectories that are not: its nodes after all."""
        assert directory.recalled is not None
        directory.unchanged = False
        directory.old = directory.recalled.until(None)
        for name, old in directory.old.items():
            if old.kind == Kind.DIRECTORY:
                self._add_directory(directory, directory.changed_children.get(name) or directory.children.node(old))
            else:
                directory.taken_over.append(len(directory.nodes))
                directory.nodes.append(old)

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _scan_entries(self, directory: ScannedDirectory, device_id: int) -> ScannedDirectory | None:
        """Go on with the entries of a block. A subdirectory is returned, to be scanned first; None at the end."""
        entries, nodes, old_nodes, taken_over = directory.entries, directory.nodes, directory.old, directory.taken_over
        racy_ns = 0
        if directory.recalled is not None and not self._options.force:
            racy_ns = racy_from_ns(directory.recalled.listing.scan_start_ns)
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
                and old.ctime_ns < racy_ns
                and (old.extra is None or may_take_over(old, st))
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
            self._outlook.look(directory)
        new_before = self._writer.new_data_bytes
        entry = self._reader.read(directory.fd, name, path_below(directory.path, name), st)
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
                self.tally.deleted_files += self._listings.forget(path_below(directory.path, name))
        elif node != old:
            self.tally.changed_files += 1
            self.tally.changed_file_size += node.size
            self.tally.changed_delta_size += self._writer.new_data_bytes - new_before
        return node

    def _subdirectory(self, directory: ScannedDirectory, name: bytes, st: os.stat_result, device_id: int) -> ScannedDirectory | None:
        if name == directory.ahead_last:
            self._outlook.look(directory)
        path = path_below(directory.path, name)
        if self._reader.refuses(name, path):
            directory.steady = False
            return None
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
            if is_same_directory(old, node):
                node = old
            else:
                directory.changed = True
        directory.nodes.append(node)
