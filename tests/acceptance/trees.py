"""Trees as values, and how they are made on disk: what Hypothesis draws."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Content", "DirectorySpec", "FileSpec", "LinkSpec", "PipeSpec", "make"]

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Content:
    """Bytes of one kind; the same for the same fields."""

    kind: str  # zeros, text, noise, period
    size: int
    seed: int

    def bytes(self) -> bytes:
        if self.kind == "noise":
            return random.Random(self.seed).randbytes(self.size)
        pattern = {"zeros": b"\0", "text": b"line %d of a text\n" % self.seed, "period": random.Random(self.seed).randbytes(1_000)}[self.kind]
        return (pattern * (self.size // len(pattern) + 1))[: self.size]


@dataclass(frozen=True)
class FileSpec:
    """``blocks``: where 64 KiB blocks of data lie after the content, with holes between them. ``more_names``: hard links beside it."""

    content: Content
    mode: int
    mtime_ns: int
    attributes: Mapping[bytes, bytes]
    blocks: Sequence[int]
    more_names: int


@dataclass(frozen=True)
class LinkSpec:
    target: bytes
    mtime_ns: int


@dataclass(frozen=True)
class PipeSpec:
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class DirectorySpec:
    entries: Mapping[bytes, object]
    mode: int
    mtime_ns: int
    attributes: Mapping[bytes, bytes]


def make(path: Path, spec: DirectorySpec) -> None:
    """Fill the empty directory ``path``."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _fill(fd, spec)
    finally:
        os.close(fd)


def _fill(fd: int, spec: DirectorySpec) -> None:
    for name, entry in spec.entries.items():
        if isinstance(entry, FileSpec):
            _make_file(fd, name, entry)
        elif isinstance(entry, LinkSpec):
            os.symlink(entry.target, name, dir_fd=fd)
            os.utime(name, ns=(0, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)
        elif isinstance(entry, PipeSpec):
            os.mkfifo(name, dir_fd=fd)
            os.chmod(name, entry.mode, dir_fd=fd)
            os.utime(name, ns=(0, entry.mtime_ns), dir_fd=fd)
        elif isinstance(entry, DirectorySpec):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            try:
                _fill(below, entry)
            finally:
                os.close(below)
    _set_attributes(fd, spec.attributes)
    os.fchmod(fd, spec.mode)
    os.utime(fd, ns=(0, spec.mtime_ns))


def _make_file(dir_fd: int, name: bytes, spec: FileSpec) -> None:
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=dir_fd)
    with open(fd, "wb") as file:
        file.write(spec.content.bytes())
        for block in spec.blocks:
            file.seek((block + 1) * _BLOCK * 2)
            file.write(b"d" * _BLOCK)
        file.flush()
        _set_attributes(fd, spec.attributes)
        for number in range(spec.more_names):
            try:
                os.link(name, name[:200] + b"~%d" % number, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            except FileExistsError:
                continue
        os.fchmod(fd, spec.mode | (0 if os.geteuid() == 0 else 0o400))
        os.utime(fd, ns=(0, spec.mtime_ns))


def _set_attributes(fd: int, attributes: Mapping[bytes, bytes]) -> None:
    for name, value in attributes.items():
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # a file system without attributes
                raise
