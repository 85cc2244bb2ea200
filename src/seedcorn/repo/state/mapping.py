"""How much of a memory-mapped file counts as this process's memory. Knows nothing of what is in the file.

LMDB reads through a mapping of its whole file, and each page that it has looked at stays mapped: after a walk through a large tree that is the whole
database. The pages are the page cache's in any case; mapped, they count as resident, and a limit on memory would be met by them.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from pathlib import Path

__all__ = ["FileMapping"]


class FileMapping:
    """Where ``path`` is mapped in this process. Does nothing on systems that do not tell."""

    def __init__(self, path: Path) -> None:
        self._areas: list[tuple[int, int]] = []
        ending = f" {path.resolve()}\n"
        with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                if line.endswith(ending):
                    begin, _, end = line.partition(" ")[0].partition("-")
                    self._areas.append((int(begin, 16), int(end, 16)))

    def release(self) -> None:
        """Unmap the pages; those that are wanted again are mapped again, at the price of a page fault. Nothing is lost: the mapping is shared."""
        for begin, end in self._areas:
            _madvise(begin, end - begin, mmap.MADV_DONTNEED)


_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
