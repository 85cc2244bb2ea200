"""Writing a restored tree where nothing in the repository, and nothing planted in the target, can lead it elsewhere.

Owns rules R1, R3, R4, R7 and R10 of docs/threat-model.md: descriptors instead of paths, no symbolic link ever followed, hard links only to what this
run wrote, the metadata of directories last; files are ``fs.files``'s. Must never know where content comes from. All methods of ``Target`` may be
called from several threads; every failure is a ``TargetError`` with the path relative to the target.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from seedcorn.errors import TargetError, UsageError, printable
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.directories import DirectoryCache, DirectoryHandle
from seedcorn.fs.files import TEMPORARY_PREFIX, FileWriter, LinkSource, Overwrite, TargetOptions, remove_acls
from seedcorn.fs.metadata import DEFAULT_ACL, apply_link_metadata, error_text, proc_path

__all__ = ["Target", "refuse_filled"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICE_TYPE = {Kind.FIFO: stat.S_IFIFO, Kind.CHAR_DEVICE: stat.S_IFCHR, Kind.BLOCK_DEVICE: stat.S_IFBLK}


class Target(FileWriter):
    """One directory that a tree is restored into."""

    def __init__(self, path: bytes, options: TargetOptions) -> None:
        """Open ``path``, which the user named and which is trusted, creating it and what leads to it where it is missing.

        Raises:
            UsageError: it is not empty, and the options do not allow that.
            TargetError: it can not be created or opened.
        """
        super().__init__(DirectoryCache(options.open_directories), options)
        self._finished: list[tuple[DirectoryHandle, Node]] = []
        self._devices: set[int] = set()
        fd, fresh = _open_root(path)
        if not fresh and not options.allow_existing and os.listdir(fd):
            os.close(fd)
            raise UsageError(_not_empty(path))
        if fresh:
            remove_acls(fd)
        self.root = self._adopt(None, b"", fd, fresh=fresh)
        self.root_fd = fd  # always open, and lent to the processes that write into this target
        self.folds_case = _folds_case(fd)  # names that differ only in capital letters are one name in it

    def open_directory(self, parent: DirectoryHandle, name: bytes) -> DirectoryHandle:
        """The directory ``name`` in ``parent``: created with mode 0700, or, if a real directory is there already, that.

        Whatever else is in the way, a symbolic link too, is removed under ``Overwrite.ALWAYS`` and never followed.
        """
        with self._writing(parent, name) as parent_fd:
            fresh = self._make_directory(parent_fd, name)
            if not fresh:
                _make_usable(name, parent_fd)
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
            if fresh and parent.inherits_acl:
                remove_acls(fd)
            return self._adopt(parent, name, fd, fresh=fresh)

    def keeps(self, directory: DirectoryHandle, name: bytes) -> bool:
        """Whether something of this name is there and the options say that it stays. Ask before each file, link or device."""
        if directory.fresh or self.options.overwrite is not Overwrite.NEVER:
            return False
        with self._writing(directory, name) as dir_fd:
            return _exists(dir_fd, name)

    def make_special(self, directory: DirectoryHandle, node: Node) -> None:
        """A symbolic link, FIFO or device named ``node.name``, with its metadata. Devices need root (R7)."""
        kind = Kind(node.kind)
        if kind in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE) and not self.options.as_root:
            raise TargetError(directory.path_of(node.name), "only root can restore a device")
        with self._writing(directory, node.name) as dir_fd:
            if kind is Kind.SYMLINK and directory.exact and not (node.extra and node.extra.xattrs):
                self._make_plain_link(directory, node, dir_fd)
                return
            with self._temporary(lambda name: _make(name, node, dir_fd), dir_fd) as temporary_name:
                with _entry(temporary_name, dir_fd) as fd:
                    st = os.fstat(fd)
                    if Kind.of_mode(st.st_mode) is not kind or st.st_nlink != 1:
                        raise TargetError(directory.path_of(node.name), "something else was put in its place while it was being made")
                    self._apply(directory, node.name, node, proc_path(fd))
                self._install(directory, dir_fd, temporary_name, node.name)

    def _make_plain_link(self, directory: DirectoryHandle, node: Node, dir_fd: int) -> None:
        """Most links: nobody else can get into a directory that is new and exact, so its entries can be meant by their names."""
        temporary_name, _ = self._create(lambda name: _make(name, node, dir_fd))
        for problem in apply_link_metadata(node, temporary_name, dir_fd, as_root=self.options.as_root, known_owner=directory.owner):
            self.options.on_problem(TargetError(directory.path_of(node.name), problem))
        try:
            self._install(directory, dir_fd, temporary_name, node.name)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary_name, dir_fd=dir_fd)
            raise

    def make_hard_link(self, directory: DirectoryHandle, name: bytes, source: LinkSource) -> None:
        """Another name for a file that this run has written."""

        def create(temporary_name: bytes) -> None:
            with self._directories.borrow(source.directory) as source_fd:
                os.link(source.name, temporary_name, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

        with self._writing(directory, name) as dir_fd, self._temporary(create, dir_fd) as temporary_name:
            st = os.stat(temporary_name, dir_fd=dir_fd, follow_symlinks=False)
            if (st.st_dev, st.st_ino) != (source.device_id, source.inode) or not stat.S_ISREG(st.st_mode):
                raise TargetError(directory.path_of(name), f"the file that it is a hard link to was replaced: {printable(source.name)}")
            self._install(directory, dir_fd, temporary_name, name)

    def finish_directory(self, directory: DirectoryHandle, node: Node) -> None:
        """Note the metadata of a directory; ``finish`` applies it when nothing will be written any more."""
        self._finished.append((directory, msgspec.structs.replace(node, content=b"") if node.content else node))

    def finish(self) -> None:
        """Apply the metadata of all noted directories, the deepest first, and make the whole restore durable."""
        self._finished.sort(key=lambda item: item[0].serial, reverse=True)
        for directory, node in self._finished:
            try:
                with self._writing(directory, None) as fd:
                    self._apply(directory, None, node, fd)
            except TargetError as error:
                self.options.on_problem(error)
        self._finished.clear()
        self.sync()

    def sync(self) -> None:
        """Wait until everything written so far is on the disk.

        One call for the file system instead of an ``fsync`` for each file, which would cost about a disk rotation or flash flush each and protect
        nothing more: a restore is only relied on once all of it has succeeded, and a crash before that means to run it again.
        """
        with self._writing(self.root, None) as fd:
            if self._devices == {self.root.device_id}:
                _sync_file_system(fd)
            else:  # an existing target may have other file systems mounted in it
                os.sync()

    def close(self) -> None:
        """Give back all descriptors."""
        self._directories.close()

    def _make_directory(self, parent_fd: int, name: bytes) -> bool:
        """Whether a new directory was made; if not, a real one was there."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            return True
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                return False
            if self.options.overwrite is not Overwrite.ALWAYS:
                raise
        os.unlink(name, dir_fd=parent_fd)
        os.mkdir(name, 0o700, dir_fd=parent_fd)
        return True

    def _adopt(self, parent: DirectoryHandle | None, name: bytes, fd: int, *, fresh: bool) -> DirectoryHandle:
        handle = self._directories.adopt(parent, name, fd, fresh=fresh, inherits_acl=not fresh and _has_default_acl(fd))
        self._devices.add(handle.device_id)
        return handle

    @contextmanager
    def _temporary(self, create: Callable[[bytes], None], dir_fd: int) -> Iterator[bytes]:
        """The name of a new entry, which is gone when the block ends unless it was given another one."""
        temporary_name, _ = self._create(create)
        try:
            yield temporary_name
        finally:
            # Also after success: rename leaves both names where they were links to one file already.
            with suppress(OSError):
                os.unlink(temporary_name, dir_fd=dir_fd)


