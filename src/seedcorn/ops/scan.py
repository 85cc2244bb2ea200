"""From a directory tree to stored listings: walk, compare with the last run, read what changed. The hot path of a backup.

Each directory is listed once, its entries merged with the cached listing of the last run. An entry whose size, times, inode and mode are as they
were is taken over unread; a directory in which nothing changed is taken over whole, its listing not even encoded. Everything else is read into the
writer. Invariant: a node is only taken over if every frame that holds its content is known to be in the store.

Cost matters here: a system has hundreds of thousands of files, so there is one stat per entry, no path is joined per file, and nothing is allocated
that is thrown away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import SourceError, printable
from seedcorn.events import Counter, Monitor
from seedcorn.format.tree import Extra, Kind, Node, content_records, decode_own_nodes, encode_nodes
from seedcorn.fs.content import ContentReader, holes_of
from seedcorn.fs.metadata import XattrReader, error_text, node_from_stat
from seedcorn.fs.selection import CACHE_TAG_NAME, is_cache_directory
from seedcorn.fs.walk import Listed, list_directory, open_directory, open_source_file
from seedcorn.repo.state import CachedListing, FrameSet, State
from seedcorn.repo.writer import StoredContent, Writer

__all__ = ["ScanOptions", "Tally", "TreeScanner"]

CLOCK_GRANULARITY_NS = 2 * 10**9  # the coarsest time stamps of file systems in use (FAT, some network file systems)
_CACHE_FLUSH_BYTES = 16 << 20
_NO_EXTRA = Extra()

Excluded = Callable[[bytes, bytes, bool], bool]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``excluded(path, name, is_directory)`` is None if nothing is excluded by pattern."""

    excluded: Excluded | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False  # read every file, whatever the last run knew


@dataclass(slots=True)
class Tally:
    """What the scan has counted; the words are those of ``Statistics``."""

    source_files: int = 0
    source_file_size: int = 0
    new_files: int = 0
    new_file_size: int = 0
    deleted_files: int = 0
    changed_files: int = 0
    changed_file_size: int = 0
    changed_delta_size: int = 0
    read_bytes: int = 0
    deduplicated_bytes: int = 0
    users: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    errors: list[SourceError] = field(default_factory=list)


class _Directory:
    """A directory in the middle of being scanned."""

    __slots__ = (
        "at",
        "cached",
        "changed",
        "entries",
        "fd",
        "frames",
        "key",
        "name",
        "nodes",
        "old",
        "path",
        "racy_from_ns",
        "reread",
        "reused",
        "st",
    )

    def __init__(self, fd: int, path: bytes, name: bytes, st: os.stat_result) -> None:
        self.fd = fd
        self.path = path
        self.name = name
        self.st = st
        self.key = object_hash(path)[:16]
        self.entries: list[Listed] = []
        self.at = 0
        self.nodes: list[Node] = []
        self.frames: set[int] = set()
        self.reused: list[int] = []  # positions in ``nodes`` whose frames are not in ``frames`` yet
        self.changed = False
        self.reread = False  # a file was read again although nothing had changed, to be sure
        self.cached: CachedListing | None = None
        self.old: dict[bytes, Node] = {}
        self.racy_from_ns = 0


@dataclass(slots=True)
class _Linked:
    """A file with several names, until all of them have been seen."""

    node: Node
    frames: set[int]
    unseen: int


class _PlainReader:
    """Reads an open file without holes. One object for all files, because one each would show in the profile."""

    __slots__ = ("fd",)
    fd: int

    def readinto(self, view: memoryview) -> int:
        return os.readv(self.fd, (view,))


