"""Holes and data of sparse files. Owns where the bytes of a file are; must never know what they become.

docs/format.md, section "Node", ``holes``. Invariant: holes are ascending, disjoint and inside the file, and data extents are exactly the rest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

__all__ = ["HOLE_LIMIT", "ContentReader", "Hole", "cut_short", "data_extents", "holes_of", "write_content"]

HOLE_LIMIT = 65_536  # of one file: what comes after is read as data, so a hostile file can not fill a listing with holes
Hole = tuple[int, int]  # offset and length in bytes
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's block size


def holes_of(fd: int, st: os.stat_result) -> tuple[Hole, ...]:
    """The holes of an open file, without a system call for a file that occupies all of its size.

    Leaves the file offset at 0. A file system that knows no holes has none.
    """
    if st.st_blocks * _BLOCK_BYTES >= st.st_size:
        return ()
    try:
        return tuple(_find_holes(fd, st.st_size))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTSUP):
            return ()
        raise
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def data_extents(size: int, holes: Sequence[Hole]) -> Iterator[Hole]:
    """The (offset, length) of each run of data in a file of ``size`` bytes, ascending."""
    begin = 0
    for offset, length in holes:
        if offset > begin:
            yield begin, offset - begin
        begin = offset + length
    if size > begin:
        yield begin, size - begin


def cut_short(size: int, holes: Sequence[Hole], content_bytes: int) -> tuple[int, tuple[Hole, ...]]:
    """Size and holes of what is left of such a file if its content ends after ``content_bytes``."""
    end = 0
    for offset, length in data_extents(size, holes):
        if not content_bytes:
            break
        taken = min(length, content_bytes)
        end = offset + taken
        content_bytes -= taken
    return end, tuple(hole for hole in holes if hole[0] < end)


def write_content(fd: int, content: Sequence[memoryview], offset: int, holes: Sequence[Hole], size: int) -> None:
    """Write ``content``, pieces end to end that begin at content offset ``offset``, where it belongs in a file of ``size`` bytes with these holes."""
    if not holes:
        for piece in content:
            _write_all(fd, piece, offset)
            offset += len(piece)
        return
    begin = 0  # of an extent, in the content
    todo = list(reversed(content))
    for extent_offset, length in data_extents(size, holes):
        end = begin + length
        while todo and offset < end:
            piece = todo.pop()
            part = piece[: end - offset]
            _write_all(fd, part, extent_offset + offset - begin)
            offset += len(part)
            if len(part) < len(piece):
                todo.append(piece[len(part) :])
        begin = end


class ContentReader:
    """Reads the data extents of an open file end to end, as if the holes were not there. Never moves the file offset."""

    def __init__(self, fd: int, size: int, holes: Sequence[Hole] = ()) -> None:
        self._fd = fd
        self._extents = data_extents(size, holes)
        self._offset = 0
        self._end = 0

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` and return its length, or less if the content ends first; 0 from then on.

        A file that has become shorter ends where it ends now.
        """
        filled = 0
        while filled < len(view):
            if self._offset == self._end:
                offset, length = next(self._extents, (0, 0))
                if not length:
                    break
                self._offset, self._end = offset, offset + length
            piece = view[filled : filled + self._end - self._offset]
            count = os.preadv(self._fd, [piece], self._offset)
            if not count:
                break
            self._offset += count
            filled += count
        return filled


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written


def _find_holes(fd: int, size: int) -> Iterator[Hole]:
    offset = 0
    for _ in range(HOLE_LIMIT):
        try:
            data = min(os.lseek(fd, offset, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size  # no data from here to the end
        if data > offset:
            yield offset, data - offset
        if data >= size:
            return
        offset = os.lseek(fd, data, os.SEEK_HOLE)
        if offset >= size:
            return
