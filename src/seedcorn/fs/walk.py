"""Opening and listing what is to be backed up. Owns the flags with which sources are opened; must never know what is done with them.

Invariant: nothing here follows a symbolic link in the last component, blocks on a FIFO, or changes an access time where that can be avoided.
"""

from __future__ import annotations

import os
import sys
from operator import itemgetter

__all__ = ["Listed", "list_directory", "open_directory", "open_source_file"]

Listed = tuple[bytes, os.stat_result]  # name and lstat of one directory entry

_NOATIME = getattr(os, "O_NOATIME", 0)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ENCODING = sys.getfilesystemencoding()
_by_name = itemgetter(0)

# O_NOATIME is for a file's owner and for root only. The answer depends on nothing but the owner, because a process has one credential:
# owners that were refused once are not asked about again, which saves an ordinary user one failing call for each file of someone else.
_refused_owners: set[int] = set()


def open_directory(path: str | bytes, *, dir_fd: int | None = None) -> int:
    """A descriptor of the directory ``path``, which is relative to ``dir_fd`` if that is given. The caller closes it.

    Raises:
        OSError: not a directory (a symbolic link to one is not one), or not readable.
    """
    return _open(path, _DIRECTORY, dir_fd, None)


def open_source_file(dir_fd: int, name: bytes, owner: int | None = None) -> int:
    """A descriptor for reading ``name``. The caller closes it, and checks with ``fstat`` that it is still what the listing said.

    ``owner`` is the entry's ``st_uid``; with it the right flags are known at once.

    Raises:
        OSError: vanished, replaced by a symbolic link, or not readable.
    """
    return _open(name, _FILE, dir_fd, owner)


def list_directory(fd: int) -> tuple[list[Listed], list[tuple[bytes, OSError]]]:
    """The entries of an open directory sorted by name bytes, and those whose ``lstat`` failed with the reason.

    An entry that vanishes between the two calls is in neither.

    Raises:
        OSError: the directory itself can not be read.
    """
    listed: list[Listed] = []
    failed: list[tuple[bytes, OSError]] = []
    append = listed.append
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name.encode(_ENCODING, "surrogateescape")  # os.fsencode, without its type checks
            try:
                append((name, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append((name, error))
    listed.sort(key=_by_name)
    return listed, failed


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
