"""Listing directories and opening what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from seedcorn.fs import walk
from seedcorn.fs.walk import Block, list_directory, open_directory, open_source_file

NOATIME = os.O_NOATIME


@pytest.fixture
def opened(scratch: Path) -> int:
    return os.open(scratch, os.O_RDONLY)


def test_a_listing_is_sorted_by_bytes_and_describes_links_themselves(scratch: Path) -> None:
    names = [b"b", b"a", b"\xff", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"\xef\xbf\xbf", b"Z", b"-", "\N{SEEDLING}".encode()]
    for name in names:
        (scratch / os.fsdecode(name)).symlink_to("/etc/passwd")
    fd = open_directory(os.fsencode(scratch))
    (block,) = list_directory(fd)
    entries, failed, last = block
    assert last
    assert [name for name, _ in entries] == sorted(names)
    assert [st.st_size for _, st in entries] == [len("/etc/passwd")] * len(names)
    assert failed == []
    assert list(list_directory(fd)) == [block]  # and again from its beginning
    os.close(fd)


@pytest.mark.parametrize("block_entries", [1, 6, 7, 8, 100])
def test_a_large_directory_comes_in_blocks(block_entries: int, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_SORTED_NAMES", 5)
    monkeypatch.setattr(walk, "_PIECE_BYTES", 3)
    names = sorted(os.fsencode(f"{number * 7919 % 100_003:x}-{'x' * (number % 9)}") for number in range(8))
    for name in names:
        (scratch / os.fsdecode(name)).touch()
    fd = open_directory(os.fsencode(scratch))
    blocks = list(list_directory(fd, block_entries=block_entries))
    assert [name for block in blocks for name, _ in block.entries] == names
    assert max(len(block.entries) for block in blocks) <= block_entries
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    for block in blocks:
        for name, st in block.entries:
            assert os.path.samestat(st, os.lstat(name, dir_fd=fd))
    os.close(fd)


def test_entries_of_a_large_directory_vanish_or_fail_while_it_is_read(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        (scratch / f"{number}").touch()
    fd = open_directory(os.fsencode(scratch))
    blocks = list_directory(fd, block_entries=2)
    assert [name for name, _ in next(blocks).entries] == [b"0", b"1"]
    (scratch / "2").unlink()
    real_stat, broken = os.stat, OSError(5, "Input/output error")

    def failing_stat(path: Any, **named: Any) -> os.stat_result:
        if path == b"4":
            raise broken
        return real_stat(path, **named)

    monkeypatch.setattr(os, "stat", failing_stat)
    rest = list(blocks)
    assert [[name for name, _ in block.entries] for block in rest] == [[b"3"], [b"5"]]
    assert [block.failed for block in rest] == [[], [(b"4", broken)]]
    os.close(fd)


class _Failing:
    """An entry of os.scandir whose stat raises."""

    def __init__(self, name: str, error: OSError) -> None:
        self.name = name
        self._error = error

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise self._error


def test_vanished_entries_are_dropped_and_others_that_fail_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", lambda fd: nullcontext(iter([_Failing("gone", FileNotFoundError()), _Failing("broken", broken)])))
    assert list(list_directory(0)) == [Block([], [(b"broken", broken)], True)]


def test_nothing_but_a_real_directory_is_opened_as_one(scratch: Path) -> None:
    (scratch / "link").symlink_to("/etc")
    (scratch / "file").touch()
    for name in ("link", "file", "absent"):
        with pytest.raises(OSError, match=name):
            open_directory(os.fsencode(scratch / name))


def test_source_files_are_opened_without_following_blocking_or_touching_the_access_time(scratch: Path) -> None:
    (scratch / "file").write_text("content")
    (scratch / "link").symlink_to("file")
    os.mkfifo(scratch / "fifo")
    os.utime(scratch / "file", (1, 2))
    dir_fd = open_directory(os.fsencode(scratch))
    fd = open_source_file(dir_fd, b"file", os.geteuid())
    assert os.read(fd, 100) == b"content"
    os.close(fd)
    assert (scratch / "file").stat().st_atime == 1
    os.close(open_source_file(dir_fd, b"fifo"))  # nobody writes to it: a blocking open would wait for ever
    with pytest.raises(OSError, match="symbolic links"):
        open_source_file(dir_fd, b"link")
    os.close(dir_fd)


def test_files_of_others_are_read_by_an_ordinary_user_who_is_refused_only_once(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    (scratch / "of root").write_text("content")
    (scratch / "closed").touch(mode=0o600)

    def body() -> list[bool]:
        asked = []
        real_open = os.open

        def recording_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            asked.append(bool(flags & NOATIME))
            return real_open(path, flags, *rest, **named)

        dir_fd = open_directory(os.fsencode(scratch))
        os.open = recording_open  # in a child process of its own
        for _ in range(3):
            os.close(open_source_file(dir_fd, b"of root", 0))
        with pytest.raises(PermissionError):
            open_source_file(dir_fd, b"closed", 0)
        return asked

    assert as_nobody(body) == [True, False, False, False, False]
