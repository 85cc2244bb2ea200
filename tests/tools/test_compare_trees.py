"""tools/compare_trees.py: what a proof of a restore rests on must itself see every kind of difference."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from compare_trees import Difference, compare_by_reading, compare_trees, compare_with_rsync

AsNobody = Callable[[], AbstractContextManager[None]]
Compare = Callable[[bytes, bytes], list[Difference]]


def by_rsync(source: bytes, restored: bytes) -> list[Difference]:
    found = compare_with_rsync(source, restored)
    assert found is not None
    return found


def by_reading(source: bytes, restored: bytes) -> list[Difference]:
    return list(compare_by_reading(source, restored))


@pytest.fixture(params=[by_rsync, by_reading])
def compare(request: pytest.FixtureRequest) -> Compare:
    function: Compare = request.param
    return function


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A small tree with some of everything, and an exact copy of it made by cp."""
    source = tmp_path / "a source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_bytes(b"content")
    (source / "twin").hardlink_to(source / "file")
    (source / "sub" / "other").write_bytes(b"content")
    (source / "link").symlink_to("file")
    os.setxattr(source / "file", "user.origin", b"here")
    os.mkfifo(source / "pipe")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", source, copy], check=True)
    return source, copy


def paths_of(differences: list[Difference]) -> set[bytes]:
    return {difference.path for difference in differences}


def keep_mtime(path: Path, change: Callable[[], object]) -> None:
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_copy_is_the_same(compare: Compare, trees: tuple[Path, Path]) -> None:
    source, copy = trees
    assert compare(os.fsencode(source), os.fsencode(copy)) == []


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "content": ("file", lambda copy: keep_mtime(copy / "file", lambda: (copy / "file").write_bytes(b"CONTENT"))),
    "mode": ("file", lambda copy: (copy / "file").chmod(0o611)),
    "group": ("file", lambda copy: os.chown(copy / "file", -1, os.getgroups()[-1] if os.geteuid() else 34)),
    "nanoseconds": ("sub/other", lambda copy: os.utime(copy / "sub/other", ns=(0, (copy / "sub/other").stat().st_mtime_ns + 1))),
    "xattr": ("file", lambda copy: os.setxattr(copy / "file", "user.origin", b"there")),
    "acl": ("sub/other", lambda copy: subprocess.run(["setfacl", "-m", "u:12:r", copy / "sub/other"], check=True)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_is_one_difference(change: str, compare: Compare, trees: tuple[Path, Path]) -> None:
    source, copy = trees
    path, make = CHANGES[change]
    make(copy)
    found = paths_of(compare(os.fsencode(source), os.fsencode(copy)))
    assert os.fsencode(path) in found
    assert found <= {os.fsencode(path), b"twin"}  # a linked name shows what happens to the file


def test_missing_extra_and_retargeted_names(compare: Compare, trees: tuple[Path, Path]) -> None:
    source, copy = trees
    (copy / "sub" / "other").unlink()
    (copy / "extra").touch()
    (copy / "link").unlink()
    (copy / "link").symlink_to("twin")
    found = paths_of(compare(os.fsencode(source), os.fsencode(copy)))
    assert {b"sub/other", b"extra", b"link"} <= found


def test_a_broken_hard_link_is_a_difference(compare: Compare, trees: tuple[Path, Path]) -> None:
    source, copy = trees
    (copy / "twin").unlink()
    subprocess.run(["cp", "-a", copy / "file", copy / "twin"], check=True)
    os.utime(copy, ns=(0, source.stat().st_mtime_ns))
    assert paths_of(compare(os.fsencode(source), os.fsencode(copy))) == {b"twin"}


def test_names_that_are_not_text(compare: Compare, trees: tuple[Path, Path]) -> None:
    source, copy = (os.fsencode(tree) for tree in trees)
    name = b"bad \xff\n\\#012 name"
    with open(os.path.join(source, name), "wb"):
        pass
    assert name in paths_of(compare(source, copy))


def test_a_tree_that_rsync_can_not_read_is_read_the_other_way(trees: tuple[Path, Path], open_folder: Path, as_nobody: AsNobody) -> None:
    source, copy = (shutil.copytree(tree, open_folder / tree.name, ignore=shutil.ignore_patterns("pipe")) for tree in trees)
    for tree in (source, copy):
        (tree / "sub").chmod(0)
    with as_nobody():
        found = compare_trees(os.fsencode(source), os.fsencode(copy))
    assert found == [Difference(b"sub", "can not be read: Permission denied")]


def test_a_socket_is_seen(compare: Compare, trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, copy = trees
    monkeypatch.chdir(source)  # a socket's path is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    assert b"socket" in paths_of(compare(os.fsencode(source), os.fsencode(copy)))
