"""What a tree of files really is, for comparing before and after.

Owns its own idea of a file: uses nothing of ``seedcorn.fs``, so that the two can not be wrong in the same way. Works with descriptors throughout,
because paths can be longer than the system accepts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace

from seedcorn.errors import printable

__all__ = ["Entry", "describe", "differences"]

Holes = tuple[tuple[int, int], ...]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Entry:
    """One file, of whatever kind, as the system shows it. What a kind does not have is 0, empty or None."""

    kind: str  # file, directory, symlink, fifo, char, block, socket
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int  # of a file
    digest: str | None  # of a file's content, holes being zeros; None if it can not be read
    xattrs: tuple[tuple[bytes, bytes], ...]
    target: bytes | None
    rdev: int
    link_group: bytes | None  # of a regular file with several names in the tree: the first of them in order of bytes
    holes: Holes


def describe(path: str | os.PathLike[str]) -> dict[bytes, Entry]:
    """Every entry below ``path`` by its path relative to that; the directory itself is ``b"."``."""
    found: dict[bytes, Entry] = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    top = os.open(path, _DIRECTORY)
    try:
        found[b"."] = _describe_entry(os.fstat(top), f"/proc/self/fd/{top}", follow=True)
        pending: list[tuple[bytes, ...]] = [()]
        while pending:
            components = pending.pop()
            with suppress(PermissionError), _below(top, components) as fd:  # a directory that is closed to us has been seen from outside
                for name in map(os.fsencode, os.listdir(fd)):
                    st = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    relative = b"/".join((*components, name))
                    found[relative] = _describe_entry(st, os.fsdecode(b"/proc/self/fd/%d/%b" % (fd, name)), follow=False)
                    if stat.S_ISDIR(st.st_mode):
                        pending.append((*components, name))
                    elif stat.S_ISREG(st.st_mode) and st.st_nlink > 1:
                        inodes.setdefault((st.st_dev, st.st_ino), []).append(relative)
    finally:
        os.close(top)
    for names in inodes.values():
        if len(names) > 1:
            for relative in names:
                found[relative] = replace(found[relative], link_group=min(names))
    return found


def differences(before: dict[bytes, Entry], after: dict[bytes, Entry], *, owners: bool = True, holes: bool = True) -> list[str]:
    """What is not the same, one sentence each; empty if nothing differs. Sockets count as absent: they are not backed up.

    ``owners=False``: as an ordinary user sees it: no owners, and no attributes or set-id bits that only root could have set.
    """
    result = []
    for relative in sorted(before.keys() | after.keys()):
        ours, theirs = before.get(relative), after.get(relative)
        if (ours is None or ours.kind == "socket") and (theirs is None or theirs.kind == "socket"):
            continue
        name = printable(relative[-200:])
        if ours is None or theirs is None:
            result.append(f"{name}: only {'after' if ours is None else 'before'}")
            continue
        if not owners:
            ours, theirs = _without_owner(ours), _without_owner(theirs)
        for field in fields(Entry):
            one, other = getattr(ours, field.name), getattr(theirs, field.name)
            if one != other and (holes or field.name != "holes"):
                shown = [oct(value) if field.name == "mode" else _short(value) for value in (one, other)]
                result.append(f"{name}: {field.name} was {shown[0]} and is {shown[1]}")
    return result


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


def _describe_entry(st: os.stat_result, path: str, *, follow: bool) -> Entry:
    kind = _KINDS[stat.S_IFMT(st.st_mode)]
    digest, holes = _describe_content(path, st.st_size) if kind == "file" else (None, ())
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(st.st_mode),
        uid=st.st_uid,
        gid=st.st_gid,
        mtime_ns=st.st_mtime_ns,
        size=st.st_size if kind == "file" else 0,
        digest=digest,
        xattrs=_describe_xattrs(path, follow),
        target=os.fsencode(os.readlink(path)) if kind == "symlink" else None,
        rdev=st.st_rdev if kind in ("char", "block") else 0,
        link_group=None,
        holes=holes,
    )


def _describe_content(path: str, size: int) -> tuple[str | None, Holes]:
    try:
        fd = os.open(path, _READ)
    except PermissionError:
        return None, ()
    try:
        holes = tuple(_find_holes(fd, size))
        digest = hashlib.blake2b(digest_size=16)
        for block in _blocks_with_data(size, holes):
            data = os.pread(fd, _BLOCK, block * _BLOCK)
            if data.strip(b"\0"):
                digest.update(b"%d:" % block + data)
        return digest.hexdigest(), holes
    finally:
        os.close(fd)


def _find_holes(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        if data > at:
            yield at, data - at
        at = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size


def _blocks_with_data(size: int, holes: Holes) -> Iterator[int]:
    at = 0
    block = 0
    for offset, length in (*holes, (size, 0)):
        first, end = max(block, at // _BLOCK), -(-offset // _BLOCK)
        if offset > at:
            yield from range(first, end)
            block = max(block, end)
        at = offset + length


def _describe_xattrs(path: str, follow: bool) -> tuple[tuple[bytes, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=follow)
        return tuple(sorted((os.fsencode(name), os.getxattr(path, name, follow_symlinks=follow)) for name in names))
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EACCES):
            return ()
        raise


@contextmanager
def _below(top: int, components: tuple[bytes, ...]) -> Iterator[int]:
    fd = os.dup(top)
    try:
        for name in components:
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _without_owner(entry: Entry) -> Entry:
    xattrs = tuple(item for item in entry.xattrs if not item[0].startswith((b"security.", b"trusted.")))
    return replace(entry, uid=0, gid=0, mode=entry.mode & 0o1777, xattrs=xattrs)


def _short(value: object) -> str:
    text = printable(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= 120 else text[:120] + "…"
