"""Readers ahead of a scan: what they open, how much of it at a time, and that nothing of them stays."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from seedcorn.fs import read_ahead
from seedcorn.fs.read_ahead import AHEAD_BYTES, AHEAD_ENTRIES, ReadAhead
from seedcorn.fs.walk import Listed, list_directory, open_directory

_LIMIT_SECONDS = 20


class Opened:
    """A directory with what its listing said."""

    def __init__(self, path: Path) -> None:
        self.fd = open_directory(os.fsencode(path))
        self.device_id = os.fstat(self.fd).st_dev
        self.entries: list[Listed] = []
        self.list()

    def list(self) -> None:
        self.entries = [entry for block in list_directory(self.fd) for entry in block.entries]

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def opened(scratch: Path) -> Iterator[Opened]:
    directory = Opened(scratch)
    yield directory
    directory.close()


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(inode, bytes) of every advice that is given."""
    given: list[tuple[int, int]] = []
    give = os.posix_fadvise

    def note(fd: int, offset: int, length: int, advice: int) -> None:
        assert (offset, advice) == (0, os.POSIX_FADV_WILLNEED)
        given.append((os.fstat(fd).st_ino, length))
        give(fd, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    return given


def make_hollow(path: Path, size_bytes: int) -> None:
    path.touch()
    os.truncate(path, size_bytes)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def open_files() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_the_heads_of_regular_files_are_asked_for_and_nothing_else(scratch: Path, opened: Opened, advised: list[tuple[int, int]]) -> None:
    (scratch / "small").write_bytes(b"x" * 100)
    make_hollow(scratch / "large", 10 << 20)
    (scratch / "empty").touch()
    (scratch / "link").symlink_to("small")
    os.mkfifo(scratch / "fifo")
    opened.list()
    with ReadAhead() as ahead:
        stretch = ahead.ask_for(opened.fd, opened.device_id, opened.entries)
        assert stretch is not None
        assert (stretch.count, stretch.last) == (2, b"small")
        wait_for(lambda: len(advised) == 2)
    assert sorted(advised) == sorted([((scratch / "small").stat().st_ino, 100), ((scratch / "large").stat().st_ino, 4 << 20)])


def test_what_has_been_replaced_since_is_neither_followed_nor_waited_for(scratch: Path, opened: Opened, advised: list[tuple[int, int]]) -> None:
    for name in ("fifo", "gone", "link", "plain"):
        (scratch / name).write_bytes(b"x")
    (scratch / "directory").mkdir()
    opened.list()
    for name in ("fifo", "gone", "link"):
        (scratch / name).unlink()
    (scratch / "directory").rmdir()
    os.mkfifo(scratch / "fifo")
    (scratch / "link").symlink_to("plain")
    (scratch / "directory").symlink_to("/")
    with ReadAhead() as ahead:
        assert ahead.ask_for(opened.fd, opened.device_id, opened.entries) is not None
        wait_for(lambda: ((scratch / "plain").stat().st_ino, 1) in advised)
    assert {inode for inode, _ in advised} <= {(scratch / "plain").stat().st_ino, (scratch / "fifo").stat().st_ino}


def test_the_entries_of_a_directory_are_looked_at(scratch: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "directory").mkdir()
    opened.list()
    scanned = []
    scan = os.scandir

    def note(fd: int) -> object:
        scanned.append(os.fstat(fd).st_ino)
        return scan(fd)

    with monkeypatch.context() as patch, ReadAhead() as ahead:
        patch.setattr(os, "scandir", note)
        assert ahead.ask_for(opened.fd, opened.device_id, opened.entries) is not None
        wait_for(lambda: scanned)
    assert scanned == [(scratch / "directory").stat().st_ino]


def test_what_is_mounted_is_left_alone(scratch: Path, opened: Opened) -> None:
    (scratch / "file").write_bytes(b"x")
    opened.list()
    with ReadAhead() as ahead:
        assert ahead.ask_for(opened.fd, opened.device_id + 1, opened.entries) is None
        assert readers() == []


@pytest.mark.parametrize(("size_bytes", "at_most"), [(1, AHEAD_ENTRIES), (3 << 20, AHEAD_BYTES // (3 << 20)), (1 << 40, AHEAD_BYTES // (4 << 20))])
def test_no_more_is_asked_for_than_the_limits(size_bytes: int, at_most: int, scratch: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        make_hollow(scratch / f"{number:03}", size_bytes)
    opened.list()
    going_on = threading.Event()
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: going_on.wait(_LIMIT_SECONDS))
    with ReadAhead() as ahead:
        stretches = list(iter(lambda: ahead.ask_for(opened.fd, opened.device_id, opened.entries), None))
        counts = [stretch.count for stretch in stretches]
        assert at_most - 4 < sum(counts) <= at_most
        assert len(counts) >= 4  # no directory takes all of it
        ahead.come_to(stretches[-1])
        assert not stretches[-1].waiting
        if size_bytes > 1:  # as much again; or, of small ones, too many tasks are waiting
            again = ahead.ask_for(opened.fd, opened.device_id, opened.entries)
            assert again is not None
            assert again.count == counts[-1]
        going_on.set()


def test_readers_that_do_not_get_on_are_not_given_more(scratch: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        (scratch / f"{number}").write_bytes(b"x")
    opened.list()
    going_on = threading.Event()
    stuck = threading.Semaphore(0)

    def wait(*_: int) -> None:
        stuck.release()
        assert going_on.wait(_LIMIT_SECONDS)

    monkeypatch.setattr(os, "posix_fadvise", wait)
    before = len(open_files())
    with ReadAhead() as ahead:
        ahead.ask_for(opened.fd, opened.device_id, opened.entries)
        assert all(stuck.acquire(timeout=_LIMIT_SECONDS) for _ in range(8))
        for _ in range(1000):
            stretch = ahead.ask_for(opened.fd, opened.device_id, opened.entries)
            if stretch is not None:
                ahead.come_to(stretch)
        assert len(open_files()) < before + 100
        going_on.set()
    assert len(open_files()) == before


def test_readers_and_descriptors_end_with_the_scan_even_in_the_middle(scratch: Path, opened: Opened, advised: list[tuple[int, int]]) -> None:
    for number in range(50):
        (scratch / f"{number}").write_bytes(b"x")
    opened.list()
    before = open_files()
    with suppress(KeyboardInterrupt), ReadAhead() as ahead:
        ahead.ask_for(opened.fd, opened.device_id, opened.entries)
        assert readers()
        assert all(thread.daemon for thread in readers())
        raise KeyboardInterrupt
    assert readers() == []
    assert open_files() == before
    assert len(advised) <= 50


def test_a_directory_may_be_closed_under_its_readers(scratch: Path, advised: list[tuple[int, int]]) -> None:
    for number in range(20):
        (scratch / f"{number}").write_bytes(b"x")
    opened = Opened(scratch)
    with ReadAhead() as ahead:
        ahead.ask_for(opened.fd, opened.device_id, opened.entries)
        opened.close()
        wait_for(lambda: len(advised) == 20)


def test_too_many_open_files_are_no_failure(scratch: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "file").write_bytes(b"x")
    opened.list()

    def refuse(fd: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch, ReadAhead() as ahead:
        patch.setattr(os, "dup", refuse)
        assert ahead.ask_for(opened.fd, opened.device_id, opened.entries) is not None


@pytest.mark.parametrize("allowed", [0, 1])
def test_too_many_threads_are_no_failure(
    scratch: Path, opened: Opened, advised: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    (scratch / "file").write_bytes(b"x")
    opened.list()
    before = len(open_files())
    start, begun = threading.Thread.start, itertools.count()

    def refuse(thread: threading.Thread) -> None:
        if next(begun) >= allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch, ReadAhead() as ahead:
        patch.setattr(threading.Thread, "start", refuse)
        assert ahead.ask_for(opened.fd, opened.device_id, opened.entries) is not None
        wait_for(lambda: len(advised) == allowed)
    assert (readers(), len(open_files())) == ([], before)


def test_it_is_worth_while_after_a_device_has_been_read_by_the_scan_or_a_reader(
    scratch: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch / "file").write_bytes(b"x")
    opened.list()
    blocks = {threading.get_ident(): 5}
    counter = itertools.count(8)
    monkeypatch.setattr(read_ahead, "_blocks_read", lambda: blocks.setdefault(threading.get_ident(), next(counter)))
    with ReadAhead() as ahead:
        assert not ahead.is_worth_while()
        blocks[threading.get_ident()] += 8
        assert ahead.is_worth_while()
        assert not ahead.is_worth_while()
        ahead.ask_for(opened.fd, opened.device_id, opened.entries)
        wait_for(ahead.is_worth_while)
