"""The directories of one restore target, each reached by descriptor from the one above it and never by a path.

Owns a bounded cache of open descriptors; must never know files or nodes. Rules R1 to R3 of docs/threat-model.md. Invariant: a descriptor
that ``borrow`` gives out is the very directory that was created or verified when its handle was made, however often it was closed in between.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from seedcorn.errors import TargetError

__all__ = ["DirectoryCache", "DirectoryHandle", "DirectoryRecord"]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryRecord(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a directory that was made or verified: enough for another process to find the same one from the one above it."""

    serial: int  # counts up: a directory always comes after the one it is in
    name: bytes
    device_id: int
    inode: int
    fresh: bool
    inherits_acl: bool
    exact: bool


class DirectoryHandle:
    """One directory in the target; made by ``DirectoryCache`` only. ``fresh``: created in this run, so nothing can be in the way in it."""

    __slots__ = ("_fd", "_pins", "device_id", "exact", "fresh", "inherits_acl", "inode", "name", "owner", "parent", "record", "serial")

    def __init__(self, parent: DirectoryHandle | None, record: DirectoryRecord, owner: tuple[int, int]) -> None:
        self.parent = parent
        self.record = record
        self.serial = record.serial
        self.name = record.name
        self.device_id = record.device_id
        self.inode = record.inode
        self.fresh = record.fresh
        self.inherits_acl = record.inherits_acl  # it has a default ACL, which the kernel puts on whatever is created in it
        self.exact = record.exact  # what is created in it belongs to ``owner``, this process's user and group, and gets the mode that was asked for
        self.owner = owner
        self._fd = -1
        self._pins = 0

    def path(self) -> bytes:
        """Relative to the target; empty for the target itself."""
        names = []
        handle = self
        while handle.parent is not None:
            names.append(handle.name)
            handle = handle.parent
        return b"/".join(reversed(names))

    def path_of(self, name: bytes | None) -> bytes:
        """The path of an entry of this directory, or for None of itself, relative to the target, which is ``.``."""
        path = self.path()
        if name is None:
            return path or b"."
        return path + b"/" + name if path else name


class DirectoryCache:
    """Keeps at most ``limit`` directories open, besides those that are borrowed at the moment. All methods may be called from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[DirectoryHandle, None] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()
        self._serial = 0
        self._owner = (os.geteuid(), os.getegid())

    def adopt(self, parent: DirectoryHandle | None, name: bytes, fd: int, *, fresh: bool, inherits_acl: bool = False) -> DirectoryHandle:
        """The handle of the directory open as ``fd``, which belongs to the cache from now on."""
        st = os.fstat(fd)
        # A new entry's group is the process's or the directory's, as mode and mount options say; a network file system may map its user, a foreign
        # one give every entry the same mode. If the directory itself came out as it was asked for, everything in it will.
        exact = fresh and not inherits_acl and (st.st_uid, st.st_gid) == self._owner and st.st_mode & 0o777 == 0o700
        with self._lock:
            self._serial += 1
            record = DirectoryRecord(self._serial, name, st.st_dev, st.st_ino, fresh, inherits_acl, exact)
            handle = DirectoryHandle(parent, record, self._owner)
            handle._fd = fd
            self._open[handle] = None
            self._evict()
        return handle

    def adopt_root(self, record: DirectoryRecord, fd: int) -> DirectoryHandle:
        """The target itself, as another process has opened and recorded it.

        Raises:
            TargetError: ``fd`` is another directory.
        """
        handle = DirectoryHandle(None, record, self._owner)
        _verify(fd, handle)
        handle._fd = fd
        with self._lock:
            self._open[handle] = None
        return handle

    def know(self, parent: DirectoryHandle, record: DirectoryRecord) -> DirectoryHandle:
        """The handle of a directory that another process has recorded. It is opened, and verified, when it is first lent."""
        return DirectoryHandle(parent, record, self._owner)

    @contextmanager
    def borrow(self, handle: DirectoryHandle) -> Iterator[int]:
        """The descriptor of ``handle``, which stays open until the block ends.

        Raises:
            TargetError: another directory, or something else, now stands in its place.
            OSError: it can not be opened.
        """
        fd = self.pin(handle)
        try:
            yield fd
        finally:
            self.unpin(handle)

    def pin(self, handle: DirectoryHandle) -> int:
        """Like ``borrow``, until ``unpin``: for the calls that are made once for every file."""
        with self._lock:
            if handle._fd < 0:
                self._reopen(handle)
            else:
                self._open.move_to_end(handle)
            handle._pins += 1
            return handle._fd

    def unpin(self, handle: DirectoryHandle) -> None:
        """Give back what ``pin`` gave."""
        with self._lock:
            handle._pins -= 1

    def close(self) -> None:
        """Close every descriptor. Nothing may be borrowed."""
        with self._lock:
            for handle in self._open:
                os.close(handle._fd)
                handle._fd = -1
            self._open.clear()

    def _reopen(self, handle: DirectoryHandle) -> None:
        way = []
        at: DirectoryHandle | None = handle
        while at is not None and at._fd < 0:
            way.append(at)
            at = at.parent
        assert at is not None, "the target itself is always open"
        while way:
            below = way.pop()
            below._fd = self._open_verified(at._fd, below)
            self._open[below] = None
            self._evict(keep=below)  # on the way, because it can be longer than the cache
            at = below

    @staticmethod
    def _open_verified(parent_fd: int, handle: DirectoryHandle) -> int:
        fd = os.open(handle.name, _FLAGS, dir_fd=parent_fd)
        try:
            _verify(fd, handle)
        except TargetError:
            os.close(fd)
            raise
        return fd

    def _evict(self, keep: DirectoryHandle | None = None) -> None:
        for _ in range(len(self._open)):
            if len(self._open) <= self._limit:
                return
            handle, _none = self._open.popitem(last=False)
            if handle._pins or handle is keep or handle.parent is None:
                self._open[handle] = None
            else:
                os.close(handle._fd)
                handle._fd = -1


def _verify(fd: int, handle: DirectoryHandle) -> None:
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) != (handle.device_id, handle.inode):
        raise TargetError(handle.path_of(None), "another directory was put in its place during the restore")
