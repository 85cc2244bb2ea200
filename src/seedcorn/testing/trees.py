"""Trees with every kind of file and every ugly name. ``describe`` and ``differences``, for comparing before and after, come along.

Owns the zoo. Works with descriptors throughout, because paths in these trees are longer than the system accepts.
"""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from seedcorn.errors import printable
from seedcorn.testing.tree_state import Entry, describe, differences

__all__ = ["Entry", "describe", "differences", "make_every_kind"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 16
_DEEP_LEVELS = 25
_MANY_ENTRIES = 3_000

SIZES = sorted({0, 1} | {size + delta for size in (2, 64, 4096, 8192, 65_536, 1 << 20, 5 << 20) for delta in (-1, 0, 1)})

NAMES = (
    b" ",
    b" leading and trailing ",
    b"-rf",
    b"--help",
    b"...",
    b"..hidden",
    b"new\nline",
    b"tab\there",
    b"carriage\rreturn",
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"\x01\x7f",
    b"bell\x07",
    b"latin-1 \xe9t\xe9",
    b"\xff\xfe",
    b"\xed\xa0\x80 encoded surrogate",
    b"cut short \xe2\x82",
    "emoji \N{SEEDLING}\N{ZERO WIDTH JOINER}\N{EAR OF MAIZE}".encode(),
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),  # composed (NFC)
    "cafe\N{COMBINING ACUTE ACCENT}".encode(),  # decomposed (NFD): another file
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe".encode(),
    b"*",
    b"?",
    b"[a-z]",
    b"'single'",
    b'"double"',
    b"back\\slash",
    b"\\",
    b"$HOME `id` $(id)",
    b"a;b&c|d<e>f",
    b"~",
    b"#comment",
    b"!negated",
    b"CON.txt:stream",
    b"n" * 255,
    b"\xc3\xa9" * 127 + b"x",
)

TIMES_NS = (
    0,
    -1,
    -1_000_000_001,
    -2_000_000_000_123_456_789,
    1,
    999_999_999,
    1_234_567_890_987_654_321,
    4_294_967_296_000_000_001,  # past 32 bits of seconds
    9_200_000_000_123_456_789,  # the year 2261
)


def make_every_kind(path: str | os.PathLike[str], *, as_root: bool) -> list[str]:
    """Fill the empty directory ``path`` with everything above, and return what this system refused to make, one message each."""
    refused: list[str] = []
    top = os.open(path, _DIRECTORY)
    try:
        for name, make in _MAKERS.items():
            with _new_directory(top, name) as fd:
                make(_Maker(fd, as_root, refused))
        _set_times(top)
    finally:
        os.close(top)
    return refused


@dataclass(frozen=True)
class _Maker:
    """Makes entries in one directory."""

    fd: int
    as_root: bool
    refused: list[str]

    def file(self, name: bytes, data: bytes = b"", mode: int = 0o644) -> None:
        fd = self.open(name)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def open(self, name: bytes) -> int:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=self.fd)

    def path(self, name: bytes) -> bytes:
        """Usable only while the directory is open, and whatever its real path is."""
        return b"/proc/self/fd/%d/%b" % (self.fd, name)

    def attempt(self, what: str, call: Callable[..., object], *arguments: object, **options: object) -> None:
        """Make a call that some systems refuse, and note it if this one does."""
        try:
            call(*arguments, **options)
        except OSError as error:
            self.refused.append(f"{what}: {error.strerror}")


