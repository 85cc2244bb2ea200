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

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.events import Counter, Monitor
from seedcorn.format.tree import Extra, Kind, Node, content_records, decode_own_nodes, encode_nodes
from seedcorn.fs.metadata import node_from_stat
from seedcorn.fs.selection import CACHE_TAG_NAME, is_cache_directory
from seedcorn.fs.walk import Listed, list_directory, open_directory
from seedcorn.ops.entries import EntryReader, Tally
from seedcorn.repo.state import CachedListing, FrameSet, State
from seedcorn.repo.writer import Writer

__all__ = ["ScanOptions", "TreeScanner"]

CLOCK_GRANULARITY_NS = 2 * 10**9  # the coarsest time stamps of file systems in use (FAT, some network file systems)
_CACHE_FLUSH_BYTES = 16 << 20

Excluded = Callable[[bytes, bytes, bool], bool]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``excluded(path, name, is_directory)`` is None if nothing is excluded by pattern."""

    excluded: Excluded | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False  # read every file, whatever the last run knew


class _Directory:
    """A directory in the middle of being scanned; or the stand-in for one, with a single entry, of a path that is not a directory."""

    def __init__(self, fd: int, path: bytes, key_path: bytes, name: bytes, st: os.stat_result) -> None:
        self.fd = fd
        self.path = path
        self.name = name
        self.st = st
        self.key = _listing_key(key_path)
        self.entries: list[Listed] = []
        self.at = 0
        self.nodes: list[Node] = []
        self.frames: set[int] = set()  # of files that were read, and at the end of everything
        self.long_contents: dict[bytes, bytes] = {}  # name -> frames (FrameSet) of each file whose content is indirect
        self.taken_over: list[int] = []  # positions in ``nodes`` whose frames are not in ``frames`` yet
        self.changed = False
        self.reread = False  # a file was read again although nothing had changed, to be sure
        self.cached: CachedListing | None = None
        self.old: dict[bytes, Node] = {}
        self.racy_from_ns = 0


class TreeScanner:
    """Scans any number of trees into one writer. ``frames`` collects the ordinals of all frames that the result needs."""

    def __init__(self, writer: Writer, state: State, options: ScanOptions, scan_start_ns: int, monitor: Monitor) -> None:
        self._writer = writer
        self._state = state
        self._options = options
        self._scan_start_ns = scan_start_ns
        self._monitor = monitor
        self._new_listings: list[tuple[bytes, CachedListing | None]] = []
        self._unflushed_bytes = 0
        self.frames = FrameSet()
        self.tally = Tally()
        self._reader = EntryReader(writer, self.tally, monitor)

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
            return self._scan_tree(dir_fd, name, path, st)
        return self._scan_entry(dir_fd, name, path, st)

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that ``path`` can not be read; the run goes on."""
        self._reader.fail(path, error)

    def flush(self) -> None:
        """Bring the cached listings into the state."""
        self._state.put_listings(self._new_listings)
        self._new_listings, self._unflushed_bytes = [], 0

    def _scan_entry(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> Node | None:
        """A path that is not a directory: cached like a directory with this one entry."""
        lone = _Directory(dir_fd, os.path.dirname(path), path, name, st)
        lone.entries = [(name, st)]
        self._recall(lone)
        if lone.old.keys() - {name}:  # it was a directory, whose listing lies under the same key
            self._forget(path)
            lone.old = {}
        self._scan_entries(lone, st.st_dev)
        self._count(lone)
        if lone.cached is None or lone.changed or lone.reread:
            nodes = self._with_known_frames(lone)
            self._cache(lone, b"", 0, (encode_nodes(nodes),))
        else:
            nodes = lone.nodes
            self.frames |= FrameSet.deserialize(lone.cached.frames)
        return nodes[0] if nodes else None

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
                node = self._leave(directory)
                os.close(stack.pop().fd)
                if not stack:
                    return node
                self._add_directory(stack[-1], node)
        finally:
            for directory in stack:
                os.close(directory.fd)

    def _enter(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> _Directory | None:
        try:
            fd = open_directory(name, dir_fd=dir_fd) if name else os.dup(dir_fd)
        except OSError as error:
            self.fail(path, error)
            return None
        directory = _Directory(fd, path, path, name, st)
        try:
            directory.entries, failed = list_directory(fd)
        except OSError as error:
            self.fail(path, error)
            directory.entries, failed = [], []
        for entry, reason in failed:
            self.fail(_join(path, entry), reason)
        if self._options.exclude_caches and is_cache_directory(fd):
            directory.entries = [entry for entry in directory.entries if entry[0] == CACHE_TAG_NAME]
        if self._options.excluded is not None:
            directory.entries = [entry for entry in directory.entries if not self._excluded(path, entry)]
        self._recall(directory)
        return directory

    def _recall(self, directory: _Directory) -> None:
        """What the last run knew of the directory."""
        cached = self._state.listing(directory.key)
        if cached is not None:
            directory.cached = cached
            directory.changed = self._options.force
            directory.racy_from_ns = 0 if self._options.force else cached.scan_start_ns - CLOCK_GRANULARITY_NS
            directory.old = {node.name: node for run in cached.runs for node in decode_own_nodes(run)}

    def _excluded(self, path: bytes, entry: Listed) -> bool:
        name, st = entry
        assert self._options.excluded is not None
        return self._options.excluded(_join(path, name), name, stat.S_ISDIR(st.st_mode))

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _scan_entries(self, directory: _Directory, device_id: int) -> _Directory | None:
        """Go on with the entries of a directory. A subdirectory is returned, to be scanned first; None at the end."""
        entries, nodes, old_nodes, taken_over = directory.entries, directory.nodes, directory.old, directory.taken_over
        racy_from_ns = directory.racy_from_ns
        at = directory.at
        count = len(entries)
        while at < count:
            name, st = entries[at]
            at += 1
            old = old_nodes.get(name)
            mode = st.st_mode
            if mode & 0o170000 == 0o040000:
                directory.at = at
                child = self._subdirectory(directory, name, st, device_id)
                if child is not None:
                    return child
                continue
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
            node = self._read(directory, name, st, old)
            if node is not None:
                nodes.append(node)
                if node == old:
                    directory.reread = True
                else:
                    directory.changed = True
        directory.at = at
        return None

    def _read(self, directory: _Directory, name: bytes, st: os.stat_result, old: Node | None) -> Node | None:
        """Read an entry that is new or may have changed, and count what it is."""
        new_before = self._writer.new_data_bytes
        entry = self._reader.read(directory.fd, name, _join(directory.path, name), st)
        if entry is None:
            return None
        node = entry.node
        directory.frames |= entry.frames
        if node.extra is not None and node.extra.depth:
            directory.long_contents[name] = FrameSet(entry.frames).serialize()
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

    def _subdirectory(self, directory: _Directory, name: bytes, st: os.stat_result, device_id: int) -> _Directory | None:
        path = _join(directory.path, name)
        if self._options.one_file_system and st.st_dev != device_id:
            self._add_directory(directory, node_from_stat(name, st, Kind.DIRECTORY))  # a mount point: the directory, without what is mounted on it
            return None
        child = self._enter(directory.fd, name, path, st)
        if child is None:
            self._add_directory(directory, node_from_stat(name, st, Kind.DIRECTORY))
        return child

    def _add_directory(self, directory: _Directory, node: Node) -> None:
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

    def _leave(self, directory: _Directory) -> Node:
        """Store the listing if anything in it is new, and make the directory's own node."""
        cached, st = directory.cached, directory.st
        self.tally.users.add(st.st_uid)
        self.tally.groups.add(st.st_gid)
        if directory.old:
            self._note_deleted(directory)
        if cached is None or directory.changed:
            nodes = self._with_known_frames(directory)
            content, depth, runs = self._writer.store_listing(nodes, directory.frames)
            self._cache(directory, content, depth, tuple(runs))
        else:
            content, depth = cached.content, cached.depth
            self.frames |= FrameSet.deserialize(cached.frames)
            if directory.reread:
                self._put(directory.key, msgspec.structs.replace(cached, scan_start_ns=self._scan_start_ns))
        self._count(directory)
        xattrs = self._reader.directory_xattrs(directory.fd, directory.path, st)
        extra = Extra(xattrs=xattrs, depth=depth) if xattrs or depth else None
        return node_from_stat(directory.name, st, Kind.DIRECTORY, content, extra, entries=len(directory.nodes))

    def _with_known_frames(self, directory: _Directory) -> list[Node]:
        """The nodes, after the frames of those that were taken over have been added to the directory's. A file of which the store is not known to
        hold everything (it may have been lost and repaired away) is read again."""
        nodes = directory.nodes
        lost = [position for position in directory.taken_over if not self._add_frames(directory, nodes[position])]
        if not lost:
            return nodes
        st_of = dict(directory.entries)
        fresh = {position: self._read(directory, nodes[position].name, st_of[nodes[position].name], nodes[position]) for position in lost}
        kept = [fresh.get(position, node) for position, node in enumerate(nodes)]
        directory.nodes = [node for node in kept if node is not None]
        return directory.nodes

    def _add_frames(self, directory: _Directory, node: Node) -> bool:
        """Add the frames that hold a file's content; False if that is not known of all of it."""
        if node.extra is not None and node.extra.depth:
            frames = directory.cached.long_contents.get(node.name) if directory.cached else None
            if frames is None:
                return False
            directory.long_contents[node.name] = frames
            directory.frames.update(FrameSet.deserialize(frames))
            return True
        for chunk_id, _ in content_records(node.content):
            ordinal = self._writer.known(chunk_id)
            if ordinal is None:
                return False
            directory.frames.add(ordinal)
        return True

    def _count(self, directory: _Directory) -> None:
        size = sum(node.size for node in directory.nodes if node.kind == 1)
        self.tally.source_files += len(directory.nodes)
        self.tally.source_file_size += size
        self._monitor.count(Counter.SOURCE_ENTRIES, len(directory.nodes))
        self._monitor.count(Counter.SOURCE_BYTES, size)

    # -- the cache ---------------------------------------------------------------------------------------------------------------------------

    def _cache(self, directory: _Directory, content: bytes, depth: int, runs: tuple[bytes, ...]) -> None:
        frames = FrameSet(directory.frames)
        self.frames |= frames
        number = self._writer.session_number
        listing = CachedListing(self._state.epoch, number, self._scan_start_ns, content, depth, frames.serialize(), runs, directory.long_contents)
        self._put(directory.key, listing)

    def _put(self, key: bytes, listing: CachedListing) -> None:
        self._new_listings.append((key, listing))
        self._unflushed_bytes += sum(map(len, listing.runs)) + len(listing.frames)
        if self._unflushed_bytes > _CACHE_FLUSH_BYTES:
            self.flush()

    def _note_deleted(self, directory: _Directory) -> None:
        present = {node.name for node in directory.nodes}
        for name in directory.old.keys() - present:
            directory.changed = True
            self.tally.deleted_files += 1
            if directory.old[name].kind == Kind.DIRECTORY:
                self._forget_below(directory, name)

    def _forget_below(self, directory: _Directory, name: bytes) -> None:
        self.tally.deleted_files += self._forget(_join(directory.path, name))

    def _forget(self, path: bytes) -> int:
        """Take the listings of a directory that is gone, and of all below it, out of the cache; how many entries they had."""
        count = 0
        pending = [path]
        while pending:
            path = pending.pop()
            key = _listing_key(path)
            cached = self._state.listing(key)
            self._new_listings.append((key, None))
            for node in (node for run in cached.runs for node in decode_own_nodes(run)) if cached else ():
                count += 1
                if node.kind == Kind.DIRECTORY:
                    pending.append(_join(path, node.name))
        return count


def _listing_key(path: bytes) -> bytes:
    return object_hash(path)[:16]


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
