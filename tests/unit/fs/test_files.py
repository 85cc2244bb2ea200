"""Files as they come from several processes: in directories that another one has made, whole or in parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seedcorn.errors import TargetError
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.directories import DirectoryCache, DirectoryHandle
from seedcorn.fs.files import FileWriter, PartialFile, TargetOptions
from seedcorn.fs.target import Target


def _node(name: bytes = b"file", size: int = 8, mode: int = 0o644, **extra: Any) -> Node:
    return Node(name, Kind.FILE, mode, os.geteuid(), os.getegid(), 1_000_000_000, 0, 0, 0, size, b"", Extra(**extra))


def _raise(error: TargetError) -> None:
    raise error


def _target(path: Path, **options: Any) -> Target:
    return Target(os.fsencode(path), TargetOptions(as_root=os.geteuid() == 0, on_problem=_raise, **options))


class Elsewhere:
    """What a second process has: a descriptor of the target, and records of directories."""

    def __init__(self, target: Target) -> None:
        self._cache = DirectoryCache(4)
        self.root = self._cache.adopt_root(target.root.record, os.dup(target.root_fd))
        self.files = FileWriter(self._cache, TargetOptions(as_root=os.geteuid() == 0, on_problem=_raise, no_umask=True))

    def know(self, parent: DirectoryHandle, handle: DirectoryHandle) -> DirectoryHandle:
        return self._cache.know(parent, handle.record)


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("mode", [0o644, 0o400, 0o666, 0o777, 0o4755, 0o2755, 0o1600, 0])
def test_modes_and_owners_come_out_right(scratch: Path, mode: int) -> None:
    target = _target(scratch / "target", no_umask=True)
    group = os.getegid()
    if os.geteuid() == 0:  # new files in this directory take its group
        os.chown(scratch / "target", 0, 12)
        os.chmod(scratch / "target", 0o2700)
        group = 34
    below = target.open_directory(target.root, b"below")
    for directory in (target.root, below):
        node = msgspec.structs.replace(_node(mode=mode), gid=group)
        target.write_file(directory, node, [memoryview(b"restored")])
    for path in (scratch / "target" / "file", scratch / "target" / "below" / "file"):
        st = path.stat()
        assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (mode, os.geteuid(), group)
        assert (st.st_size, st.st_mtime_ns) == (8, 1_000_000_000)
    assert not below.exact or group == os.getegid()


def test_content_between_holes(scratch: Path) -> None:
    target = _target(scratch / "target")
    node = _node(size=100_000, holes=((10, 20_000), (30_000, 70_000)))
    content = os.urandom(10 + 9_990)
    target.write_file(target.root, node, [memoryview(content[:4]), memoryview(content[4:500]), memoryview(content[500:])])
    assert (scratch / "target" / "file").read_bytes() == content[:10] + bytes(20_000 - 0) + content[10:] + bytes(100_000 - 20_010 - 9_990)


def test_another_process_writes_into_what_this_one_made(scratch: Path) -> None:
    target = _target(scratch / "target")
    one = target.open_directory(target.root, b"one")
    two = target.open_directory(one, b"two")
    elsewhere = Elsewhere(target)
    there = elsewhere.know(elsewhere.know(elsewhere.root, one), two)
    elsewhere.files.write_file(there, _node(), [memoryview(b"restored")])
    assert (scratch / "target/one/two/file").read_bytes() == b"restored"


@pytest.mark.parametrize("trap", ["link", "other directory"])
def test_another_process_is_not_led_astray(scratch: Path, trap: str) -> None:
    outside = scratch / "outside"
    (outside / "two").mkdir(parents=True)
    target = _target(scratch / "target")
    one = target.open_directory(target.root, b"one")
    two = target.open_directory(one, b"two")
    (scratch / "target/one").rename(scratch / "moved")
    if trap == "link":
        (scratch / "target/one").symlink_to(outside)
    else:
        (scratch / "target/one/two").mkdir(parents=True)
    elsewhere = Elsewhere(target)
    there = elsewhere.know(elsewhere.know(elsewhere.root, one), two)
    with pytest.raises(TargetError):
        elsewhere.files.write_file(there, _node(), [memoryview(b"restored")])
    assert not list(scratch.rglob("file"))


def test_a_descriptor_of_something_else_is_not_the_target(scratch: Path) -> None:
    target = _target(scratch / "target")
    fd = os.open(scratch, os.O_RDONLY)
    with pytest.raises(TargetError, match="another directory"):
        DirectoryCache(4).adopt_root(target.root.record, fd)
    os.close(fd)


def test_parts_in_any_order(scratch: Path) -> None:
    target = _target(scratch / "target")
    node = _node(size=12, mode=0o640)
    pending = target.create_file(target.root, b"file")
    partial = target.partial(pending)
    elsewhere = Elsewhere(target)
    elsewhere.files.write_part(elsewhere.root, node, partial, [memoryview(b"ef"), memoryview(b"ghij")], 4)
    target.write_part(target.root, node, partial, [memoryview(b"kl")], 10)
    target.write_part(target.root, node, partial, [memoryview(b"abcd")], 0)
    assert not (scratch / "target/file").exists()
    target.finish_file(pending, node)
    assert (scratch / "target/file").read_bytes() == b"abcdefghijkl"
    assert stat.S_IMODE((scratch / "target/file").stat().st_mode) == 0o640


def _replace_by_link(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def _replace_by_hard_link(path: Path, precious: Path) -> None:
    path.hardlink_to(precious)


def _replace_by_fifo(path: Path, precious: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [_replace_by_link, _replace_by_hard_link, _replace_by_fifo])
def test_a_part_is_not_written_into_what_took_the_place_of_its_file(scratch: Path, replace: Callable[[Path, Path], None]) -> None:
    precious = scratch / "precious"
    precious.write_text("precious")
    target = _target(scratch / "target")
    pending = target.create_file(target.root, b"file")
    partial: PartialFile = target.partial(pending)
    path = scratch / "target" / os.fsdecode(pending.temporary_name)
    path.unlink()
    replace(path, precious)
    with pytest.raises(TargetError):
        target.write_part(target.root, _node(), partial, [memoryview(b"restored")], 0)
    assert precious.read_text() == "precious"
    target.discard_file(pending)


def test_what_a_killed_process_left_goes_and_nothing_else(scratch: Path) -> None:
    target = _target(scratch / "target")
    names = [f".seedcorn-{0x4D2:x}-1", f".seedcorn-{0x4D2:x}-a0", ".seedcorn-4d21-1", ".seedcorn-", "mine"]
    for name in names:
        (scratch / "target" / name).touch()
    target.remove_leftovers(target.root, 0x4D2)
    assert sorted(os.listdir(scratch / "target")) == sorted(names[2:])
