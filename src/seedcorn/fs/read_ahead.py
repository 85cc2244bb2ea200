"""Readers ahead of a scan that has to wait for its disk: they ask the system for what the scan will want next, and keep nothing.

Owns when this is worth while, how much is asked for, and the threads; must never know what is done with a file. All that comes of it is in the page
cache: whatever goes wrong here is met by the scan itself, which reads as if nobody had been there before.

Invariants: with everything in memory no thread is started; only regular files and directories are opened, none through a symbolic link or below a
mount point; no more than ``AHEAD_BYTES`` and ``AHEAD_ENTRIES`` that the scan has not come to are asked for.
"""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue

from seedcorn.fs.walk import BLOCK_ENTRIES, Listed, open_directory, open_source_file

__all__ = ["AHEAD_BYTES", "AHEAD_ENTRIES", "ReadAhead", "Stretch"]

AHEAD_BYTES = 64 << 20
AHEAD_ENTRIES = 512
_STRETCH_BYTES = AHEAD_BYTES // 4  # less than all, so that something is left for the subdirectories on the way
_STRETCH_ENTRIES = AHEAD_ENTRIES // 8
_HEAD_BYTES = 4 << 20  # of one file: from there on the kernel has noticed that it is read from its beginning to its end
_READERS = 8  # all of them wait for a disk or a server, none computes
_WAITING_TASKS = 8 * _READERS  # each holds a descriptor


class Stretch:
    """Some entries of a directory that are asked for together. When the scan comes to the one called ``last`` it is time for the next."""

    __slots__ = ("count", "last", "size_bytes", "waiting")

    def __init__(self, entries: list[Listed], size_bytes: int) -> None:
        self.waiting = deque(entries)  # for a reader
        self.count = len(entries)
        self.size_bytes = size_bytes
        self.last = entries[-1][0]


class ReadAhead:
    """The readers of one scan; a context manager, at whose end they have ended. All methods are for the scan's own thread."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[tuple[int, Stretch] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_over = False
        self._reader_blocks = [0] * _READERS
        self._seen_blocks = _blocks_read()
        self._bytes = self._entries = 0  # asked for, and the scan has not come to them

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def is_worth_while(self) -> bool:
        """Whether the scan or its readers had to read from a device or a server since this was last asked. Takes 1 µs."""
        blocks = _blocks_read()
        if self._threads:
            blocks += sum(self._reader_blocks)
        has_read, self._seen_blocks = blocks != self._seen_blocks, blocks
        return has_read

    def ask_for(self, dir_fd: int, device_id: int, entries: Iterable[Listed]) -> Stretch | None:
        """Have the first of ``entries`` of the directory ``dir_fd`` read. None if there are none, or enough has been asked for already.

        ``device_id`` is the directory's: what lies on another device is left alone.
        """
        chosen = []
        size_bytes = 0
        room_bytes = min(_STRETCH_BYTES, AHEAD_BYTES - self._bytes)
        room_entries = min(_STRETCH_ENTRIES, AHEAD_ENTRIES - self._entries) if self._tasks.qsize() < _WAITING_TASKS else 0
        for entry in islice((entry for entry in entries if _is_readable(entry[1], device_id)), room_entries):
            head_bytes = _head_bytes(entry[1])
            if size_bytes + head_bytes > room_bytes:
                break
            chosen.append(entry)
            size_bytes += head_bytes
        if not chosen:
            return None
        stretch = Stretch(chosen, size_bytes)
        self._bytes += size_bytes
        self._entries += stretch.count
        self._hand_over(dir_fd, stretch)
        return stretch

    def come_to(self, stretch: Stretch) -> None:
        """The scan is at the end of ``stretch``: what no reader has taken yet is left to it."""
        stretch.waiting.clear()
        self._bytes -= stretch.size_bytes
        self._entries -= stretch.count

    def _hand_over(self, dir_fd: int, stretch: Stretch) -> None:
        if not self._threads:
            self._start()
        with suppress(OSError):  # too many open files: then there are fewer readers
            for _ in range(min(len(self._threads), stretch.count)):
                self._tasks.put((os.dup(dir_fd), stretch))

    def _start(self) -> None:
        with suppress(RuntimeError):  # no more threads are allowed: then there are fewer readers, or none
            for number in range(_READERS):
                thread = threading.Thread(target=self._read, args=(number,), name=f"read-ahead-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _read(self, number: int) -> None:
        while (task := self._tasks.get()) is not None:
            dir_fd, stretch = task
            while not self._is_over:
                try:
                    name, st = stretch.waiting.popleft()
                except IndexError:
                    break
                with suppress(OSError):
                    _bring(dir_fd, name, st)
            os.close(dir_fd)
            self._reader_blocks[number] = _blocks_read()


def _blocks_read() -> int:
    """Of 512 bytes, by this thread, from a device or a server."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock


def _is_readable(st: os.stat_result, device_id: int) -> bool:
    return st.st_dev == device_id and (stat.S_ISDIR(st.st_mode) or (stat.S_ISREG(st.st_mode) and st.st_size > 0))


def _head_bytes(st: os.stat_result) -> int:
    return 0 if stat.S_ISDIR(st.st_mode) else min(st.st_size, _HEAD_BYTES)


def _bring(dir_fd: int, name: bytes, st: os.stat_result) -> None:
    """Bring into memory the head of a file; or a directory's names and what lstat says of them: there the scan waits when nothing has changed."""
    is_directory = stat.S_ISDIR(st.st_mode)
    fd = open_directory(name, dir_fd=dir_fd) if is_directory else open_source_file(dir_fd, name, st.st_uid)
    try:
        if not is_directory:
            os.posix_fadvise(fd, 0, _head_bytes(st), os.POSIX_FADV_WILLNEED)
            return
        with os.scandir(fd) as entries:
            for entry in islice(entries, BLOCK_ENTRIES):
                entry.stat(follow_symlinks=False)
    finally:
        os.close(fd)
