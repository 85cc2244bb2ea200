"""ops/backup/entries.py: what becomes of an entry that changes, vanishes, or can not be read whole."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import pytest
from tests.acceptance.workshop import Workshop, open_workshop, scratch

from seedcorn.format.tree import Node
from seedcorn.fs.content import holes_of
from seedcorn.fs.metadata import XattrReader
from seedcorn.ops.backup import entries, recall
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with scratch() as folder, open_workshop(folder, settled=True) as opened:
        yield opened


@pytest.fixture
def at_opening(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, Callable[[], object]], None]:
    """Do something once, between the listing of a directory and the opening of its entry of that name."""
    real = os.open

    def arrange(name: bytes, work: Callable[[], object]) -> None:
        pending = [work]

        def opening(path: object, *arguments: Any, **options: Any) -> int:
            if path == name and pending:
                pending.pop()()
            return real(path, *arguments, **options)  # type: ignore[arg-type]  # passed on as it comes

        monkeypatch.setattr(os, "open", opening)

    return arrange


def settle() -> None:
    time.sleep(0.02)  # longer than the kernel's tick


def test_a_name_that_another_file_takes_over_says_nothing_of_the_other_names(
    workshop: Workshop, at_opening: Callable[[bytes, Callable[[], object]], None]
) -> None:
    """A rename changes the time of both files in the same tick: only the inode tells them apart."""
    make_tree(workshop.source, {"1/first": b"the file with two names", "new": b"another file"})
    for folder in ("2", "3"):
        (workshop.source / folder).mkdir()
        os.link(workshop.source / "1/first", workshop.source / folder / "other")

    first, new, kept = workshop.source / "1/first", workshop.source / "new", workshop.folder / "kept"
    os.link(first, kept)

    def replace() -> None:
        new.rename(first)
        while first.stat().st_ctime_ns != kept.stat().st_ctime_ns:  # the clock went on between the two
            first.rename(new)
            os.link(kept, first)
            new.rename(first)

    at_opening(b"first", replace)
    restored = workshop.restore(workshop.backup().id)
    assert (restored.target / "2/other").read_bytes() == (restored.target / "3/other").read_bytes() == b"the file with two names"
    assert (restored.target / "1/first").read_bytes() == b"another file"


@pytest.mark.parametrize("reading", ["file", "link", "directory"])
def test_attributes_that_can_not_be_read_are_said_in_every_run_and_the_rest_is_stored(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    make_tree(workshop.source, {"directory/file": b"content"})
    (workshop.source / "directory/link").symlink_to("file")
    inode = (workshop.source / {"directory": "directory"}.get(reading, f"directory/{reading}")).lstat().st_ino
    real = XattrReader._read

    def failing(self: XattrReader, where: int | bytes, device_id: int) -> object:
        if os.stat(where, follow_symlinks=isinstance(where, int)).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, where, device_id)

    monkeypatch.setattr(XattrReader, "_read", failing)
    for _ in range(3):
        settle()
        run = workshop.backup()
        assert [(os.path.basename(error.path), error.message) for error in run.result.errors] == [(reading.encode(), "Input/output error")]
        workshop.assert_restores(run.id, describe(workshop.source))


def test_more_attributes_than_can_be_stored(workshop: Workshop) -> None:
    """Anybody may give them to a file, and nobody stops the backup by that."""
    make_tree(workshop.source, {"file": b"content", "other": b"x"})
    for number in range(50):
        os.setxattr(workshop.source / "file", f"user.{number:02}", os.urandom(30_000))
    for _ in range(2):
        settle()
        run = workshop.backup()
        ((path, message),) = [(error.path, error.message) for error in run.result.errors]
        assert path == os.fsencode(workshop.source / "file")
        assert message == "extended attributes of 1500350 bytes together, and at most 524288 can be stored of one file"
        restored = workshop.restore(run.id)
        assert restored.errors == []
        assert (restored.target / "file").read_bytes() == b"content"
        assert os.listxattr(restored.target / "file") == []


def test_many_files_with_attributes_in_one_directory(workshop: Workshop) -> None:
    """Together they are more than a listing chunk holds, and by the names alone it would not be cut."""
    names = [name for name in (f"{number:03}" for number in range(100)) if crc32(name.encode()) & 3]
    for name in names:
        (workshop.source / name).touch()
        os.setxattr(workshop.source / name, "user.large", os.urandom(60_000))
    tree = describe(workshop.source)
    assert sum(len(value) for entry in tree.values() for _, value in entry.xattrs) > 4_000_000
    run = workshop.backup()
    assert run.result.exit_code == 0
    workshop.assert_restores(run.id, tree)


def test_a_link_that_vanishes_is_no_failure(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with files: a moment later it would not have been listed."""
    make_tree(workshop.source, {"file": b"1"})
    link, real = workshop.source / "link", os.readlink
    link.symlink_to("file")

    def vanishing(path: Any, **options: Any) -> Any:
        link.unlink(missing_ok=True)
        return real(path, **options)

    monkeypatch.setattr(os, "readlink", vanishing)
    run = workshop.backup()
    assert run.result.exit_code == 0
    assert run.monitor.notes == [f"{link}: has vanished since the directory was listed"]
    assert workshop.restore(run.id).tree().keys() == {b".", b"file"}


