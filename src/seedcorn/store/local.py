"""Objects as files below one directory: create-only, durable when ``put`` returns, readable by the owner alone.

Owns the file names below its root. An object becomes visible in one step (a hard link from a finished, fsynced temporary file), so a killed put
leaves nothing but a hidden file that no listing shows. No symbolic link below the root is ever followed: each folder is opened from the one above it.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from seedcorn.errors import AccessDeniedError, ObjectExistsError, ObjectNotFoundError, StoreError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, check_folder, check_key, check_range, check_size, is_key
from seedcorn.store.meter import RequestMeter

__all__ = ["LocalStore"]

_LEFTOVER_AGE_SECONDS = 24 * 3600
_LEFTOVER = ".put-"  # no well-formed key has a segment with a leading dot
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # non-blocking: a FIFO put in our way must not hang us
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_WRITE_BYTES = 1 << 30  # Linux writes at most 2 GiB at once
_DIRECT_BYTES = 1 << 20
_ALIGNMENT = 4096  # of addresses, offsets and lengths of direct writes; 512 would do for some devices

_CLEAR_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.ELOOP: "a symbolic link stands in the way, and seedcorn follows none inside a repository",
    errno.ENOTDIR: "an object has the name of a folder that this key needs",
    errno.EISDIR: "a folder has the name of this object",
    errno.EIO: "the disk reports an input/output error",
}


class LocalStore:
    """A directory as a store. It is made by the first ``put``; it may be a symbolic link itself.

    Durability is what ``fsync`` gives on the file system in use, for the file, its folder, and every folder above it up to the root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._meter = RequestMeter()
        self._names = itertools.count()
        self._durable_folders: set[tuple[str, ...]] = set()
        self._root_seen = _identity(os.stat(self._root)) if self._root.is_dir() else None

    @property
    def url(self) -> str:
        return str(self._root)

    @property
    def requests(self) -> Requests:
        return self._meter.requests

    def put(self, key: str, data: Buffer) -> None:
        *folder, name = check_key(key).split("/")
        content = memoryview(data).cast("B")
        check_size(key, len(content))
        with _clear_errors(key, self._root), self._folder(folder, create=True) as folder_fd:
            if not self._create(folder_fd, name, content) and not _holds(folder_fd, name, content):
                raise ObjectExistsError("the store already holds other bytes under this key", key=key)
            _fsync_folder(folder_fd)  # also for bytes found there: whoever wrote them may have died before this step
        self._meter.put(len(content))

    def get(self, key: str) -> bytes:
        with self._object(key) as (fd, size_bytes):
            check_size(key, size_bytes)
            data = _read(fd, 0, size_bytes)
        self._meter.get(len(data))
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with self._object(check_range(key, start, length)) as (fd, _):
            data = _read(fd, start, length)
        self._meter.get(len(data))
        if len(data) != length:
            raise StoreError(f"the object ends before byte {start + length}", key=key)
        return data

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        self._meter.head()
        with self._object(key) as (fd, size_bytes):
            return ObjectInfo(key, size_bytes, os.fstat(fd).st_mtime_ns)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        check_folder(prefix)
        self._meter.list()
        with _clear_errors(prefix, self._root):
            try:
                with self._folder(prefix.split("/")[:-1], create=False) as fd:
                    yield from _walk(fd, prefix, after)
            except FileNotFoundError:
                self._check_root()

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        for key in keys:
            *folder, name = key.split("/")
            self._meter.delete()
            with _clear_errors(key, self._root), suppress(FileNotFoundError), self._folder(folder, create=False) as fd:
                os.unlink(name, dir_fd=fd)
                _fsync_folder(fd)

    def close(self) -> None:
        pass

    @property
    def refuses_by_itself(self) -> bool:
        """For ``store.probe`` alone, as are the methods that follow. Who may write into a directory may write over what is there."""
        return False

    def overwrite(self, key: str, data: Buffer) -> None:
        *folder, name = check_key(key).split("/")
        with _clear_errors(key, self._root), self._folder(folder, create=True) as folder_fd:
            fd, temporary = self._open_temporary(folder_fd)
            try:
                _write(fd, memoryview(data).cast("B"))
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        self._meter.put(memoryview(data).nbytes)

    def clear_folder(self, prefix: str) -> None:
        *above, name = check_folder(prefix).rstrip("/").split("/")
        with suppress(OSError), self._folder(above, create=False) as fd:
            for _, folders, _, folder_fd in os.fwalk(name, topdown=False, dir_fd=fd):
                for folder in folders:
                    os.rmdir(folder, dir_fd=folder_fd)
            os.rmdir(name, dir_fd=fd)

    def _create(self, folder_fd: int, name: str, content: memoryview) -> bool:
        """Make ``name`` appear with ``content`` in one step; False if the name is taken."""
        fd, temporary = self._open_temporary(folder_fd)
        try:
            try:
                _write(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            return _publish(folder_fd, temporary, name)
        finally:
            with suppress(FileNotFoundError):  # gone if it was renamed
                os.unlink(temporary, dir_fd=folder_fd)

    def _open_temporary(self, folder_fd: int) -> tuple[int, str]:
        while True:  # a name may be left over from a killed process that had our number
            name = f"{_LEFTOVER}{os.getpid()}-{next(self._names)}"
            with suppress(FileExistsError):
                return os.open(name, _CREATE_FLAGS, 0o600, dir_fd=folder_fd), name

    @contextmanager
    def _object(self, key: str) -> Iterator[tuple[int, int]]:
        """The open object and its size in bytes."""
        *folder, name = check_key(key).split("/")
        with _clear_errors(key, self._root), self._folder(folder, create=False) as folder_fd, _open_object(folder_fd, name) as opened:
            yield opened

    @contextmanager
    def _folder(self, segments: Sequence[str], *, create: bool) -> Iterator[int]:
        """A folder, opened from the root down without following symbolic links; with ``create`` made where missing, durably."""
        settle = create and tuple(segments) not in self._durable_folders
        if settle:
            self._check_root()
            _make_root(self._root)
        fd = os.open(self._root, _FOLDER_FLAGS)
        try:
            self._recognise(os.fstat(fd))
            for segment in segments:
                if settle:
                    with suppress(FileExistsError):
                        os.mkdir(segment, 0o700, dir_fd=fd)
                    _fsync_folder(fd)
                below = os.open(segment, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
            if settle:
                self._durable_folders.add(tuple(segments))
                _remove_leftovers(fd)
            yield fd
        finally:
            os.close(fd)

    def _recognise(self, root: os.stat_result) -> None:
        """What lies under a disk that is not mounted any more is not the store. A network file system may change one of the two numbers."""
        found = _identity(root)
        seen = self._root_seen = self._root_seen or found
        if found[0] != seen[0] and found[1] != seen[1]:
            raise StoreError(f"{self._root} is another directory than before: is its disk still mounted?")

    def _check_root(self) -> None:
        """A root that was there and is gone is a lost disk, not an empty store."""
        if self._root_seen and not self._root.is_dir():
            raise StoreError(f"the directory {self._root} has gone: is its disk still mounted?")


def _identity(root: os.stat_result) -> tuple[int, int]:
    return root.st_dev, root.st_ino


def _write(fd: int, content: memoryview) -> None:
    """Write to an empty file."""
    if len(content) >= _DIRECT_BYTES:
        content = _write_direct(fd, content)
    while content:
        content = content[os.write(fd, content[:_WRITE_BYTES]) :]


def _write_direct(fd: int, content: memoryview) -> memoryview:
    """Write past the page cache as far as that goes, and return the rest.

    It takes a tenth of the processor time of an ordinary write and its ``fsync``, and leaves the cache to those who use this machine.
    """
    if not _set_direct(fd, True):
        return content
    try:
        while len(content) >= _ALIGNMENT:
            content = content[os.write(fd, content[: len(content) // _ALIGNMENT * _ALIGNMENT]) :]
    except OSError as error:
        if error.errno != errno.EINVAL:  # not aligned in memory, or since a short write not in the file
            raise
    finally:
        _set_direct(fd, False)
    return content


def _set_direct(fd: int, wanted: bool) -> bool:
    """Whether writes go past the page cache now; not every file system has that."""
    flag = getattr(os, "O_DIRECT", 0)
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | flag if wanted else flags & ~flag)
    except OSError:
        return False
    return wanted and bool(flag)


def _remove_leftovers(folder_fd: int) -> None:
    """Remove what puts that were killed at least a day ago have left in a folder; no put takes that long."""
    before = time.time() - _LEFTOVER_AGE_SECONDS
    with suppress(OSError), os.scandir(folder_fd) as entries:
        for entry in entries:
            if entry.name.startswith(_LEFTOVER) and entry.stat(follow_symlinks=False).st_mtime < before:
                os.unlink(entry.name, dir_fd=folder_fd)


def _publish(folder_fd: int, temporary: str, name: str) -> bool:
    """Give the finished file its name; False if the name is taken."""
    try:
        os.link(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _publish_by_rename(folder_fd, temporary, name)
    return True


def _publish_by_rename(folder_fd: int, temporary: str, name: str) -> bool:
    """For file systems without hard links (FAT, some network ones): a rename would overwrite, so all seedcorn processes here take turns."""
    fcntl.flock(folder_fd, fcntl.LOCK_EX)  # released when the folder is closed
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        return True
    return False


def _holds(folder_fd: int, name: str, content: memoryview) -> bool:
    with _open_object(folder_fd, name) as (fd, size_bytes):
        return size_bytes == len(content) and _read(fd, 0, size_bytes) == content


@contextmanager
def _open_object(folder_fd: int, name: str) -> Iterator[tuple[int, int]]:
    fd = os.open(name, _READ_FLAGS, dir_fd=folder_fd)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "not an object")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file")
        yield fd, status.st_size
    finally:
        os.close(fd)


def _read(fd: int, start: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``start``; fewer only at the end of the file."""
    data = os.pread(fd, length, start)
    if len(data) == length or not data:
        return data
    parts, got = [data], len(data)
    while got < length and (data := os.pread(fd, length - got, start + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def _walk(folder_fd: int, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """The objects of a folder and all below it in key order, without entering what lies wholly before ``after``."""
    for name in _sorted_names(folder_fd, prefix):
        key = prefix + name
        if key <= after and not (name.endswith("/") and after.startswith(key)):
            continue
        try:
            if not name.endswith("/"):
                status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
                yield ObjectInfo(key, status.st_size, status.st_mtime_ns)
                continue
            below = os.open(name[:-1], _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder_fd)
        except FileNotFoundError:  # deleted since the folder was read
            continue
        try:
            yield from _walk(below, key, after)
        finally:
            os.close(below)


def _sorted_names(folder_fd: int, prefix: str) -> list[str]:
    """Names that belong to a store, folders with their slash so that they sort as their keys do. Symbolic links and strangers are left out."""
    names = []
    with os.scandir(folder_fd) as entries:  # empty if the folder has been removed meanwhile
        for entry in entries:
            if not is_key(prefix + entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name + "/")
            elif entry.is_file(follow_symlinks=False):
                names.append(entry.name)
    names.sort()
    return names


def _make_root(root: Path) -> None:
    """Make the root and what is missing above it, each durably in its parent."""
    missing = list(itertools.takewhile(lambda folder: not folder.exists(), (root, *root.parents)))
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        fd = os.open(folder.parent, _FOLDER_FLAGS)
        try:
            _fsync_folder(fd)
        finally:
            os.close(fd)


def _fsync_folder(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network and FUSE file systems can not fsync a folder
            raise


@contextmanager
def _clear_errors(key: str, root: Path) -> Iterator[None]:
    """Turn what the system says into the errors of a store."""
    try:
        yield
    except OSError as error:
        _raise_clear(error, key, root)


def _raise_clear(error: OSError, key: str, root: Path) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise ObjectNotFoundError(f"there is no such object in {root}", key=key) from error
    if isinstance(error, PermissionError):
        raise AccessDeniedError(f"this user may not do that in {root}: check who owns the directory and its mode", key=key) from error
    words = _CLEAR_WORDS.get(error.errno or 0, error.strerror or str(error))
    raise StoreError(f"{words} ({root})", key=key) from error
