"""Writing one restored file: under a temporary name until it is complete, in a directory that is held by descriptor.

Owns rules R2, R5 and, for files, R4 of docs/threat-model.md. Must never know where content comes from: whoever calls has verified it. All methods of
``FileWriter`` may be called from several threads, and by several processes for one target; every failure is a ``TargetError`` with the path relative
to the target.
"""

from __future__ import annotations

import enum
import itertools
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from seedcorn.errors import TargetError
from seedcorn.format.tree import Kind, Node
from seedcorn.fs.content import write_content
from seedcorn.fs.directories import DirectoryCache, DirectoryHandle
from seedcorn.fs.metadata import ACCESS_ACL, DEFAULT_ACL, MetadataError, apply_metadata, error_text, remove_other_xattrs

__all__ = ["TEMPORARY_PREFIX", "FileWriter", "LinkSource", "Overwrite", "PartialFile", "PendingFile", "TargetOptions"]

TEMPORARY_PREFIX = b".seedcorn-"  # of what a killed restore leaves behind

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REOPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a FIFO put in our way must not hang us

_Created = TypeVar("_Created")


class Overwrite(enum.Enum):
    """What becomes of a file, link or device that is already there. Directories are merged under either."""

    ALWAYS = "always"  # replaced in one step, once the new one is complete
    NEVER = "never"  # kept


@dataclass(frozen=True)
class TargetOptions:
    """How a target is treated."""

    as_root: bool  # set owners, make devices, set security.* and trusted.* attributes
    on_problem: Callable[[TargetError], None]  # hears about metadata that could not be set; the entry itself is there. Called from any thread
    allow_existing: bool = False  # the target need not be empty
    overwrite: Overwrite = Overwrite.ALWAYS
    open_directories: int = 256  # descriptors kept open
    no_umask: bool = False  # this process's umask is 0: a file can be created with the mode that it is to have


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that is being written under a temporary name. Write to ``fd`` at any offsets, then finish or discard it."""

    directory: DirectoryHandle
    name: bytes
    temporary_name: bytes
    fd: int


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A pending file as another process finds it again."""

    temporary_name: bytes
    device_id: int
    inode: int


@dataclass(frozen=True, slots=True)
class LinkSource:
    """A file that this run has written: the only thing that a hard link can be made to."""

    directory: DirectoryHandle
    name: bytes
    device_id: int
    inode: int