def test_a_sparse_file_that_is_cut_short_while_it_is_read_is_stored_up_to_there(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    path, block = workshop.source / "file", 1 << 16
    with open(path, "wb") as file:
        for number in (0, 3, 6):
            os.pwrite(file.fileno(), bytes([number + 1]) * block, number * block)
    whole = path.read_bytes()
    ends, real = [5 * block, 3 * block + 100], holes_of

    def cutting(fd: int, st: os.stat_result) -> object:
        found = real(fd, st)
        os.truncate(path, ends.pop(0))
        return found

    monkeypatch.setattr(entries, "holes_of", cutting)
    run = workshop.backup()
    assert (run.result.exit_code, ends) == (0, [])
    restored = workshop.restore(run.id)
    assert restored.errors == []
    assert (restored.target / "file").read_bytes() == whole[: 3 * block + 100]


def test_a_file_that_was_lost_and_has_become_a_directory(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(workshop.source, {"a": b"1", "b": b"2"})
    workshop.backup()
    settle()
    (workshop.source / "b").write_bytes(b"changed")
    settle()
    known = recall.Recorder.add_known

    def lost(recorder: recall.Recorder, node: Node, long_contents: Any) -> bool:
        if node.name != b"a":
            return known(recorder, node, long_contents)
        (workshop.source / "a").unlink()
        make_tree(workshop.source, {"a/inside": b"3"})
        return False

    monkeypatch.setattr(recall.Recorder, "add_known", lost)
    run = workshop.backup()
    assert [(error.path, error.message.partition(" while")[0]) for error in run.result.errors] == [
        (os.fsencode(workshop.source / "a"), "was replaced by a directory")
    ]
    assert workshop.restore(run.id).tree().keys() == {b".", b"b"}


def test_names_and_links_that_readers_refuse_do_not_take_their_neighbours_with_them(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems in user space know such."""
    make_tree(workshop.source, {"a": b"1", "long name": b"2", "long directory/file": b"3", "z": b"4"})
    (workshop.source / "link").symlink_to("a")
    monkeypatch.setattr(entries, "NAME_LIMIT_BYTES", 8)
    monkeypatch.setattr(os, "readlink", lambda *_, **__: b"")
    for _ in range(3):
        settle()
        run = workshop.backup()
        assert {os.path.basename(error.path): error.message for error in run.result.errors} == {
            b"link": "is a link to nothing, which can not be stored",
            b"long directory": "has a name of 14 bytes, and at most 8 can be stored",
            b"long name": "has a name of 9 bytes, and at most 8 can be stored",
        }
        assert workshop.restore(run.id).tree().keys() == {b".", b"a", b"z"}