def _make_sizes(maker: _Maker) -> None:
    random_bytes = random.Random(2008).randbytes(SIZES[-1])
    for size in SIZES:
        maker.file(b"text-%d" % size, (b"The part of the harvest that is kept back. " * (size // 40 + 1))[:size])
        maker.file(b"noise-%d" % size, random_bytes[:size])


def _make_sparse(maker: _Maker) -> None:
    data = random.Random(7).randbytes(_BLOCK)
    layouts = {  # name: offsets of data in blocks, length in bytes
        b"leading hole": ((3,), 4 * _BLOCK),
        b"middle hole": ((0, 9), 10 * _BLOCK),
        b"trailing hole": ((0,), 30 * _BLOCK),
        b"all hole": ((), 1 << 24),
        b"odd end": ((0, 5), 20 * _BLOCK + 12_345),
        b"many holes": (tuple(range(0, 200, 2)), 200 * _BLOCK),
        b"huge": ((1,), 1 << 33),
    }
    for name, (blocks, size) in layouts.items():
        fd = maker.open(name)
        for block in blocks:
            os.pwrite(fd, data, block * _BLOCK)
        os.ftruncate(fd, size)
        os.close(fd)


def _make_links(maker: _Maker) -> None:
    maker.file(b"first", b"one file, four names\n")
    os.mkdir(b"other", dir_fd=maker.fd)
    for name in (b"second", b"other/third", b"other/zz fourth"):
        os.link(b"first", name, src_dir_fd=maker.fd, dst_dir_fd=maker.fd)
    maker.file(b"apart", b"one file, four names\n")
    targets = {
        b"absolute": b"/etc/passwd",
        b"dangling": b"no/such/thing",
        b"to directory": b"other",
        b"up and out": b"../../../../../../etc",
        b"long": b"x/" * 2047 + b"y",
        b"not utf-8": b"\xff\xfe/\xe9",
        b"self": b"self",
        b"control": b"\x1b[2J\n",
    }
    for name, target in targets.items():
        os.symlink(target, name, dir_fd=maker.fd)
    os.link(b"absolute", b"absolute again", src_dir_fd=maker.fd, dst_dir_fd=maker.fd, follow_symlinks=False)


def _make_special(maker: _Maker) -> None:
    os.mkfifo(b"fifo", 0o640, dir_fd=maker.fd)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(maker.path(b"socket"))
        listening.listen()
    if maker.as_root:
        for name, kind, device in (
            (b"char", stat.S_IFCHR, (1, 3)),
            (b"block", stat.S_IFBLK, (7, 250)),
            (b"large number", stat.S_IFCHR, (511, 0xABCDE)),
        ):
            maker.attempt(f"device {printable(name)}", os.mknod, name, kind | 0o660, os.makedev(*device), dir_fd=maker.fd)


def _make_attributes(maker: _Maker) -> None:
    attributes = {
        b"user.text": b"value",
        b"user.empty": b"",
        b"user.binary": bytes(range(256)),
        "user.n\N{LATIN SMALL LETTER O WITH DIAERESIS}n-ascii".encode(): b"\xff\x00",
        b"user.\xff\xfe": b"name that is not UTF-8",
    }
    if maker.as_root:
        attributes[b"trusted.seedcorn"] = b"\x00secret"
    os.mkdir(b"directory", dir_fd=maker.fd)
    maker.file(b"all")
    maker.file(b"large")
    maker.file(b"read-only")
    for name in (b"all", b"directory"):
        for attribute, value in attributes.items():
            maker.attempt(printable(attribute), os.setxattr, maker.path(name), attribute, value)
    maker.attempt("large attribute", os.setxattr, maker.path(b"large"), b"user.large", b"v" * 2_000)
    maker.attempt("attribute", os.setxattr, maker.path(b"read-only"), b"user.kept", b"1")
    os.chmod(b"read-only", 0o400, dir_fd=maker.fd)
    if maker.as_root:
        maker.file(b"capability", mode=0o755)
        maker.attempt("security.capability", os.setxattr, maker.path(b"capability"), b"security.capability", _NET_BIND_CAPABILITY)
        os.symlink(b"nowhere", b"link with attribute", dir_fd=maker.fd)
        maker.attempt("attribute of a link", os.setxattr, maker.path(b"link with attribute"), b"trusted.link", b"1", follow_symlinks=False)


def _make_acls(maker: _Maker) -> None:
    def set_acl(name: bytes, attribute: bytes, acl: bytes) -> None:
        maker.attempt(printable(attribute), os.setxattr, maker.path(name), attribute, acl)

    maker.file(b"file", mode=0o640)
    set_acl(b"file", b"system.posix_acl_access", _acl(6, 4, 0, users={1234: 7}, groups={77: 5}, mask=7))
    maker.file(b"masked", mode=0o600)
    set_acl(b"masked", b"system.posix_acl_access", _acl(6, 6, 0, users={12: 6}, groups={}, mask=0))
    os.mkdir(b"directory", dir_fd=maker.fd)
    set_acl(b"directory", b"system.posix_acl_default", _acl(7, 5, 0, users={4321: 5}, groups={}, mask=5))
    set_acl(b"directory", b"system.posix_acl_access", _acl(7, 5, 0, users={4321: 1}, groups={9: 2}, mask=7))
    os.mkdir(b"directory/inherits", dir_fd=maker.fd)
    with _below(maker, b"directory") as below:
        below.file(b"without", mode=0o600)
        maker.attempt("removal of an ACL", os.removexattr, below.path(b"without"), b"system.posix_acl_access")


def _make_modes(maker: _Maker) -> None:
    for mode in (0o000, 0o111, 0o400, 0o444, 0o600, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        maker.file(b"file %04o" % mode, b"content", mode)
    for mode in (0o000, 0o111, 0o500, 0o700, 0o1777, 0o2775, 0o7777):
        name = b"directory %04o" % mode
        os.mkdir(name, dir_fd=maker.fd)
        with _below(maker, name) as below:
            below.file(b"inside")
        os.chmod(name, mode, dir_fd=maker.fd)


def _make_owners(maker: _Maker) -> None:
    if not maker.as_root:
        return
    for uid, gid in ((0, 0), (1, 2), (65534, 65534), (4_000_000_000, 3_000_000_000), (1000, 0)):
        name = b"%d-%d" % (uid, gid)
        maker.file(name, mode=0o644)
        os.symlink(name, b"link " + name, dir_fd=maker.fd)
        os.mkdir(b"directory " + name, dir_fd=maker.fd)
        for entry in (name, b"link " + name, b"directory " + name):
            os.chown(entry, uid, gid, dir_fd=maker.fd, follow_symlinks=False)
    maker.file(b"set-id of another")
    os.chown(b"set-id of another", 33, 34, dir_fd=maker.fd)
    os.chmod(b"set-id of another", 0o6755, dir_fd=maker.fd)  # noqa: S103  the mode is what is to be restored


def _make_names(maker: _Maker) -> None:
    for name in NAMES:
        maker.attempt(f"name {printable(name[:40])}", maker.file, name, b"content of " + name)
    with _new_directory(maker.fd, b"directories") as fd:
        for name in NAMES:
            maker.attempt(f"directory {printable(name[:40])}", os.mkdir, name, dir_fd=fd)


def _make_times(maker: _Maker) -> None:
    for time_ns in TIMES_NS:
        maker.file(b"file %d" % time_ns)
        os.symlink(b"x", b"link %d" % time_ns, dir_fd=maker.fd)
        os.mkdir(b"directory %d" % time_ns, dir_fd=maker.fd)
    # The times themselves are set at the very end, by _set_times, which finds them in the names.


def _make_deep(maker: _Maker) -> None:
    """A path of more than 4096 bytes: reachable by descriptors only."""
    fd = os.dup(maker.fd)
    for level in range(_DEEP_LEVELS):
        name = b"%02d-" % level + b"deep" * 50
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, _DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    _Maker(fd, maker.as_root, maker.refused).file(b"bottom", b"here")
    os.close(fd)


def _make_many(maker: _Maker) -> None:
    for number in range(_MANY_ENTRIES):
        os.close(maker.open(b"entry %d" % number))


def _make_empty(maker: _Maker) -> None:
    with _new_directory(maker.fd, b"a") as fd:
        os.mkdir(b"b", dir_fd=fd)


_MAKERS: dict[bytes, Callable[[_Maker], None]] = {
    b"acls": _make_acls,
    b"attributes": _make_attributes,
    b"deep": _make_deep,
    b"empty": _make_empty,
    b"links": _make_links,
    b"many": _make_many,
    b"modes": _make_modes,
    b"names": _make_names,
    b"owners": _make_owners,
    b"sizes": _make_sizes,
    b"sparse": _make_sparse,
    b"special": _make_special,
    b"times": _make_times,
}


def _set_times(top: int) -> None:
    times = os.open(b"times", _DIRECTORY, dir_fd=top)
    for name in sorted(os.listdir(times)):
        time_ns = int(name.rpartition(" ")[2])
        os.utime(name, ns=(time_ns, time_ns), dir_fd=times, follow_symlinks=False)
    os.close(times)
    for at, part in enumerate(sorted(_MAKERS)):
        time_ns = 1_000_000_000_000_000_001 + at * 86_400_000_000_007
        os.utime(part, ns=(time_ns, time_ns), dir_fd=top)


# Version 2 of the kernel's vfs_cap_data with the effective flag: CAP_NET_BIND_SERVICE permitted.
_NET_BIND_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)

_ACL_USER_OBJ, _ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY_IN_PARTICULAR = 0xFFFFFFFF


def _acl(owner: int, group: int, other: int, *, users: dict[int, int], groups: dict[int, int], mask: int) -> bytes:
    """The attribute form of a POSIX ACL: version 2, then (tag, permissions, id) in order of tag."""
    rows = [
        (_ACL_USER_OBJ, owner, _NOBODY_IN_PARTICULAR),
        *((_ACL_USER, permissions, uid) for uid, permissions in sorted(users.items())),
        (_ACL_GROUP_OBJ, group, _NOBODY_IN_PARTICULAR),
        *((_ACL_GROUP, permissions, gid) for gid, permissions in sorted(groups.items())),
        (_ACL_MASK, mask, _NOBODY_IN_PARTICULAR),
        (_ACL_OTHER, other, _NOBODY_IN_PARTICULAR),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


@contextmanager
def _new_directory(dir_fd: int, name: bytes) -> Iterator[int]:
    os.mkdir(name, dir_fd=dir_fd)
    fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _below(maker: _Maker, name: bytes) -> Iterator[_Maker]:
    fd = os.open(name, _DIRECTORY, dir_fd=maker.fd)
    try:
        yield _Maker(fd, maker.as_root, maker.refused)
    finally:
        os.close(fd)