class FileWriter:
    """Writes files into directories that somebody else has made."""

    def __init__(self, directories: DirectoryCache, options: TargetOptions) -> None:
        self._directories = directories
        self.options = options
        self._counter = itertools.count(1)
        self._process = os.getpid()

    def write_file(self, directory: DirectoryHandle, node: Node, content: Sequence[memoryview]) -> LinkSource | None:
        """A whole file: ``content`` (its data end to end, without the holes), metadata, name. Nothing is there after a failure.

        Returns what hard links to it are made with, or None for a node that has only one link.
        """
        name = node.name
        extra = node.extra
        with self._writing(directory, name) as dir_fd:
            # Nobody else can look into a new directory until it gets its own mode, so its files may have theirs from the beginning. Attributes of
            # an ordinary user's own file could not be set any more if that mode forbids writing.
            exact = directory.exact and self.options.no_umask and not (extra is not None and extra.xattrs)
            mode = node.mode & 0o777 if exact else 0o600
            temporary_name, fd = self._create(lambda temporary_name: os.open(temporary_name, _CREATE, mode, dir_fd=dir_fd))
            try:
                write_content(fd, content, 0, extra.holes if extra is not None else (), node.size)
                return self._finish(PendingFile(directory, name, temporary_name, fd), dir_fd, node, mode if exact else None)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary_name, dir_fd=dir_fd)
                raise
            finally:
                os.close(fd)

    def create_file(self, directory: DirectoryHandle, name: bytes) -> PendingFile:
        """An empty file with mode 0600 under a temporary name in ``directory``. For a sparse file, leave the holes out."""
        with self._writing(directory, name) as dir_fd:
            temporary_name, fd = self._create(lambda temporary_name: os.open(temporary_name, _CREATE, 0o600, dir_fd=dir_fd))
            return PendingFile(directory, name, temporary_name, fd)

    def partial(self, pending: PendingFile) -> PartialFile:
        """How ``write_part`` finds a pending file again, in this or another process."""
        st = os.fstat(pending.fd)
        return PartialFile(pending.temporary_name, st.st_dev, st.st_ino)

    def write_part(self, directory: DirectoryHandle, node: Node, partial: PartialFile, content: Sequence[memoryview], offset: int) -> None:
        """Put ``content`` from content offset ``offset`` into a pending file of ``directory``."""
        with self._writing(directory, node.name) as dir_fd:
            fd = os.open(partial.temporary_name, _REOPEN, dir_fd=dir_fd)
            try:
                st = os.fstat(fd)
                if (st.st_dev, st.st_ino) != (partial.device_id, partial.inode) or not stat.S_ISREG(st.st_mode):
                    raise TargetError(directory.path_of(node.name), "another file was put in its place while it was being written")
                write_content(fd, content, offset, node.extra.holes if node.extra is not None else (), node.size)
            finally:
                os.close(fd)

    def finish_file(self, pending: PendingFile, node: Node) -> LinkSource | None:
        """Set size and metadata, give the file its name and close it. A failure discards the file. Returns as ``write_file``."""
        try:
            with self._writing(pending.directory, pending.name) as dir_fd:
                return self._finish(pending, dir_fd, node, None)
        except TargetError:
            self._remove_temporary(pending.directory, pending.temporary_name)
            raise
        finally:
            os.close(pending.fd)

    def discard_file(self, pending: PendingFile) -> None:
        """Close and remove a file that will not be finished."""
        os.close(pending.fd)
        self._remove_temporary(pending.directory, pending.temporary_name)

    def remove_leftovers(self, directory: DirectoryHandle, process: int) -> None:
        """Remove what a process that was killed had not finished in a directory; as far as that is possible."""
        prefix = _temporary_prefix(process)
        with suppress(TargetError, OSError), self._directories.borrow(directory) as dir_fd:
            for name in map(os.fsencode, os.listdir(dir_fd)):
                if name.startswith(prefix):
                    os.unlink(name, dir_fd=dir_fd)

    def _finish(self, pending: PendingFile, dir_fd: int, node: Node, known_mode: int | None) -> LinkSource | None:
        directory, name, fd = pending.directory, pending.name, pending.fd
        extra = node.extra
        if extra is not None and extra.holes:
            os.ftruncate(fd, node.size)  # the last hole may be at the end
        self._apply(directory, name, node, fd, known_mode)
        self._install(directory, dir_fd, pending.temporary_name, name)
        if extra is None or extra.link_count < 2:
            return None
        st = os.fstat(fd)
        return LinkSource(directory, name, st.st_dev, st.st_ino)

    def _apply(self, directory: DirectoryHandle, name: bytes | None, node: Node, where: int | str, known_mode: int | None = None) -> None:
        if name is not None and directory.inherits_acl and node.kind != Kind.SYMLINK:
            remove_acls(where)
        if name is None and not directory.fresh:
            remove_other_xattrs(where, node, as_root=self.options.as_root)
        known_owner = directory.owner if directory.exact else None  # of the directory itself, too
        for problem in apply_metadata(node, where, as_root=self.options.as_root, known_owner=known_owner, known_mode=known_mode):
            self.options.on_problem(TargetError(directory.path_of(name), problem))

    def _create(self, create: Callable[[bytes], _Created]) -> tuple[bytes, _Created]:
        """Call ``create`` with a name that nothing has yet; the name, and what it returned."""
        while True:
            temporary_name = b"%b%x" % (_temporary_prefix(self._process), next(self._counter))
            try:
                return temporary_name, create(temporary_name)
            except FileExistsError:  # left by a killed run that had the same process id, or itself restored
                continue

    def _install(self, directory: DirectoryHandle, dir_fd: int, temporary_name: bytes, name: bytes) -> None:
        if directory.fresh or self.options.overwrite is Overwrite.ALWAYS:
            try:
                os.rename(temporary_name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=dir_fd)  # an empty one may be replaced; one with entries is not removed for a file
                os.rename(temporary_name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:  # a link, unlike a rename, never replaces
            os.link(temporary_name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
            os.unlink(temporary_name, dir_fd=dir_fd)

    def _remove_temporary(self, directory: DirectoryHandle, temporary_name: bytes) -> None:
        with suppress(TargetError, OSError), self._directories.borrow(directory) as dir_fd:
            os.unlink(temporary_name, dir_fd=dir_fd)

    def _writing(self, directory: DirectoryHandle, name: bytes | None) -> _Writing:
        return _Writing(self._directories, directory, name)


class _Writing:
    """Lends the descriptor of ``directory``; whatever fails in the block is a TargetError about its entry ``name``, or, for None, about itself.

    A class, and not a generator, because every file passes through here.
    """

    __slots__ = ("_cache", "_directory", "_name")

    def __init__(self, cache: DirectoryCache, directory: DirectoryHandle, name: bytes | None) -> None:
        self._cache = cache
        self._directory = directory
        self._name = name

    def __enter__(self) -> int:
        name = self._name
        if name is not None and (not name or b"/" in name or b"\0" in name or name in (b".", b"..")):
            raise TargetError(self._directory.path_of(name), "not the name of a directory entry")
        try:
            return self._cache.pin(self._directory)
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._cache.unpin(self._directory)
        if isinstance(error, MetadataError):
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> TargetError:
        return TargetError(self._directory.path_of(self._name), error_text(error))


def remove_acls(where: int | str) -> None:
    """Take away the ACLs that a new entry has inherited."""
    for name in (ACCESS_ACL, DEFAULT_ACL):
        with suppress(OSError):
            os.removexattr(where, name)


def _temporary_prefix(process: int) -> bytes:
    return b"%b%x-" % (TEMPORARY_PREFIX, process)
