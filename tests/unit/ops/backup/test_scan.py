"""Directories of many blocks and unchanged directories: what is read again, what is recorded, what is kept in memory."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from tests.acceptance.workshop import open_workshop, scratch

from seedcorn.events import Counter
from seedcorn.format.tree import Node
from seedcorn.fs import read_ahead
from seedcorn.fs.read_ahead import ReadAhead
from seedcorn.fs.walk import list_directory
from seedcorn.ops.backup import recall
from seedcorn.ops.backup.entries import EntryReader
from seedcorn.ops.backup.scan import TreeScanner
from seedcorn.ops.backup.scanned import ScannedDirectory
from seedcorn.repo.state import listings
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe

_TICK_SECONDS = 0.02


@pytest.fixture
def blocks_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_directory, "__kwdefaults__", {"block_entries": 10})
    monkeypatch.setattr(recall, "BLOCK_ENTRIES", 7)
    monkeypatch.setattr(recall, "_PART_BYTES", 1_000)


def settle() -> None:
    time.sleep(_TICK_SECONDS)


@pytest.mark.usefixtures("blocks_of_ten")
@pytest.mark.parametrize("edited", ["first", "middle", "last", "none", "subdirectory"])
def test_an_edit_in_a_directory_of_many_blocks(tmp_path: Path, edited: str) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        files = {f"file {number:03}": b"%d" % number for number in range(97)}
        files |= {f"file {number:03} long": os.urandom(300_000) for number in (5, 55)}
        make_tree(workshop.source, files | {"file 050 directory/below": b"x", "file 001 directory/below": b"x"})
        workshop.backup()
        settle()
        target = {"first": "file 000", "middle": "file 051", "last": "file 096", "subdirectory": "file 050 directory/below"}.get(edited)
        if target:
            (workshop.source / target).write_bytes(b"changed")
        settle()
        run = workshop.backup()
        assert run.monitor.counted[Counter.READ_BYTES] == (7 if target else 0)
        assert run.result.statistics.source_files == 97 + 2 + 2 + 2
        assert run.result.statistics.changed_files == (1 if target else 0)
        assert run.result.statistics.deleted_files == 0
        workshop.assert_restores(run.id, describe(workshop.source))
        (workshop.source / "file 000").write_bytes(b"changed once more")  # long files are taken over from what was taken over
        settle()
        assert workshop.backup().monitor.counted[Counter.READ_BYTES] == 17
        workshop.assert_restores("latest", describe(workshop.source))


@pytest.mark.usefixtures("blocks_of_ten")
@pytest.mark.parametrize("gone", [range(10), range(20, 40), range(90, 97), range(97)], ids=["first", "middle", "last", "all"])
def test_whole_blocks_are_deleted(tmp_path: Path, gone: range) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {f"file {number:03}": b"%d" % number for number in range(97)})
        workshop.backup()
        settle()
        for number in gone:
            (workshop.source / f"file {number:03}").unlink()
        settle()
        run = workshop.backup()
        assert run.result.statistics.deleted_files == len(gone)
        assert run.monitor.counted[Counter.READ_BYTES] == 0
        workshop.assert_restores(run.id, describe(workshop.source))


def test_an_unchanged_directory_is_neither_decoded_nor_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {f"{top}/{below}/{number}": b"x" for top in "abc" for below in "de" for number in range(5)})
        workshop.backup()
        settle()
        (workshop.source / "b/d/3").write_bytes(b"y")
        settle()
        recalled: list[int] = []
        until = recall.Recalled.until
        monkeypatch.setattr(recall.Recalled, "until", lambda self, last: (recalled.append(1), until(self, last))[1])
        run = workshop.backup()
        assert len(recalled) == 3  # the directory with the file, and those that lead to it
        workshop.assert_restores(run.id, describe(workshop.source))
        recalled.clear()
        settle()
        workshop.backup()
        assert recalled == []


def test_what_could_not_be_read_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {"good": b"x", "bad": b"y"})
        real = EntryReader._file
        broken = OSError(5, "Input/output error")

        def failing(self: EntryReader, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> object:
            return self.fail(path, broken) if name == b"bad" else real(self, dir_fd, name, path, st)

        monkeypatch.setattr(EntryReader, "_file", failing)
        for _ in range(3):
            settle()
            run = workshop.backup()
            assert run.result.exit_code == 3
            assert [error.path for error in run.result.errors] == [os.fsencode(workshop.source / "bad")]


@pytest.mark.parametrize("block_entries", [10, 2], ids=["one block", "many blocks"])
def test_what_was_lost_and_can_not_be_read_again_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_entries: int) -> None:
    """Its chunks are not in the index any more, so it has to be read, though it is as it was."""
    monkeypatch.setattr(list_directory, "__kwdefaults__", {"block_entries": block_entries})
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {"a lost": b"x", "b": b"y", "c": b"z"})
        workshop.backup()
        (workshop.source / "c").write_bytes(b"changed")  # so that the directory is recorded anew
        real_known, real_file = recall.Recorder.add_known, EntryReader._file
        monkeypatch.setattr(recall.Recorder, "add_known", lambda self, node, long: node.name != b"a lost" and real_known(self, node, long))

        def failing(self: EntryReader, dir_fd: int, name: bytes, path: bytes, st: os.stat_result) -> object:
            return self.fail(path, OSError(5, "Input/output error")) if name == b"a lost" else real_file(self, dir_fd, name, path, st)

        monkeypatch.setattr(EntryReader, "_file", failing)
        for _ in range(3):
            settle()
            run = workshop.backup()
            assert [error.path for error in run.result.errors] == [os.fsencode(workshop.source / "a lost")]
            browser = workshop.repository.browser()
            entry = browser.entry(browser.find("latest"), os.fsencode(workshop.source))
            assert entry.node.size == len(list(browser.children(entry))) == 2
        monkeypatch.undo()
        run = workshop.backup()
        assert run.result.exit_code == 0
        workshop.assert_restores(run.id, describe(workshop.source))


def test_a_recent_entry_is_not_believed_by_its_fingerprint(tmp_path: Path) -> None:
    """Its next change could leave every time stamp as it was."""
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=False) as workshop:
        make_tree(workshop.source, {"file": b"x"})
        workshop.backup()
        assert workshop.backup().monitor.counted[Counter.READ_BYTES] == 1


def edit_in_place(path: Path) -> None:
    """No time stamp of a directory shows it."""
    settle()
    with open(path, "r+b") as file:
        file.write(b"NEW")
    settle()


def test_a_subdirectory_that_was_backed_up_alone_meanwhile(tmp_path: Path) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {"a/b/file": b"old", "a/c/file": b"old", "other": b"x"})
        workshop.backup()
        edit_in_place(workshop.source / "a/b/file")
        workshop.backup(workshop.source / "a/b")
        run = workshop.backup()
        assert run.monitor.counted[Counter.READ_BYTES] == 0
        workshop.assert_restores(run.id, describe(workshop.source))


def test_a_run_that_was_killed_after_a_subdirectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        make_tree(workshop.source, {"a/b/file": b"old", "a/c/file": b"old", "other": b"x"})
        workshop.backup()
        edit_in_place(workshop.source / "a/b/file")
        with monkeypatch.context() as patch:
            patch.setattr(listings, "_FLUSH_BYTES", 0)
            leave = TreeScanner._leave

            def killed(self: TreeScanner, directory: ScannedDirectory, parent: ScannedDirectory | None) -> Node | None:
                if directory.name == b"a":
                    self._writer.finish()  # all that is known of the subdirectory is in the store
                    raise KeyboardInterrupt
                return leave(self, directory, parent)

            patch.setattr(TreeScanner, "_leave", killed)
            with pytest.raises(KeyboardInterrupt):
                workshop.backup()
        run = workshop.backup()
        workshop.assert_restores(run.id, describe(workshop.source))


@pytest.mark.parametrize("year", [1600, 3000])
def test_a_year_that_64_bits_can_not_hold(year: int) -> None:
    """Anybody can give it to a file, and nobody stops the backup by that."""
    time_ns = (year - 1970) * 31_556_952 * 10**9
    with scratch() as folder, open_workshop(folder, settled=True) as workshop:
        make_tree(workshop.source, {"a/file": b"1", "b": b"2"})
        for path in (workshop.source / "a/file", workshop.source / "a"):
            os.utime(path, ns=(0, time_ns))
        for _ in range(2):
            settle()
            run = workshop.backup()
            assert run.result.exit_code == 0
            tree = workshop.restore(run.id).tree()
            assert (tree[b"a/file"].size, tree[b"b"].size) == (1, 1)
            assert tree[b"a"].mtime_ns == min(max(os.stat(workshop.source / "a").st_mtime_ns, -(1 << 63)), (1 << 64) - 1)


def test_sizes_whose_sum_64_bits_can_not_hold() -> None:
    """Anybody can make such files, out of holes."""
    with scratch() as folder, open_workshop(folder, settled=True) as workshop:
        for name in "abc":
            (workshop.source / name).touch()
            os.truncate(workshop.source / name, (1 << 63) - 1)
        for _ in range(2):
            settle()
            run = workshop.backup()
            assert (run.result.exit_code, run.result.statistics.source_file_size) == (0, (1 << 64) - 1)
        workshop.repository.browser(fresh=True).find(run.id)
        (workshop.source / "b").unlink()
        (workshop.source / "c").unlink()
        settle()
        run = workshop.backup()
        assert run.result.statistics.source_file_size == (1 << 63) - 1
        assert (workshop.restore(run.id).target / "a").stat().st_size == (1 << 63) - 1


def test_a_scan_of_what_is_in_memory_starts_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ReadAhead, "ask_for", lambda *_: asked.append(threading.active_count()))
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository")) as workshop:
        make_tree(workshop.source, {f"{number}/file": b"x" for number in range(20)})
        workshop.backup()  # the program itself may come from the disk
        asked.clear()
        (workshop.source / "9/new").write_bytes(b"x")
        assert workshop.backup().monitor.counted[Counter.READ_BYTES] > 0
    assert asked == []


def test_a_scan_of_what_is_not_in_memory_has_read_ahead_what_it_will_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_STRETCH_ENTRIES", 3)
    monkeypatch.setattr(read_ahead, "_WAITING_TASKS", 10_000)  # on a busy machine readers may be late
    monkeypatch.setattr(read_ahead, "_blocks_read", itertools.count().__next__)
    asked: set[bytes] = set()
    hand_over = ReadAhead._hand_over

    def note(self: ReadAhead, dir_fd: int, stretch: read_ahead.Stretch) -> None:
        asked.update(name for name, _ in stretch.waiting)
        hand_over(self, dir_fd, stretch)

    monkeypatch.setattr(ReadAhead, "_hand_over", note)
    with open_workshop(tmp_path, LocalStore(tmp_path / "repository"), settled=True) as workshop:
        files = {f"{folder}/file {folder}-{number}": b"%d" % number for folder in range(9) for number in range(10)}
        make_tree(workshop.source, files)
        (workshop.source / "link").symlink_to("file")
        folders = {str(folder).encode() for folder in range(9)}
        run = workshop.backup()
        assert asked == {path.rpartition("/")[2].encode() for path in files} | folders
        workshop.assert_restores(run.id, describe(workshop.source))
        asked.clear()
        (workshop.source / "3/file 3-4").write_bytes(b"changed")
        (workshop.source / "3/new").write_bytes(b"new")
        settle()
        run = workshop.backup()
        assert asked == {b"file 3-4", b"new"} | folders
        workshop.assert_restores(run.id, describe(workshop.source))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
