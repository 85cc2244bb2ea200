"""What the machine itself can do with the same bytes: the least that any program which does this work can need.

    python -m benchmarks.floors cpu TREE            read every file, BLAKE3, zstd level 3 by mebibytes, on all cores, and nothing else
    python -m benchmarks.floors walk TREE           os.scandir and lstat of every entry, in one process
    python -m benchmarks.floors create TREE TARGET  make the same directories, files (of zeros) and links, with owners, modes and times

Each is a program of its own, so that it is measured exactly as the others are.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
import sys
from collections.abc import Iterator, Sequence

__all__ = ["main"]

_LEVEL = 3
_FRAME_BYTES = 1 << 20
_PIECE_BYTES = 16 << 20  # of a large file, so that no core is left alone with one
_BATCH_BYTES = 16 << 20

_Piece = tuple[str, int, int]  # path, offset, length


def _entries(tree: str) -> Iterator[os.DirEntry[str]]:
    """Every entry below ``tree``, a directory before its content."""
    pending = [tree]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def walk(tree: str) -> None:
    """scandir and lstat. (Not by ``_entries``: a generator would be part of the floor.)"""
    pending = [tree]
    while pending:
        with os.scandir(pending.pop()) as entries:
            pending += [entry.path for entry in entries if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode)]


def cpu(tree: str) -> None:
    """All bytes through BLAKE3 and zstd."""
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(_work, _batches(tree)):
            pass


def _batches(tree: str) -> Iterator[Sequence[_Piece]]:
    batch: list[_Piece] = []
    batch_bytes = 0
    for entry in _entries(tree):
        if not entry.is_file(follow_symlinks=False):
            continue
        size = entry.stat(follow_symlinks=False).st_size
        for offset in range(0, size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, size - offset)
            batch.append((entry.path, offset, length))
            batch_bytes += length
            if batch_bytes >= _BATCH_BYTES:
                yield batch
                batch, batch_bytes = [], 0
    yield batch


def _work(pieces: Sequence[_Piece]) -> None:
    from blake3 import blake3

    from seedcorn.compression import compress

    frame = bytearray()
    for path, offset, length in pieces:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for at in range(offset, offset + length, _FRAME_BYTES):
                content = os.pread(descriptor, min(_FRAME_BYTES, offset + length - at), at)
                blake3(content).digest()
                frame += content
                if len(frame) >= _FRAME_BYTES:
                    compress(bytes(frame), _LEVEL)
                    frame.clear()
        finally:
            os.close(descriptor)
    if frame:
        compress(bytes(frame), _LEVEL)


def create(tree: str, target: str) -> None:
    """The same names, sizes, owners, modes and times; contents are zeros, hard links are files of their own."""
    zeros = memoryview(bytes(_FRAME_BYTES))
    folders = [(target, os.lstat(tree))]
    os.mkdir(target)
    for entry in _entries(tree):
        path, found = target + entry.path[len(tree) :], entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(path)
            folders.append((path, found))
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(entry.path), path)
            os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns), follow_symlinks=False)
        elif stat.S_ISREG(found.st_mode):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            left = found.st_size
            while left:
                left -= os.write(descriptor, zeros[: min(left, _FRAME_BYTES)])
            _finish(descriptor, found)
            os.close(descriptor)
    for path, found in reversed(folders):
        _finish(path, found)


def _finish(file: int | str, found: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(file, found.st_uid, found.st_gid)
    os.chmod(file, stat.S_IMODE(found.st_mode))
    os.utime(file, ns=(found.st_mtime_ns, found.st_mtime_ns))


def main(arguments: Sequence[str]) -> None:
    """Run one floor."""
    match list(arguments):
        case ["cpu", tree]:
            cpu(tree)
        case ["walk", tree]:
            walk(tree)
        case ["create", tree, target]:
            create(tree, target)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
