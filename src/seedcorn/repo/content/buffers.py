"""Large buffers: made once, given back, and compared without a copy. Knows nothing of what is in them."""

from __future__ import annotations

import ctypes
import mmap
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from seedcorn.errors import SeedcornError

__all__ = ["BufferPool", "are_equal", "new_buffer"]

_WAIT_SECONDS = 0.2  # how often a waiting thread looks whether another has failed


def new_buffer(length: int) -> memoryview:
    """Zeros that take memory only as far as they are written to.

    Raises:
        SeedcornError: there is no memory. An OSError would pass for a source that can not be read.
    """
    try:
        return memoryview(mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError as error:
        raise SeedcornError(
            f"there is no memory for a buffer of {length >> 20} MiB ({error.strerror}): end other programs or give this one more, and run it again"
        ) from error


_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def are_equal(left: memoryview, right: bytes | memoryview) -> bool:
    """Whether two buffers hold the same bytes; views are of memory that can be written to. Python itself compares views byte by byte, and holds its
    lock meanwhile."""
    if len(left) != len(right) or not left:
        return len(left) == len(right)
    there = right if isinstance(right, bytes) else ctypes.byref(ctypes.c_char.from_buffer(right))
    return bool(_memcmp(ctypes.byref(ctypes.c_char.from_buffer(left)), there, len(left)) == 0)


class BufferPool:
    """At most ``limit`` buffers, each made when it is first needed. Last in, first out: one that has been used is mapped already. For any threads.

    ``release``: a buffer that is given back takes no memory until it is used again, which costs its page faults anew.
    """

    def __init__(self, limit: int, buffer_bytes: int, *, release: bool = False) -> None:
        self._free: queue.LifoQueue[memoryview] = queue.LifoQueue()
        self._buffer_bytes = buffer_bytes
        self._unmade = limit
        self._release = release
        self._lock = threading.Lock()

    def take(self, check: Callable[[], None]) -> memoryview:
        """A buffer; waits for one, and calls ``check`` now and then, which may raise."""
        check()
        with suppress(queue.Empty):
            return self._free.get_nowait()
        with self._lock:
            if self._unmade:
                self._unmade -= 1
                return new_buffer(self._buffer_bytes)
        while True:
            check()
            with suppress(queue.Empty):
                return self._free.get(timeout=_WAIT_SECONDS)

    def give_back(self, buffer: memoryview) -> None:
        """Whatever is in it may be overwritten."""
        if self._release and isinstance(buffer.obj, mmap.mmap):
            buffer.obj.madvise(mmap.MADV_DONTNEED)
        self._free.put(buffer)