def _open_root(path: bytes) -> tuple[int, bool]:
    fresh = False
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
            fresh = True
        return os.open(path, _DIRECTORY), fresh
    except OSError as error:
        raise TargetError(path, f"the target can not be opened: {error_text(error)}") from error


def refuse_filled(path: bytes) -> None:
    """What opening a ``Target`` would refuse, without making anything.

    Raises:
        UsageError: the directory is there and is not empty.
    """
    with suppress(OSError):
        if os.listdir(path):
            raise UsageError(_not_empty(path))


def _not_empty(path: bytes) -> str:
    return f"the target {printable(path)} is not empty: name a new or empty directory, or say what becomes of the files in it with --overwrite"


def _make(name: bytes, node: Node, dir_fd: int) -> None:
    """What ``node`` says, which is neither a file nor a directory, under another name."""
    extra = node.extra or Extra()
    if node.kind == Kind.SYMLINK:
        os.symlink(extra.target or b"", name, dir_fd=dir_fd)
    else:
        os.mknod(name, _DEVICE_TYPE[Kind(node.kind)] | 0o600, extra.device or 0, dir_fd=dir_fd)


def _make_usable(name: bytes, parent_fd: int) -> None:
    """Let an ordinary user into a directory of their own that is closed to them; its mode is set anew at the end anyway."""
    st = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    if st.st_mode & stat.S_IRWXU != stat.S_IRWXU and st.st_uid == os.geteuid() != 0:
        with _entry(name, parent_fd) as fd:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.chmod(proc_path(fd), stat.S_IMODE(st.st_mode) | stat.S_IRWXU)


def _exists(dir_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _folds_case(dir_fd: int) -> bool:
    name = b"%b%x-case" % (TEMPORARY_PREFIX, os.getpid())
    with suppress(OSError):  # where nothing can be written, the first entry will say why
        os.mkdir(name, 0o700, dir_fd=dir_fd)
        try:
            return _exists(dir_fd, name.upper())
        finally:
            os.rmdir(name, dir_fd=dir_fd)
    return False


@contextmanager
def _entry(name: bytes, dir_fd: int) -> Iterator[int]:
    """A descriptor for exactly the entry that has this name now, whatever it is: for ``fstat``, and for ``proc_path``."""
    fd = os.open(name, _ENTRY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _has_default_acl(fd: int) -> bool:
    try:
        os.getxattr(fd, DEFAULT_ACL)
    except OSError:
        return False
    return True


def _sync_file_system(fd: int) -> None:
    """``syncfs``, which Python does not have: like ``os.sync``, but for one file system, and since Linux 5.8 it reports write errors."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        os.sync()
        return
    if syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
