"""Holes and data extents of sparse files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedcorn.fs import content
from seedcorn.fs.content import ContentReader, cut_short, data_extents, holes_of

BLOCK = 1 << 16


def _sparse(path: Path, blocks: list[int], size: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    for block in blocks:
        os.pwrite(fd, bytes([block + 1]) * BLOCK, block * BLOCK)
    os.ftruncate(fd, size)
    return fd


@pytest.mark.parametrize(
    ("blocks", "size", "holes"),
    [
        ([], 0, ()),
        ([0], BLOCK, ()),
        ([], 5 * BLOCK, ((0, 5 * BLOCK),)),
        ([1], 2 * BLOCK, ((0, BLOCK),)),
        ([0, 2], 3 * BLOCK, ((BLOCK, BLOCK),)),
        ([0], 3 * BLOCK + 7, ((BLOCK, 2 * BLOCK + 7),)),
        ([1, 3], 6 * BLOCK, ((0, BLOCK), (2 * BLOCK, BLOCK), (4 * BLOCK, 2 * BLOCK))),
    ],
)
def test_holes_are_found_and_content_skips_them(scratch: Path, blocks: list[int], size: int, holes: tuple[tuple[int, int], ...]) -> None:
    fd = _sparse(scratch / "file", blocks, size)
    assert holes_of(fd, os.fstat(fd)) == holes
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0

    view = memoryview(bytearray(10 * BLOCK))
    count = ContentReader(fd, size, holes).readinto(view)
    assert bytes(view[:count]) == b"".join(bytes([block + 1]) * BLOCK for block in blocks)
    os.close(fd)


def test_the_number_of_holes_is_limited_and_the_rest_is_data(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "HOLE_LIMIT", 2)
    fd = _sparse(scratch / "file", [1, 3, 5], 7 * BLOCK)
    holes = holes_of(fd, os.fstat(fd))
    assert holes == ((0, BLOCK), (2 * BLOCK, BLOCK))
    assert list(data_extents(7 * BLOCK, holes)) == [(BLOCK, BLOCK), (3 * BLOCK, 4 * BLOCK)]
    os.close(fd)


def test_a_file_system_without_holes_has_none() -> None:
    fd = os.open("/proc/self/status", os.O_RDONLY)  # lseek there knows neither SEEK_DATA nor SEEK_HOLE
    assert holes_of(fd, _Stat(st_size=10, st_blocks=0)) == ()  # type: ignore[arg-type]
    os.close(fd)


class _Stat:
    def __init__(self, st_size: int, st_blocks: int) -> None:
        self.st_size = st_size
        self.st_blocks = st_blocks


def test_a_file_that_became_shorter_ends_where_it_ends_now(scratch: Path) -> None:
    fd = _sparse(scratch / "file", [0, 2], 3 * BLOCK)
    reader = ContentReader(fd, 3 * BLOCK, ((BLOCK, BLOCK),))
    os.ftruncate(fd, 100)
    view = memoryview(bytearray(4 * BLOCK))
    assert reader.readinto(view) == 100
    assert reader.readinto(view) == 0
    os.close(fd)


@given(size=st.integers(0, 60), cuts=st.sets(st.integers(0, 60)), content_bytes=st.integers(0, 60))
def test_what_is_left_of_a_file_that_was_cut_short(size: int, cuts: set[int], content_bytes: int) -> None:
    bounds = sorted(cut for cut in cuts if cut <= size)
    holes = [(begin, end - begin) for begin, end in zip(bounds[::2], bounds[1::2], strict=False)]
    whole = [at for begin, length in data_extents(size, holes) for at in range(begin, begin + length)]
    end, left = cut_short(size, holes, content_bytes)
    assert [at for begin, length in data_extents(end, left) for at in range(begin, begin + length)] == whole[:content_bytes]
    assert end == (whole[:content_bytes] or [-1])[-1] + 1


@given(size=st.integers(0, 60), cuts=st.sets(st.integers(0, 60)), step=st.integers(1, 70))
def test_extents_and_holes_cover_a_file_once(size: int, cuts: set[int], step: int) -> None:
    bounds = sorted(cut for cut in cuts if cut <= size)
    holes = [(begin, end - begin) for begin, end in zip(bounds[::2], bounds[1::2], strict=False)]
    covered = sorted([*holes, *data_extents(size, holes)])
    assert all(length > 0 for _, length in covered)
    assert [begin for begin, _ in covered] == [0, *(begin + length for begin, length in covered)][: len(covered)]
    assert sum(length for _, length in covered) == size

    fd = os.memfd_create("content")
    data = bytes(range(size))
    os.write(fd, data)
    reader = ContentReader(fd, size, holes)
    view = memoryview(bytearray(step))
    pieces = []
    while count := reader.readinto(view):
        pieces.append(bytes(view[:count]))
    assert all(len(piece) == step for piece in pieces[:-1])
    assert b"".join(pieces) == b"".join(data[begin : begin + length] for begin, length in data_extents(size, holes))
    os.close(fd)