class TreeScanner:
    """Scans any number of trees into one writer. ``frames`` collects the ordinals of all frames that the result needs."""

    def __init__(self, writer: Writer, state: State, options: ScanOptions, scan_start_ns: int, monitor: Monitor) -> None:
        self._writer = writer
        self._state = state
        self._options = options
        self._scan_start_ns = scan_start_ns
        self._monitor = monitor
        self._xattrs = XattrReader()
        self._plain = _PlainReader()
        self._hard_links: dict[tuple[int, int], _Linked] = {}
        self._new_listings: list[tuple[bytes, CachedListing | None]] = []
        self._new_contents: list[tuple[bytes, bytes | None]] = []
        self._unflushed_bytes = 0
        self.frames = FrameSet()
        self.tally = Tally()

    # -- trees -------------------------------------------------------------------------------------------------------------------------------

    def scan(self, dir_fd: int, name: bytes, path: bytes) -> Node | None:
        """The node for one path given to the backup: ``name`` in ``dir_fd``, called ``path`` in messages. None if it can not be stored."""
        try:
            st = os.lstat(name, dir_fd=dir_fd) if name else os.fstat(dir_fd)
        except OSError as error:
            self.fail(path, error)
            return None
        if stat.S_ISDIR(st.st_mode):
            return self._scan_tree(dir_fd, name, path, st)
        return self._scan_entry(dir_fd, name, path, st)

    def flush(self) -> None:
        """Bring the cached listings into the state."""
        self._state.put_listings(self._new_listings, self._new_contents)
        self._new_listings, self._new_contents, self._unflushed_bytes = [], [], 0

    def _scan_entry(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> Node | None:
        """A path that is not a directory: cached like a directory with this one entry."""
        lone = _Directory(dir_fd, os.path.dirname(path), name, st)
        lone.key = object_hash(path)[:16]
        lone.entries = [(name, st)]
        self._recall(lone)
        self._scan_entries(lone, st.st_dev)
        self._count_entries(lone)
        if lone.cached is None or lone.changed or lone.reread:
            nodes = self._with_known_frames(lone)
            bitmap = FrameSet(lone.frames)
            self._cache(lone.key, b"", 0, bitmap.serialize(), (encode_nodes(nodes),))
        else:
            nodes, bitmap = lone.nodes, FrameSet.deserialize(lone.cached.frames)
        self.frames |= bitmap
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
                node = self._leave(stack.pop())
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
        directory = _Directory(fd, path, name, st)
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
            directory.racy_from_ns = 0 if self._options.force else cached.scan_start_ns - CLOCK_GRANULARITY_NS
            directory.old = {node.name: node for run in cached.runs for node in decode_own_nodes(run)}

    def _excluded(self, path: bytes, entry: Listed) -> bool:
        name, st = entry
        assert self._options.excluded is not None
        return self._options.excluded(_join(path, name), name, stat.S_ISDIR(st.st_mode))

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _scan_entries(self, directory: _Directory, device_id: int) -> _Directory | None:
        """Go on with the entries of a directory. A subdirectory is returned, to be scanned first; None at the end."""
        entries, nodes, old_nodes, reused = directory.entries, directory.nodes, directory.old, directory.reused
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
                reused.append(len(nodes))
                nodes.append(old)
                continue
            node = self._new_node(directory, name, st, old)
            if node is None:
                directory.changed = directory.changed or old is not None
                continue
            if node == old:
                directory.reread = True
            else:
                directory.changed = True
            nodes.append(node)
        directory.at = at
        return None

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
        xattrs = self._read_xattrs(directory.path, lambda: self._xattrs.of_open(directory.fd, st.st_dev))
        os.close(directory.fd)
        self._count_entries(directory)
        if len(directory.old) > 0:
            self._note_deleted(directory)
        if cached is None or directory.changed:
            content, depth = self._store_listing(directory)
        else:
            content, depth = cached.content, cached.depth
            self.frames |= FrameSet.deserialize(cached.frames)
            if directory.reread:
                self._cache(directory.key, cached.content, cached.depth, cached.frames, cached.runs)
        extra = Extra(xattrs=xattrs, depth=depth) if xattrs or depth else None
        return node_from_stat(directory.name, st, Kind.DIRECTORY, content, extra, entries=len(directory.nodes))

    def _store_listing(self, directory: _Directory) -> tuple[bytes, int]:
        nodes, frames = self._with_known_frames(directory), directory.frames
        content, depth, runs = self._writer.store_listing(nodes, frames)
        bitmap = FrameSet(frames)
        self.frames |= bitmap
        self._cache(directory.key, content, depth, bitmap.serialize(), tuple(runs))
        return content, depth

    def _with_known_frames(self, directory: _Directory) -> list[Node]:
        """The nodes, after the frames of those that were taken over have been added to the directory's. A file of which the store is not known to
        hold everything (it may have been lost and repaired away) is read again."""
        nodes = directory.nodes
        lost = [position for position in directory.reused if not self._frames_of(nodes[position], directory.frames)]
        if not lost:
            return nodes
        st_of = dict(directory.entries)
        fresh = {position: self._new_node(directory, nodes[position].name, st_of[nodes[position].name], nodes[position]) for position in lost}
        kept = [fresh.get(position, node) for position, node in enumerate(nodes)]
        directory.nodes = [node for node in kept if node is not None]
        return directory.nodes

    def _cache(self, key: bytes, content: bytes, depth: int, frames: bytes, runs: tuple[bytes, ...]) -> None:
        listing = CachedListing(self._state.epoch, self._writer.session_number, self._scan_start_ns, content, depth, frames, runs)
        self._new_listings.append((key, listing))
        self._unflushed_bytes += sum(map(len, runs)) + len(frames)
        if self._unflushed_bytes > _CACHE_FLUSH_BYTES:
            self.flush()

    def _note_deleted(self, directory: _Directory) -> None:
        present = {node.name for node in directory.nodes}
        for name in directory.old.keys() - present:
            directory.changed = True
            self._forget(_join(directory.path, name), directory.old[name])

    def _forget(self, path: bytes, node: Node) -> None:
        """Count a vanished entry and all below it, and take its listings out of the cache."""
        pending = [(path, node)]
        while pending:
            path, node = pending.pop()
            self.tally.deleted_files += 1
            if node.kind == Kind.DIRECTORY:
                key = object_hash(path)[:16]
                cached = self._state.listing(key)
                self._new_listings.append((key, None))
                if cached is not None:
                    pending += [(_join(path, child.name), child) for run in cached.runs for child in decode_own_nodes(run)]
            elif node.extra is not None and node.extra.depth:
                self._new_contents.append((object_hash(node.content)[:16], None))

    def _frames_of(self, node: Node, frames: set[int]) -> bool:
        """Add the frames that hold a file's content; False if that is not known of all of it."""
        if not node.content:
            return True
        if node.extra is not None and node.extra.depth:
            packed = self._state.content_frames(object_hash(node.content)[:16])
            if packed is None or not self._state.all_indexed(packed):
                return False
            frames.update(FrameSet.deserialize(packed))
            return True
        ordinals = [self._writer.known(chunk_id) for chunk_id, _ in content_records(node.content)]
        if None in ordinals:
            return False
        frames.update(ordinal for ordinal in ordinals if ordinal is not None)
        return True

    # -- one entry that is new or changed ----------------------------------------------------------------------------------------------------

    def _new_node(self, directory: _Directory, name: bytes, st: os.stat_result, old: Node | None) -> Node | None:
        """Read an entry that is not a directory; None if it is not stored."""
        kind = Kind.of_mode(st.st_mode)
        if kind is None:
            if stat.S_ISSOCK(st.st_mode):
                self._monitor.note(f"{printable(_join(directory.path, name))}: is a socket, not stored")
            else:
                self.fail(_join(directory.path, name), OSError(f"is of a kind that can not be stored (mode {st.st_mode:o})"))
            return None
        self.tally.users.add(st.st_uid)
        self.tally.groups.add(st.st_gid)
        new_before = self._writer.new_data_bytes
        node = self._file(directory, name, st) if kind is Kind.FILE else self._special(directory, name, st, kind)
        if node is None:
            return None
        if old is None or old.kind != node.kind:
            self.tally.new_files += 1
            self.tally.new_file_size += node.size
        elif node != old:
            self.tally.changed_files += 1
            self.tally.changed_file_size += node.size
            self.tally.changed_delta_size += self._writer.new_data_bytes - new_before
        return node

    def _special(self, directory: _Directory, name: bytes, st: os.stat_result, kind: Kind) -> Node | None:
        try:
            target = os.readlink(name, dir_fd=directory.fd) if kind is Kind.SYMLINK else None
        except OSError as error:
            self.fail(_join(directory.path, name), error)
            return None
        xattrs = self._read_xattrs(_join(directory.path, name), lambda: self._xattrs.of_entry(directory.fd, name, st.st_dev))
        device = st.st_rdev if kind in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE) else None
        link_count = st.st_nlink
        extra = Extra(target=target, device=device, xattrs=xattrs, link_count=link_count)
        return node_from_stat(name, st, kind, b"", extra if extra != _NO_EXTRA else None)

    def _file(self, directory: _Directory, name: bytes, st: os.stat_result) -> Node | None:
        if st.st_nlink == 1:
            return self._read_file(directory, name, st, directory.frames)
        link = (st.st_dev, st.st_ino)
        known = self._hard_links.get(link)
        if known is None or known.node.ctime_ns != st.st_ctime_ns:
            frames: set[int] = set()
            node = self._read_file(directory, name, st, frames)
            if node is None:
                return None
            known = self._hard_links[link] = _Linked(node, frames, st.st_nlink)
        known.unseen -= 1
        if known.unseen <= 0:
            del self._hard_links[link]
        directory.frames |= known.frames
        return msgspec.structs.replace(known.node, name=name)

    def _read_file(self, directory: _Directory, name: bytes, st: os.stat_result, frames: set[int]) -> Node | None:
        """Open and read a file, twice if it changes meanwhile."""
        try:
            fd = open_source_file(directory.fd, name, st.st_uid)
        except FileNotFoundError:
            self._monitor.note(f"{printable(_join(directory.path, name))}: has vanished since the directory was listed")
            return None
        except OSError as error:
            self.fail(_join(directory.path, name), error)
            return None
        try:
            changed = False
            stored, holes = self._read(fd, st, frames)
            after = os.fstat(fd)
            if not _same_state(st, after):
                if not stat.S_ISREG(after.st_mode):
                    raise OSError("was replaced by something that is not a file while it was being read")
                st = after
                stored, holes = self._read(fd, st, frames)
                changed = not _same_state(st, os.fstat(fd))
            return _file_node(name, st, stored, holes, self._xattrs.of_open(fd, st.st_dev), changed)
        except OSError as error:
            self.fail(_join(directory.path, name), error)
            return None
        finally:
            os.close(fd)

    def _read(self, fd: int, st: os.stat_result, frames: set[int]) -> tuple[StoredContent, tuple[tuple[int, int], ...]]:
        size = st.st_size
        holes = holes_of(fd, st)
        if holes:
            size -= sum(length for _, length in holes)
            read_into = ContentReader(fd, st.st_size, holes).readinto
        else:
            os.lseek(fd, 0, os.SEEK_SET)
            self._plain.fd = fd
            read_into = self._plain.readinto
        own_frames: set[int] = set()
        stored = self._writer.store_content(read_into, size, own_frames)
        frames |= own_frames
        if stored.depth:
            self._new_contents.append((object_hash(stored.content)[:16], FrameSet(own_frames).serialize()))
        self.tally.read_bytes += stored.size
        self.tally.deduplicated_bytes += stored.size - stored.new_bytes
        self._monitor.count(Counter.READ_BYTES, stored.size)
        return stored, holes

    # -- counting and failing ----------------------------------------------------------------------------------------------------------------

    def _count_entries(self, directory: _Directory) -> None:
        size = sum(node.size for node in directory.nodes if node.kind == 1)
        self.tally.source_files += len(directory.nodes)
        self.tally.source_file_size += size
        self._monitor.count(Counter.SOURCE_ENTRIES, len(directory.nodes))
        self._monitor.count(Counter.SOURCE_BYTES, size)

    def _read_xattrs(self, path: bytes, read: Callable[[], tuple[tuple[bytes, bytes], ...]]) -> tuple[tuple[bytes, bytes], ...]:
        try:
            return read()
        except OSError as error:
            self.fail(path, error)
            return ()

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that ``path`` can not be read; the run goes on."""
        problem = SourceError(path, error_text(error))
        self.tally.errors.append(problem)
        self._monitor.error(problem)


def _may_take_over(old: Node, st: os.stat_result) -> bool:
    """The rest of the comparison, for nodes with extras: a device number matters only where it tells hard links apart."""
    extra = old.extra
    assert extra is not None
    return not extra.changed and extra.link_count == st.st_nlink and (st.st_nlink == 1 or old.device_id == st.st_dev)


def _same_state(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_ctime_ns == after.st_ctime_ns
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
    )


def _same_but_device(old: Node, node: Node) -> bool:
    """Whether a directory is as it was; its device number may be another after each boot."""
    return msgspec.structs.replace(node, device_id=old.device_id) == old


def _join(path: bytes, name: bytes) -> bytes:
    return path + name if path == b"/" else path + b"/" + name


def _file_node(
    name: bytes,
    st: os.stat_result,
    stored: StoredContent,
    holes: tuple[tuple[int, int], ...],
    xattrs: tuple[tuple[bytes, bytes], ...],
    changed: bool,
) -> Node:
    size = stored.size + sum(length for _, length in holes)
    if size != st.st_size:  # it was cut short under the reader, twice: what was read counts, as it came
        holes, size, changed = (), stored.size, True
    extra = None
    if holes or xattrs or changed or stored.depth or st.st_nlink > 1:
        extra = Extra(link_count=st.st_nlink, holes=holes, xattrs=xattrs, changed=changed, depth=stored.depth)
    node = node_from_stat(name, st, Kind.FILE, stored.content, extra)
    return node if node.size == size else msgspec.structs.replace(node, size=size)
