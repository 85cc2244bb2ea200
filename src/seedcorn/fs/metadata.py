"""What a file is besides its content: captured into a ``Node`` and applied from one, side by side, so that the round trip can be read in one place.

Owns owner, mode, times and extended attributes (POSIX ACLs and capabilities are extended attributes). Must never open a path that a repository names:
``apply_metadata`` works on what its caller holds. docs/format.md, section "Node". Invariant: a set-id bit is only ever set on a file that already
has the owner, or the group, that the bit was stored with.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from seedcorn.format.codec import NUMBER_LIMIT
from seedcorn.format.tree import Extra, Kind, Node

__all__ = [
    "ACCESS_ACL",
    "DEFAULT_ACL",
    "XATTRS_LIMIT_BYTES",
    "MetadataError",
    "XattrReader",
    "Xattrs",
    "apply_link_metadata",
    "apply_metadata",
    "error_text",
    "node_from_stat",
    "proc_path",
    "remove_other_xattrs",
]

Xattrs = tuple[tuple[bytes, bytes], ...]  # (name, value), sorted by name

ACCESS_ACL = b"system.posix_acl_access"
DEFAULT_ACL = b"system.posix_acl_default"
XATTRS_LIMIT_BYTES = 512 << 10  # of one entry, names and values: with them its node still fits into one listing chunk
MetadataError = (OSError, ValueError, OverflowError)  # a system call that fails, or that refuses a number or name no honest host stores

_ROOT_ONLY = (b"security.", b"trusted.")
_FIRST_NS, _LAST_NS = -(1 << 63), NUMBER_LIMIT  # the years 1677 and 2554: some file systems keep any time
_SET_ID = stat.S_ISUID | stat.S_ISGID
_ABSENT = frozenset({errno.ENODATA, errno.ENOENT})


class XattrReader:
    """Reads extended attributes; remembers which file systems have none, so that they cost nothing after the first entry."""

    def __init__(self) -> None:
        self._devices_without: set[int] = set()

    def of_open(self, fd: int, device_id: int) -> Xattrs:
        """Of an open file or directory on the file system ``device_id`` (its ``st_dev``).

        Raises:
            OSError: they are there and can not be read, or are too many to be stored.
        """
        return () if device_id in self._devices_without else self._read(fd, device_id)

    def of_entry(self, dir_fd: int, name: bytes, device_id: int) -> Xattrs:
        """Of the entry ``name`` itself (a symbolic link is not followed); nothing if it has vanished.

        Raises:
            OSError: they are there and can not be read, or are too many to be stored.
        """
        return () if device_id in self._devices_without else self._read(b"/proc/self/fd/%d/%b" % (dir_fd, name), device_id)

    def _read(self, where: int | bytes, device_id: int) -> Xattrs:
        follow = isinstance(where, int)  # a descriptor has nothing to follow, and the call insists on being told so
        try:
            names = os.listxattr(where, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                self._devices_without.add(device_id)
            elif error.errno not in _ABSENT:
                raise
            return ()
        if not names:
            return ()
        found = []
        for name in names:
            try:
                found.append((os.fsencode(name), os.getxattr(where, name, follow_symlinks=follow)))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
        size_bytes = sum(len(name) + len(value) for name, value in found)
        if size_bytes > XATTRS_LIMIT_BYTES:
            raise OSError(f"extended attributes of {size_bytes} bytes together, and at most {XATTRS_LIMIT_BYTES} can be stored of one file")
        return tuple(sorted(found))


def node_from_stat(name: bytes, st: os.stat_result, kind: Kind, content: bytes = b"", extra: Extra | None = None, *, entries: int = 0) -> Node:
    """The node of one entry. ``entries`` is the number of entries of a directory. A time that can not be stored becomes the nearest that can."""
    size = st.st_size if kind is Kind.FILE else entries
    mode = st.st_mode & 0o7777
    mtime_ns, ctime_ns = st.st_mtime_ns, st.st_ctime_ns
    if not (_FIRST_NS <= mtime_ns <= _LAST_NS and _FIRST_NS <= ctime_ns <= _LAST_NS):
        mtime_ns, ctime_ns = (min(max(time_ns, _FIRST_NS), _LAST_NS) for time_ns in (mtime_ns, ctime_ns))
    return Node(name, int(kind), mode, st.st_uid, st.st_gid, mtime_ns, ctime_ns, st.st_dev, st.st_ino, size, content, extra)


def apply_metadata(
    node: Node, where: int | str, *, as_root: bool, known_owner: tuple[int, int] | None = None, known_mode: int | None = None
) -> list[str]:
    """Make an entry what ``node`` says, and return a message for each thing that could not be done.

    ``where`` is a descriptor, or the ``proc_path`` of an ``O_PATH`` one for what can not be opened: symbolic links, FIFOs, devices. Content must be
    complete. As an ordinary user the entry keeps its owner, and ``security.*`` and ``trusted.*`` attributes are left out without a word: nobody but
    root could expect otherwise. ``known_owner`` (user, group) and ``known_mode`` are what a new entry has already: right ones are not set again.
    """
    # Owner first, because chown clears set-id bits and capabilities. Attributes before the mode: a read-only mode would keep an ordinary user from
    # setting them on their own file (and a mode that agrees with an access ACL leaves that as it is). Times last: all else may touch them.
    problems: list[str] = []
    if as_root and known_owner != (node.uid, node.gid):
        try:
            os.chown(where, node.uid, node.gid)
        except MetadataError as error:
            problems.append(f"owner {node.uid}:{node.gid} could not be set: {error_text(error)}")
    if node.extra is not None and node.extra.xattrs:
        _apply_xattrs(node.extra.xattrs, where, as_root, problems)
    if node.kind != Kind.SYMLINK and known_mode != node.mode:  # a link has no mode of its own on Linux
        _apply_mode(node, where, problems)
    try:
        os.utime(where, ns=(node.mtime_ns, node.mtime_ns))
    except MetadataError as error:
        problems.append(f"time of change could not be set: {error_text(error)}")
    return problems


def apply_link_metadata(node: Node, name: bytes, dir_fd: int, *, as_root: bool, known_owner: tuple[int, int]) -> list[str]:
    """As ``apply_metadata``, of a symbolic link without attributes, by its name in a directory that nobody else can reach."""
    problems: list[str] = []
    if as_root and known_owner != (node.uid, node.gid):
        try:
            os.chown(name, node.uid, node.gid, dir_fd=dir_fd, follow_symlinks=False)
        except MetadataError as error:
            problems.append(f"owner {node.uid}:{node.gid} could not be set: {error_text(error)}")
    try:
        os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
    except MetadataError as error:
        problems.append(f"time of change could not be set: {error_text(error)}")
    return problems


def remove_other_xattrs(where: int | str, node: Node, *, as_root: bool) -> None:
    """Take away the attributes that an existing directory has and ``node`` has not. Labels of the system's own security module stay."""
    wanted = {name for name, _ in node.extra.xattrs} if node.extra is not None else set()
    with suppress(OSError):
        for text in os.listxattr(where):
            name = os.fsencode(text)
            if name not in wanted and not name.startswith(b"security.") and (as_root or not name.startswith(_ROOT_ONLY)):
                os.removexattr(where, name)


def proc_path(fd: int) -> str:
    """A path for exactly the inode behind an ``O_PATH`` descriptor, for the calls that do not take such a descriptor."""
    return f"/proc/self/fd/{fd}"


def error_text(error: Exception) -> str:
    """The reason in a system call's failure, without the path it was made with."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _apply_mode(node: Node, where: int | str, problems: list[str]) -> None:
    mode = node.mode
    try:
        if mode & _SET_ID:
            # Whoever owns the file now would own what the bit confers.
            st = os.stat(where)
            if st.st_uid != node.uid:
                mode &= ~stat.S_ISUID
            if st.st_gid != node.gid:
                mode &= ~stat.S_ISGID
        os.chmod(where, mode)
    except MetadataError as error:
        problems.append(f"mode {mode:04o} could not be set: {error_text(error)}")


def _apply_xattrs(xattrs: Xattrs, where: int | str, as_root: bool, problems: list[str]) -> None:
    for name, value in xattrs:
        if not as_root and name.startswith(_ROOT_ONLY):
            continue
        try:
            os.setxattr(where, name, value)
        except MetadataError as error:
            problems.append(f"extended attribute {os.fsdecode(name)!r} could not be set: {error_text(error)}")
