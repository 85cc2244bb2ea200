"""One directory entry into a node: its metadata, its extended attributes, and its content read into the writer.

Owns what happens when a file changes, vanishes or can not be read meanwhile. Knows nothing of the last run: ``scan`` decides what is read at all.
Invariant: the size of a node is that of what was stored for it, whatever the file did.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from seedcorn.errors import SourceError, printable
from seedcorn.events import Counter, Monitor
from seedcorn.format.tree import NAME_LIMIT_BYTES, Extra, Kind, Node
from seedcorn.fs.content import ContentReader, Hole, cut_short, holes_of
from seedcorn.fs.metadata import XattrReader, Xattrs, error_text, node_from_stat
from seedcorn.fs.walk import open_source_file
from seedcorn.repo.content.writer import ReadInto, StoredContent, Writer

__all__ = ["EntryReader", "OwnListing", "ReadEntry", "Tally"]

OwnListing = tuple[bytes, int, int]  # of a directory: content, depth, number of entries

_NO_EXTRA = Extra()
_REPORT_BYTES = 1 << 20
LONG_BYTES = 64 << 20  # of a file that is not read at one go


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


class ReadEntry(NamedTuple):
    """A node, and the ordinals of the frames that hold its content."""

    node: Node
    frames: Collection[int]


@dataclass(slots=True)
class _Linked:
    """A file with several names, until all of them have been seen."""

    entry: ReadEntry
    unseen: int


class _PlainReader:
    """Reads an open file without holes. One object for all files, because one each would show in the profile."""

    __slots__ = ("fd",)
    fd: int

    def readinto(self, view: memoryview) -> int:
        return os.readv(self.fd, (view,))


class EntryReader:
    """Reads entries that are new or changed. Failures go to the monitor and the tally, and the entry is left out.

    ``heartbeat`` is called often while content is read: a single file may take days.
    """

    def __init__(self, writer: Writer, tally: Tally, monitor: Monitor, heartbeat: Callable[[], None]) -> None:
        self._writer = writer
        self._tally = tally
        self._monitor = monitor
        self._heartbeat = heartbeat
        self._xattrs = XattrReader()
        self._plain = _PlainReader()
        self._hard_links: dict[tuple[int, int], _Linked] = {}
        self._unreported_bytes = 0

    def read(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> ReadEntry | None:
        """The entry ``name`` of ``dir_fd`` (``path`` in messages), which is not a directory; None if it can not be stored."""
        kind = Kind.of_mode(st.st_mode)
        if kind is None:
            if stat.S_ISSOCK(st.st_mode):
                self._monitor.note(f"{printable(path)}: is a socket, not stored")
            else:
                self.fail(path, OSError(f"is of a kind that can not be stored (mode {st.st_mode:o})"))
            return None
        if self.refuses(name, path):
            return None
        self._tally.users.add(st.st_uid)
        self._tally.groups.add(st.st_gid)
        if kind is not Kind.FILE:
            return self._special(dir_fd, name, path, st, kind)
        return self._file(dir_fd, name, path, st) if st.st_nlink == 1 else self._linked(dir_fd, name, path, st)

    def refuses(self, name: bytes, path: bytes) -> bool:
        """Whether a name is longer than readers accept, which is said: its node would take those beside it with it."""
        if len(name) <= NAME_LIMIT_BYTES:
            return False
        self.fail(path, OSError(f"has a name of {len(name)} bytes, and at most {NAME_LIMIT_BYTES} can be stored"))
        return True

    def read_again(self, dir_fd: int, name: bytes, path: bytes) -> ReadEntry | None:
        """As ``read``, of what was a file when the directory was listed."""
        try:
            st = os.lstat(name, dir_fd=dir_fd)
            if stat.S_ISDIR(st.st_mode):
                raise OSError("was replaced by a directory while the directory that it is in was being read")
        except OSError as error:
            self._fail_unless_gone(path, error)
            return None
        return self.read(dir_fd, name, path, st)

    def directory(self, fd: int, name: bytes, path: bytes, st: os.stat_result, listing: OwnListing) -> Node:
        """The node of an open directory."""
        content, depth, entries = listing
        xattrs = self._xattrs_of(path, lambda: self._xattrs.of_open(fd, st.st_dev))
        extra = Extra(xattrs=xattrs or (), depth=depth) if xattrs or depth else None
        node = node_from_stat(name, st, Kind.DIRECTORY, content, extra, entries=entries)
        return node if xattrs is not None else _incomplete(node)

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that ``path`` can not be read; the run goes on."""
        problem = SourceError(path, error_text(error))
        self._tally.errors.append(problem)
        self._monitor.error(problem)

    def _fail_unless_gone(self, path: bytes, error: OSError) -> None:
        """What has vanished since its directory was listed is no failure: a little later it would not have been listed."""
        if isinstance(error, FileNotFoundError):
            self._monitor.note(f"{printable(path)}: has vanished since the directory was listed")
        else:
            self.fail(path, error)

    def _special(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result, kind: Kind) -> ReadEntry | None:
        try:
            target = os.readlink(name, dir_fd=dir_fd) if kind is Kind.SYMLINK else None
            if target == b"":
                raise OSError("is a link to nothing, which can not be stored")
        except OSError as error:
            self._fail_unless_gone(path, error)
            return None
        xattrs = self._xattrs_of(path, lambda: self._xattrs.of_entry(dir_fd, name, st.st_dev))
        device = st.st_rdev if kind in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE) else None
        extra = Extra(target=target, device=device, xattrs=xattrs or (), link_count=st.st_nlink)
        node = node_from_stat(name, st, kind, b"", extra if extra != _NO_EXTRA else None)
        return ReadEntry(node if xattrs is not None else _incomplete(node), ())

    def _linked(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> ReadEntry | None:
        """A file with several names: read under the first, taken over under the others."""
        link = (st.st_dev, st.st_ino)
        known = self._hard_links.get(link)
        if known is None or known.entry.node.ctime_ns != st.st_ctime_ns:
            entry = self._file(dir_fd, name, path, st)
            if entry is None or entry.node.inode != st.st_ino:  # another file has taken this name, and says nothing of the other ones
                return entry
            known = self._hard_links[link] = _Linked(entry, st.st_nlink)
        known.unseen -= 1
        if known.unseen <= 0:
            del self._hard_links[link]
        return ReadEntry(msgspec.structs.replace(known.entry.node, name=name), known.entry.frames)

    def _file(self, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> ReadEntry | None:
        """Open and read a file, twice if it changes meanwhile."""
        try:
            fd = open_source_file(dir_fd, name, st.st_uid)
        except OSError as error:
            self._fail_unless_gone(path, error)
            return None
        try:
            stored, holes = self._content(fd, st)
            after = os.fstat(fd)
            changed = False
            if not _same_state(st, after):
                if not stat.S_ISREG(after.st_mode):
                    raise OSError("was replaced by something that is not a file while it was being read")
                st = after
                os.lseek(fd, 0, os.SEEK_SET)
                stored, holes = self._content(fd, st)
                changed = not _same_state(st, os.fstat(fd))
            xattrs = self._xattrs_of(path, lambda: self._xattrs.of_open(fd, st.st_dev))
            node = _file_node(name, st, stored, holes, xattrs or (), changed)
            return ReadEntry(node if xattrs is not None else _incomplete(node), stored.frames)
        except OSError as error:
            self.fail(path, error)
            return None
        finally:
            os.close(fd)

    def _content(self, fd: int, st: os.stat_result) -> tuple[StoredContent, tuple[Hole, ...]]:
        size = st.st_size
        holes = holes_of(fd, st)
        if holes:
            size -= sum(length for _, length in holes)
            read_into = ContentReader(fd, st.st_size, holes).readinto
        else:
            self._plain.fd = fd
            read_into = self._plain.readinto
        stored = self._writer.store_content(self._beating(read_into) if size > LONG_BYTES else read_into, size)
        self._tally.read_bytes += stored.size
        self._tally.deduplicated_bytes += stored.size - stored.new_bytes
        self._unreported_bytes += stored.size
        if self._unreported_bytes > _REPORT_BYTES:
            self.report()
            self._heartbeat()
        return stored, holes

    def _beating(self, read_into: ReadInto) -> ReadInto:
        def read(view: memoryview) -> int:
            self._heartbeat()
            return read_into(view)

        return read

    def report(self) -> None:
        """Tell the monitor of what has been read: not for every file, because that would show in the profile."""
        if self._unreported_bytes:
            self._monitor.count(Counter.READ_BYTES, self._unreported_bytes)
            self._unreported_bytes = 0

    def _xattrs_of(self, path: bytes, read: Callable[[], Xattrs]) -> Xattrs | None:
        """What ``read`` gives; None if they can not be read, which is said. The entry itself is stored all the same."""
        try:
            return read()
        except OSError as error:
            self.fail(path, error)
            return None


def _incomplete(node: Node) -> Node:
    """A node of which the next run will not believe that it is as it was, so that it looks, and says what is missing, once more."""
    return msgspec.structs.replace(node, ctime_ns=0)


def _same_state(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_ctime_ns == after.st_ctime_ns
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
    )


def _file_node(name: bytes, st: os.stat_result, stored: StoredContent, holes: tuple[Hole, ...], xattrs: Xattrs, changed: bool) -> Node:
    size = stored.size + sum(length for _, length in holes)
    if size != st.st_size:  # it was cut short under the reader, twice: what was read counts
        size, holes = cut_short(st.st_size, holes, stored.size)
        changed = True
    extra = None
    if holes or xattrs or changed or stored.depth or st.st_nlink > 1:
        extra = Extra(link_count=st.st_nlink, holes=holes, xattrs=xattrs, changed=changed, depth=stored.depth)
    node = node_from_stat(name, st, Kind.FILE, stored.content, extra)
    return node if node.size == size else msgspec.structs.replace(node, size=size)
