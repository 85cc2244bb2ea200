"""Every kind of file, every ugly name: what is restored is what was there. As root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.acceptance.workshop import Workshop, as_nobody, open_workshop

from seedcorn.store.local import LocalStore
from seedcorn.testing.trees import describe, differences, make_every_kind


def test_as_root(disk_folder: Path) -> None:
    with open_workshop(disk_folder, settled=True) as workshop:
        assert make_every_kind(workshop.source, as_root=True) == []
        _assert_round_trip(workshop, owners=True)


def test_as_an_ordinary_user(disk_folder: Path) -> None:
    def body() -> None:
        with open_workshop(disk_folder, LocalStore(disk_folder / "repository"), settled=True) as workshop:
            make_every_kind(workshop.source, as_root=False)
            _assert_round_trip(workshop, owners=False)

    as_nobody(body)


def _assert_round_trip(workshop: Workshop, *, owners: bool) -> None:
    """Two snapshots with edits in between; both restored, and the second also over the first."""
    first_tree = describe(workshop.source)
    first = workshop.backup()
    skipped = [note for note in first.monitor.notes if "socket" in note]
    assert len(skipped) == 1 and os.fspath(workshop.source / "special" / "socket") in skipped[0]
    unreadable = {path for path, entry in first_tree.items() if entry.kind == "file" and entry.digest is None}
    failed = {os.path.relpath(error.path, os.fsencode(workshop.source)) for error in first.result.errors}
    closed = {path for path, entry in first_tree.items() if entry.kind == "directory" and entry.mode & 0o500 != 0o500}
    assert failed == (set() if owners else unreadable | closed)
    first_tree = {path: entry for path, entry in first_tree.items() if path not in failed or entry.kind == "directory"}

    _edit(workshop.source)
    second_tree = {path: entry for path, entry in describe(workshop.source).items() if path not in failed or entry.kind == "directory"}
    second = workshop.backup()
    assert second.packs > 0

    over = workshop.restore(first.id)
    assert over.errors == []
    assert differences(first_tree, over.tree(), owners=owners) == []
    again = workshop.restore(second.id, target=over.target, existing=True)
    assert again.errors == []
    found = over.tree()
    assert differences(second_tree, {path: entry for path, entry in found.items() if path in second_tree}, owners=owners) == []
    assert found.keys() - second_tree.keys() == {path for path in first_tree.keys() - second_tree.keys() if first_tree[path].kind != "socket"}
    workshop.assert_restores(second.id, second_tree, owners=owners)


def _edit(top: Path) -> None:
    """A day's work on the tree, each kind of change once."""
    with open(top / "sizes" / "text-65536", "ab") as file:
        file.write(b"appended")
    with open(top / "sizes" / "noise-5242880", "r+b") as file:
        file.seek(2 << 20)
        file.write(b"in place")
    os.truncate(top / "sizes" / "text-1048577", 100)
    with open(top / "sparse" / "middle hole", "r+b") as file:
        file.seek(4 << 16)
        file.write(b"d" * (1 << 16))
    os.rename(top / "links" / "first", top / "links" / "renamed")
    os.link(top / "links" / "apart", top / "empty" / "apart")
    os.unlink(top / "links" / "dangling")
    os.symlink("elsewhere", top / "links" / "dangling")
    os.setxattr(top / "attributes" / "all", b"user.text", b"another value")
    os.removexattr(top / "attributes" / "directory", b"user.binary")
    os.chmod(top / "modes" / "file 0600", 0o640)
    os.utime(top / "times", ns=(5, 1_600_000_000_123_456_789))
    os.unlink(top / "special" / "fifo")
    (top / "special" / "fifo").write_bytes(b"a file now")
    os.rmdir(top / "empty" / "a" / "b")
    os.symlink("nowhere", top / "empty" / "a" / "b")
    shutil.rmtree(top / "names" / "directories")
    os.rename(top / "deep", top / "deeper")
    for number in range(0, 3000, 300):
        (top / "many" / f"entry {number}").write_bytes(b"no longer empty")
