"""What is applied, what is left out on purpose, and what is reported."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.metadata import XattrReader, apply_metadata, node_from_stat

NOBODY = 65534


def _node(mode: int = 0o644, uid: int = 0, gid: int = 0, mtime_ns: int = 5, xattrs: tuple[tuple[bytes, bytes], ...] = ()) -> Node:
    return Node(b"x", Kind.FILE, mode, uid, gid, mtime_ns, 0, 0, 0, 0, b"", Extra(xattrs=xattrs))


def _new_file(scratch: Path) -> int:
    return os.open(scratch / "file", os.O_RDWR | os.O_CREAT, 0o600)


def test_a_node_has_the_numbers_of_its_stat(scratch: Path) -> None:
    (scratch / "file").write_text("12345")
    os.chmod(scratch / "file", 0o4751)  # the mode is the subject
    st = os.stat(scratch / "file")
    node = node_from_stat(b"file", st, Kind.FILE, b"", None)
    assert node == Node(b"file", 1, 0o4751, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_ctime_ns, st.st_dev, st.st_ino, 5, b"", None)
    assert node_from_stat(b"d", os.stat(scratch), Kind.DIRECTORY, entries=7).size == 7
    assert node_from_stat(b"l", st, Kind.SYMLINK).size == 0


@pytest.mark.parametrize(
    ("time_ns", "stored_ns"), [(-(1 << 63), -(1 << 63)), (-(1 << 70), -(1 << 63)), ((1 << 64) - 1, (1 << 64) - 1), (1 << 70, (1 << 64) - 1)]
)
def test_a_time_that_can_not_be_stored_becomes_the_nearest(scratch: Path, time_ns: int, stored_ns: int) -> None:
    """Some file systems keep whatever year anybody gives to a file."""
    st = os.stat(scratch)
    for times in ({"st_mtime_ns": time_ns, "st_ctime_ns": 7}, {"st_mtime_ns": 7, "st_ctime_ns": time_ns}):
        node = node_from_stat(b"x", os.stat_result(st, times), Kind.FIFO)
        assert sorted((node.mtime_ns, node.ctime_ns)) == sorted((7, stored_ns))


def test_set_id_bits_only_go_with_their_owner(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    fd = _new_file(scratch)
    for uid, gid in ((33, 34), (0, 0)):
        assert apply_metadata(_node(0o6755, uid, gid), fd, as_root=True) == []
        st = os.fstat(fd)
        assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (uid, gid, 0o6755)

    def body() -> list[int]:
        fd = _new_file(scratch / "user")
        modes = []
        for uid, gid in ((NOBODY, NOBODY), (NOBODY, 5), (5, NOBODY), (0, 0)):
            assert apply_metadata(_node(0o6755, uid, gid), fd, as_root=False) == []
            modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return modes

    (scratch / "user").mkdir()
    (scratch / "user").chmod(0o777)
    assert as_nobody(body) == [0o6755, 0o4755, 0o2755, 0o0755]


def test_set_id_bits_are_left_out_when_the_owner_could_not_be_set(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    def body() -> tuple[list[str], int]:
        fd = _new_file(scratch)
        problems = apply_metadata(_node(0o4755, 33, 33), fd, as_root=True)  # it is not, and finds out
        return problems, stat.S_IMODE(os.fstat(fd).st_mode)

    problems, mode = as_nobody(body)
    assert problems == ["owner 33:33 could not be set: Operation not permitted"]
    assert mode == 0o755


def test_privileged_attributes_are_for_root_alone(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    xattrs = ((b"security.test", b"1"), (b"trusted.test", b"2"), (b"user.test", b"3"))
    fd = _new_file(scratch)
    assert apply_metadata(_node(xattrs=xattrs), fd, as_root=True) == []
    assert XattrReader().of_open(fd, 1) == xattrs

    def body() -> object:
        fd = os.open(scratch / "of user", os.O_RDWR | os.O_CREAT, 0o600)
        return apply_metadata(_node(mode=0o400, xattrs=xattrs), fd, as_root=False), XattrReader().of_open(fd, 1)

    assert as_nobody(body) == ([], xattrs[2:])


def test_each_thing_that_fails_is_reported_and_the_rest_is_done(scratch: Path) -> None:
    fd = _new_file(scratch)
    xattrs = ((b"nonsense", b""), (b"user.nul\0", b""), (b"user.fine", b"yes"))
    problems = apply_metadata(_node(uid=1 << 40, mtime_ns=1 << 100, mode=0o640, xattrs=xattrs), fd, as_root=True)
    assert [problem.partition(" could")[0] for problem in problems] == [
        f"owner {1 << 40}:0",
        "extended attribute 'nonsense'",
        "extended attribute 'user.nul\\x00'",
        "time of change",
    ]
    assert os.getxattr(fd, "user.fine") == b"yes"
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o640


def test_a_file_system_without_attributes_is_asked_once(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    asked = []

    def refuse(where: object, follow_symlinks: bool) -> list[str]:
        asked.append(where)
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", refuse)
    reader = XattrReader()
    for _ in range(3):
        assert reader.of_open(7, device_id=1) == ()
        assert reader.of_entry(7, b"name", device_id=1) == ()
    assert asked == [7]
    reader.of_open(7, device_id=2)
    assert asked == [7, 7]


def test_attributes_and_entries_that_vanish_are_not_there_and_other_failures_are_heard(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    dir_fd = os.open(scratch, os.O_RDONLY)
    assert XattrReader().of_entry(dir_fd, b"absent", 1) == ()
    os.setxattr(dir_fd, b"user.here", b"1")
    real = os.listxattr
    monkeypatch.setattr(os, "listxattr", lambda *where, **options: ["user.gone", *real(*where, **options)])
    assert XattrReader().of_open(dir_fd, 1) == ((b"user.here", b"1"),)

    def fail(*unused: object, **options: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "getxattr", fail)
    with pytest.raises(OSError, match="Input/output error"):
        XattrReader().of_open(dir_fd, 1)
    os.close(dir_fd)


def test_a_link_is_not_followed_when_its_attributes_are_read(scratch: Path) -> None:
    (scratch / "file").touch()
    os.setxattr(scratch / "file", b"user.of_file", b"1")
    (scratch / "link").symlink_to("file")
    os.setxattr(scratch / "link", b"trusted.of_link", b"2", follow_symlinks=False)
    dir_fd = os.open(scratch, os.O_RDONLY)
    assert XattrReader().of_entry(dir_fd, b"link", 1) == ((b"trusted.of_link", b"2"),)
    os.close(dir_fd)
