"""Files that change, shrink, vanish or are replaced while they are read: the run ends, the snapshot can be restored, and says what is not certain."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.testing.repositories import make_tree, read_tree
from seedcorn.testing.trees import describe

_MIB = 1 << 20


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """``work`` over and over in another thread."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            work()

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"one more line\n" * 50)


def _cut_and_fill(path: Path) -> None:
    os.truncate(path, 1000)
    path.write_bytes(b"z" * _MIB)


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"y" * random.randrange(1, 2 * _MIB))
    other.rename(path)


def _in_place(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(random.randrange(_MIB))
        file.write(b"##")


@pytest.mark.parametrize("work", [_append, _cut_and_fill, _replace, _in_place])
def test_under_a_writer_that_never_rests(folder: Path, work: Callable[[Path], None]) -> None:
    with open_workshop(folder) as workshop:
        path = workshop.source / "log"
        path.write_bytes(b"x" * 4 * _MIB)
        make_tree(workshop.source, {"a/quiet": b"before", "z/quiet": b"after"})
        with _meanwhile(lambda: work(path)):
            runs = [workshop.backup() for _ in range(3)]
        for run in runs:
            assert run.result.exit_code == 0
            restored = workshop.restore(run.id)
            assert restored.errors == []
            assert (restored.target / "a" / "quiet").read_bytes() == b"before"
            assert (restored.target / "z" / "quiet").read_bytes() == b"after"
        tree = describe(workshop.source)
        workshop.assert_restores(workshop.backup().id, tree)


def test_appending_makes_a_prefix_and_says_so(folder: Path) -> None:
    """What is stored of a growing log is what it was at one moment."""
    with open_workshop(folder) as workshop:
        path = workshop.source / "log"
        path.write_bytes(b"".join(b"%08d\n" % number for number in range(4_000_000)))
        with _meanwhile(lambda: _append(path)):
            run = workshop.backup()
        restored = workshop.restore(run.id).target / "log"
        assert path.read_bytes().startswith(restored.read_bytes())
        browser = workshop.repository.browser(fresh=True)
        node = browser.entry(browser.find(run.id), os.fsencode(path)).node
        assert node.extra is not None and node.extra.changed


def _at_opening(monkeypatch: pytest.MonkeyPatch, name: bytes, work: Callable[[], object]) -> None:
    """Do ``work`` once, between the listing of the directory and the opening of its entry ``name``."""
    real = os.open
    pending = [work]

    def open_entry(path: object, *arguments: Any, **options: Any) -> int:
        if path == name and pending:
            pending.pop()()
        return real(path, *arguments, **options)  # type: ignore[arg-type]  # passed on as it comes

    monkeypatch.setattr(os, "open", open_entry)


def test_vanished(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(workshop.source, {"a": b"1", "b": b"2", "c": b"3"})
    _at_opening(monkeypatch, b"b", (workshop.source / "b").unlink)
    run = workshop.backup()
    assert run.result.exit_code == 0
    assert any("vanished" in note for note in run.monitor.notes)
    restored = workshop.restore(run.id)
    assert restored.errors == []
    assert sorted(os.listdir(restored.target)) == ["a", "c"]


@pytest.mark.parametrize("kind", ["a link", "a directory", "a pipe", "a shorter file", "a longer file"])
def test_replaced_before_it_is_opened(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    make_tree(workshop.source, {"a": b"1", "b": b"2" * 100_000, "c": b"3"})
    path = workshop.source / "b"

    def replace() -> None:
        path.unlink()
        replacements: dict[str, Callable[[], object]] = {
            "a link": lambda: path.symlink_to("/etc/passwd"),
            "a directory": path.mkdir,
            "a pipe": lambda: os.mkfifo(path),
            "a shorter file": lambda: path.write_bytes(b"short"),
            "a longer file": lambda: path.write_bytes(b"long" * 100_000),
        }
        replacements[kind]()

    _at_opening(monkeypatch, b"b", replace)
    run = workshop.backup()
    restored = workshop.restore(run.id)
    assert restored.errors == []
    if "file" in kind:
        assert run.result.exit_code == 0
        assert (restored.target / "b").read_bytes() == path.read_bytes()
    else:
        assert run.result.exit_code == 3
        assert not os.path.lexists(restored.target / "b")
    assert (restored.target / "c").read_bytes() == b"3"
    time.sleep(0.02)
    again = workshop.backup()
    assert again.result.exit_code == 0
    workshop.assert_restores(again.id, describe(workshop.source))


def test_a_directory_that_is_moved_away_while_the_tree_is_scanned(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(workshop.source, {"a/file": b"1", "b/file": b"2", "c/file": b"3"})
    _at_opening(monkeypatch, b"file", lambda: (workshop.source / "b").rename(workshop.folder / "elsewhere"))
    run = workshop.backup()
    assert run.result.exit_code == 3, "a listed directory that can not be opened is said"
    files = {
        os.path.relpath(os.fsdecode(path), workshop.source): content for path, content in read_tree(workshop.repository.browser()).items() if content
    }
    assert files == {"a/file": b"1", "c/file": b"3"}
