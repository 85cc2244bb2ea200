"""tools/prove_restore.py: which differences are the backup's fault."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from compare_trees import Difference
from prove_restore import CLOCK_GRANULARITY_NS, Verdict, sort_differences

LATER_NS = 10 * CLOCK_GRANULARITY_NS


def verdict_on(source: Path, *paths: str, started_ns: int) -> Verdict:
    return sort_differences([Difference(os.fsencode(path), "content") for path in paths], os.fsencode(source), started_ns)


def test_a_file_that_was_still_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    verdict = verdict_on(tmp_path, "file", started_ns=time.time_ns() + LATER_NS)
    assert [difference.path for difference in verdict.wrong] == [b"file"]


def test_a_file_that_was_written_meanwhile_is_none(tmp_path: Path) -> None:
    started_ns = time.time_ns()
    (tmp_path / "file").touch()
    verdict = verdict_on(tmp_path, "file", started_ns=started_ns)
    assert verdict.changed
    assert not verdict.wrong


def test_a_file_that_was_removed_meanwhile_shows_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    still = verdict_on(tmp_path, "sub/gone", started_ns=time.time_ns() + LATER_NS)
    assert still.wrong  # the directory is as it was: the copy made that name up
    started_ns = time.time_ns()
    (tmp_path / "sub" / "gone").touch()
    (tmp_path / "sub" / "gone").unlink()
    assert verdict_on(tmp_path, "sub/gone", started_ns=started_ns).changed


def test_sockets_are_told_apart(tmp_path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)  # a socket's path is limited to 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.fchdir(here)
        os.close(here)
    assert verdict_on(tmp_path, "socket", started_ns=time.time_ns() + LATER_NS).sockets


def test_what_the_user_may_not_read_is_told_apart(open_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]) -> None:
    (open_folder / "file").touch(mode=0)
    (open_folder / "folder").mkdir(mode=0)
    with as_nobody():
        verdict = verdict_on(open_folder, "file", "folder", started_ns=time.time_ns() + LATER_NS)
    assert [difference.path for difference in verdict.unreadable] == [b"file", b"folder"]
