"""A scratch directory that ordinary users can reach too, and a way to become one."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import TargetError
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.content import ContentReader, holes_of
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.files import LinkSource, TargetOptions
from seedcorn.fs.metadata import XattrReader, node_from_stat
from seedcorn.fs.target import Target
from seedcorn.fs.walk import list_directory, open_directory, open_source_file

NOBODY = 65534


@pytest.fixture
def scratch() -> Iterator[Path]:
    """An empty directory that everybody may write to. Not pytest's own: that is root's alone, and it trips over trees like ours when it cleans up."""
    path = Path(tempfile.mkdtemp(prefix="seedcorn-fs-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], Any]], Any]:
    """Run a function as an ordinary user in a child process; its result and its exceptions come back."""
    return _run_as_nobody


@pytest.fixture
def copy_tree() -> Callable[..., list[TargetError]]:
    """Copy a tree with nothing but the fs room; returns the problems."""
    return lambda source, target, *, as_root: _Copy(as_root).run(source, target)


def _run_as_nobody(body: Callable[[], Any]) -> Any:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest-xdist runs us beside a thread; the child needs nothing that it may hold
        child = os.fork()
    if not child:
        os.close(reading)
        result: tuple[object, str | None]
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            result = (body(), None)
        except BaseException:  # whatever it is, the parent raises it
            result = (None, traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(result))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    value, failure = pickle.loads(data)  # our own child wrote it
    assert failure is None, failure
    return value


class _Copy:
    """Backup and restore of one tree without a repository in between."""

    def __init__(self, as_root: bool) -> None:
        self._as_root = as_root
        self._problems: list[TargetError] = []
        self._xattrs = XattrReader()
        self._written: dict[tuple[int, int], LinkSource] = {}

    def run(self, source: Path, path: Path) -> list[TargetError]:
        target = Target(os.fsencode(path), TargetOptions(as_root=self._as_root, on_problem=self._problems.append, open_directories=8))
        fd = open_directory(os.fsencode(source))
        self._directory(target, target.root, fd, b"")
        target.finish()
        target.close()
        return self._problems

    def _directory(self, target: Target, handle: DirectoryHandle, fd: int, name: bytes) -> None:
        st = os.fstat(fd)
        ((entries, failed, _),) = list_directory(fd)
        assert not failed
        for entry, entry_st in entries:
            try:
                self._entry(target, handle, fd, entry, entry_st)
            except TargetError as error:
                self._problems.append(error)
            except OSError as error:
                self._problems.append(TargetError(handle.path_of(entry), f"not read: {error.strerror}"))
        extra = Extra(xattrs=self._xattrs.of_open(fd, st.st_dev))
        target.finish_directory(handle, node_from_stat(name, st, Kind.DIRECTORY, extra=extra, entries=len(entries)))
        os.close(fd)

    def _entry(self, target: Target, handle: DirectoryHandle, fd: int, name: bytes, st: os.stat_result) -> None:
        kind = Kind.of_mode(st.st_mode)
        if kind is Kind.DIRECTORY:
            below = open_directory(name, dir_fd=fd)
            self._directory(target, target.open_directory(handle, name), below, name)
        elif kind is Kind.FILE:
            self._file(target, handle, fd, name, st)
        elif kind is not None:
            extra = Extra(
                target=os.readlink(name, dir_fd=fd) if kind is Kind.SYMLINK else None,
                device=st.st_rdev if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode) else None,
                xattrs=self._xattrs.of_entry(fd, name, st.st_dev),
            )
            target.make_special(handle, node_from_stat(name, st, kind, extra=extra))

    def _file(self, target: Target, handle: DirectoryHandle, fd: int, name: bytes, st: os.stat_result) -> None:
        source = self._written.get((st.st_dev, st.st_ino))
        if source is not None:
            target.make_hard_link(handle, name, source)
            return
        file = open_source_file(fd, name, st.st_uid)
        holes = holes_of(file, st)
        node = node_from_stat(name, st, Kind.FILE, extra=Extra(link_count=st.st_nlink, holes=holes, xattrs=self._xattrs.of_open(file, st.st_dev)))
        pending = target.create_file(handle, name)
        _copy_content(file, pending.fd, node)
        os.close(file)
        written = target.finish_file(pending, node)
        if written is not None:
            self._written[st.st_dev, st.st_ino] = written


def _copy_content(source: int, target: int, node: Node) -> None:
    assert node.extra is not None
    reader = ContentReader(source, node.size, node.extra.holes)
    content = bytearray(node.size - sum(length for _, length in node.extra.holes))
    assert reader.readinto(memoryview(content)) == len(content)
    at = end = 0
    for offset, length in (*node.extra.holes, (node.size, 0)):
        count = offset - end
        assert os.pwrite(target, content[at : at + count], end) == count
        at += count
        end = offset + length
