"""Buffers that are lent and given back, and their comparison."""

from __future__ import annotations

import ctypes
import mmap
import threading
from pathlib import Path

import pytest

from seedcorn.repo.content.buffers import BufferPool, are_equal, new_buffer

MIB = 1 << 20


def nothing() -> None:
    pass


def resident_bytes(buffer: memoryview) -> int:
    """Of this buffer alone: what a whole process has changes with whatever else runs in it."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek(address // mmap.PAGESIZE * 8)
        pages = pagemap.read(len(buffer) // mmap.PAGESIZE * 8)
    return sum(last >> 7 for last in pages[7::8]) * mmap.PAGESIZE  # the highest of 64 bits says whether a page is there


def test_a_pool_makes_no_more_than_its_limit_and_lends_the_last_one_first() -> None:
    pool = BufferPool(2, 100)
    first, second = pool.take(nothing), pool.take(nothing)
    assert (len(first), len(second)) == (100, 100)
    first[0], second[0] = 1, 2
    pool.give_back(second)
    pool.give_back(first)
    assert (pool.take(nothing)[0], pool.take(nothing)[0]) == (1, 2)


def test_who_waits_for_a_buffer_gets_the_next_that_is_given_back() -> None:
    pool = BufferPool(1, 100)
    lent = pool.take(nothing)
    taken: list[memoryview] = []
    waiting = threading.Thread(target=lambda: taken.append(pool.take(nothing)))
    waiting.start()
    pool.give_back(lent)
    waiting.join(10)
    assert taken == [lent]


def test_who_waits_hears_that_another_thread_has_failed() -> None:
    pool = BufferPool(1, 100)
    pool.take(nothing)
    failed = threading.Event()

    def check() -> None:
        if failed.is_set():
            raise RuntimeError("another thread has failed")

    threading.Timer(0.05, failed.set).start()
    with pytest.raises(RuntimeError):
        pool.take(check)


def test_a_buffer_that_is_released_takes_no_memory() -> None:
    pool = BufferPool(1, 64 * MIB, release=True)
    buffer = pool.take(nothing)
    buffer[:] = b"x" * len(buffer)
    assert resident_bytes(buffer) == 64 * MIB
    pool.give_back(buffer)
    assert resident_bytes(buffer) == 0
    assert pool.take(nothing)[5] == 0


@pytest.mark.parametrize(
    ("left", "right", "equal"), [(b"", b"", True), (b"abc", b"abc", True), (b"abc", b"abd", False), (b"abc", b"ab", False), (b"", b"a", False)]
)
def test_buffers_are_compared_by_their_bytes(left: bytes, right: bytes, equal: bool) -> None:
    view = memoryview(bytearray(left))
    assert are_equal(view, right) is equal
    assert are_equal(view, memoryview(bytearray(right))) is equal


def test_a_new_buffer_is_empty() -> None:
    assert bytes(new_buffer(5000)) == bytes(5000)
