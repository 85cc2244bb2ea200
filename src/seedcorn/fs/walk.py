"""Opening and listing what is to be backed up. Owns the flags with which sources are opened; must never know what is done with them.

Invariants: nothing here follows a symbolic link in the last component, blocks on a FIFO, or changes an access time where that can be avoided; and
memory does not depend on how many entries a directory has.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

__all__ = ["BLOCK_ENTRIES", "Block", "Listed", "list_directory", "open_directory", "open_leading_directory", "open_source_file"]

BLOCK_ENTRIES = 4096
Listed = tuple[bytes, os.stat_result]  # name and lstat of one directory entry

_NOATIME = getattr(os, "O_NOATIME", 0)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEADING = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ENCODING = sys.getfilesystemencoding()
_SORTED_NAMES = 32_768  # names that are sorted in memory at a time
_PIECE_BYTES = 16 << 10
_by_name = itemgetter(0)

# O_NOATIME is for a file's owner and for root only. The answer depends on nothing but the owner, because a process has one credential:
# owners that were refused once are not asked about again, which saves an ordinary user one failing call for each file of someone else.
_refused_owners: set[int] = set()


class Block(NamedTuple):
    """Some of a directory's entries: all names of one block come before those of the next. ``failed`` are those whose lstat failed, and why."""

    entries: list[Listed]
    failed: list[tuple[bytes, OSError]]
    last: bool


def open_directory(path: str | bytes, *, dir_fd: int | None = None) -> int:
    """A descriptor of the directory ``path``, which is relative to ``dir_fd`` if that is given. The caller closes it.

    Raises:
        OSError: not a directory (a symbolic link to one is not one), or not readable.
    """
    return _open(path, _DIRECTORY, dir_fd, None)


def open_leading_directory(path: bytes) -> int:
    """A descriptor of a directory that only leads to what is wanted: for ``fstat``, and for opening what is in it. The caller closes it.

    The person who asks needs no right to list it, as with ``/home`` on many machines; and it may be a symbolic link, since they named it.

    Raises:
        OSError: not a directory, or not to be reached.
    """
    return os.open(path, _LEADING)


def open_source_file(dir_fd: int, name: bytes, owner: int | None = None) -> int:
    """A descriptor for reading ``name``. The caller closes it, and checks with ``fstat`` that it is still what the listing said.

    ``owner`` is the entry's ``st_uid``; with it the right flags are known at once.

    Raises:
        OSError: vanished, replaced by a symbolic link, or not readable.
    """
    return _open(name, _FILE, dir_fd, owner)


def list_directory(fd: int, *, block_entries: int = BLOCK_ENTRIES) -> Iterator[Block]:
    """The entries of an open directory sorted by name bytes, in blocks of at most ``block_entries``; one block for an ordinary directory.

    An entry that vanishes before its lstat is in none. ``fd`` has to stay open until the last block has been taken.

    Raises:
        OSError: the directory itself can not be read, or not even its names can be kept in a temporary file.
    """
    listed: list[Listed] = []
    failed: list[tuple[bytes, OSError]] = []
    append = listed.append
    with os.scandir(fd) as entries:
        for entry in islice(entries, block_entries):
            name = entry.name.encode(_ENCODING, "surrogateescape")  # os.fsencode, without its type checks
            try:
                append((name, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append((name, error))
        following = next(entries, None)
        if following is not None:
            seen = chain(map(_by_name, listed), map(_by_name, failed))
            names = _sorted(chain(seen, (entry.name.encode(_ENCODING, "surrogateescape") for entry in chain((following,), entries))))
    if following is None:
        listed.sort(key=_by_name)
        yield Block(listed, failed, True)
    else:
        del listed, failed
        yield from _stat_blocks(fd, names, block_entries)


def _stat_blocks(fd: int, names: Iterator[bytes], block_entries: int) -> Iterator[Block]:
    block = list(islice(names, block_entries))
    while block:
        following = list(islice(names, block_entries))
        listed: list[Listed] = []
        failed: list[tuple[bytes, OSError]] = []
        for name in block:
            try:
                listed.append((name, os.stat(name, dir_fd=fd, follow_symlinks=False)))
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append((name, error))
        yield Block(listed, failed, not following)
        block = following


def _sorted(names: Iterable[bytes]) -> Iterator[bytes]:
    """All of ``names`` (taken before this returns) in order: sorted a batch at a time, kept in a temporary file, and merged from there."""
    names = iter(names)
    file = tempfile.TemporaryFile(prefix="seedcorn-names-")  # noqa: SIM115  # closed when the last name has been taken
    extents = []
    end = 0
    while batch := sorted(islice(names, _SORTED_NAMES)):
        extents.append((end, end + file.write(b"/".join(batch))))  # the one byte, besides NUL, that is in no name
        end = extents[-1][1]
    file.flush()

    def merged() -> Iterator[bytes]:
        with file:
            yield from merge(*[_read_names(file.fileno(), *extent) for extent in extents])

    return merged()


def _read_names(fd: int, begin: int, end: int) -> Iterator[bytes]:
    rest = b""
    while begin < end:
        piece = os.pread(fd, min(_PIECE_BYTES, end - begin), begin)
        begin += len(piece)
        *names, rest = (rest + piece).split(b"/")
        yield from names
    yield rest


def _open(path: str | bytes, flags: int, dir_fd: int | None, owner: int | None) -> int:
    if owner not in _refused_owners:
        try:
            return os.open(path, flags | _NOATIME, dir_fd=dir_fd)
        except PermissionError:
            fd = os.open(path, flags, dir_fd=dir_fd)  # raises again where O_NOATIME was not to blame
            if owner is not None:
                _refused_owners.add(owner)
            return fd
    return os.open(path, flags, dir_fd=dir_fd)
