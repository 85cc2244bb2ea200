"""The safe writer under attack and under load: nothing is ever written outside of the target, and nothing is half there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import TargetError, UsageError
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs import target as target_module
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.files import LinkSource, Overwrite, TargetOptions
from seedcorn.fs.target import Target, refuse_filled
from seedcorn.testing.trees import describe

BAD_NAMES = [b"", b".", b"..", b"a/b", b"/", b"/etc/passwd", b"../x", b"nul\0inside"]


def _node(name: bytes, kind: Kind = Kind.FILE, mode: int = 0o644, **extra: Any) -> Node:
    return Node(name, kind, mode, os.geteuid(), os.getegid(), 1_000_000_000, 0, 0, 0, 0, b"", Extra(**extra))


def _raise(error: TargetError) -> None:
    raise error


def _open(path: Path, **options: Any) -> Target:
    return Target(os.fsencode(path), TargetOptions(as_root=options.pop("as_root", True), on_problem=options.pop("on_problem", _raise), **options))


def _write(target: Target, directory: DirectoryHandle, name: bytes, data: bytes = b"restored", **node: Any) -> Any:
    pending = target.create_file(directory, name)
    os.write(pending.fd, data)
    return target.finish_file(pending, _node(name, **node))


@pytest.fixture
def outside(scratch: Path) -> Iterator[Path]:
    """A directory beside the target that must be as it was when the test ends."""
    path = scratch / "outside"
    path.mkdir()
    (path / "precious").write_text("precious")
    before = describe(path)
    yield path
    assert describe(path) == before


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_one_component_is_refused_by_every_call(scratch: Path, name: bytes) -> None:
    target = _open(scratch / "target")
    source = _write(target, target.root, b"file", link_count=2)
    before = describe(scratch)
    calls: list[Callable[[], object]] = [
        lambda: target.open_directory(target.root, name),
        lambda: target.create_file(target.root, name),
        lambda: target.make_special(target.root, _node(name, Kind.SYMLINK, target=b"x")),
        lambda: target.make_special(target.root, _node(name, Kind.FIFO)),
        lambda: target.make_hard_link(target.root, name, source),
        lambda: target.keeps(target.root, name),
    ]
    for call in calls[: 5 + (not target.root.fresh)]:
        with pytest.raises(TargetError, match="not the name of a directory entry"):
            call()
    assert describe(scratch) == before


def test_a_symbolic_link_is_never_a_way_out(scratch: Path, outside: Path) -> None:
    """A hostile listing: a link out of the target, then a directory and a file of the same name."""
    target = _open(scratch / "target")
    target.make_special(target.root, _node(b"way", Kind.SYMLINK, target=os.fsencode(outside)))
    below = target.open_directory(target.root, b"way")
    _write(target, below, b"precious")
    target.make_special(target.root, _node(b"precious", Kind.SYMLINK, target=os.fsencode(outside / "precious")))
    _write(target, target.root, b"precious")
    target.finish()
    assert (scratch / "target/way").is_dir()
    assert not (scratch / "target/way").is_symlink()
    assert (scratch / "target/precious").read_text() == (scratch / "target/way/precious").read_text() == "restored"
    assert not (scratch / "target/precious").is_symlink()


def test_planted_links_in_an_existing_target_are_replaced_or_kept_but_not_followed(scratch: Path, outside: Path) -> None:
    for overwrite in Overwrite:
        path = scratch / overwrite.value
        path.mkdir()
        (path / "directory").symlink_to(outside)
        (path / "file").symlink_to(outside / "precious")
        (path / "hard").hardlink_to(outside / "precious")
        target = _open(path, allow_existing=True, overwrite=overwrite)
        names = [b"file", b"hard"]
        if overwrite is Overwrite.NEVER:
            with pytest.raises(TargetError, match=r"^directory: File exists"):
                target.open_directory(target.root, b"directory")
            assert all(target.keeps(target.root, name) for name in names)
            for name in names:  # even if nobody asked before
                with pytest.raises(TargetError, match="File exists"):
                    _write(target, target.root, name)
            assert (path / "file").is_symlink()
            assert (path / "directory").is_symlink()
        else:
            _write(target, target.open_directory(target.root, b"directory"), b"precious")
            for name in names:
                assert not target.keeps(target.root, name)
                _write(target, target.root, name)
            assert (path / "hard").read_text() == "restored"
            assert not (path / "file").is_symlink()
        target.close()
        assert not list(path.glob(".seedcorn-*"))
        (path / "hard").unlink()


def test_a_directory_that_is_replaced_while_it_is_closed_is_noticed(scratch: Path, outside: Path) -> None:
    path = scratch / "target"
    target = _open(path, open_directories=1)
    victim = target.open_directory(target.root, b"victim")
    below = target.open_directory(victim, b"below")
    target.open_directory(target.root, b"other")  # closes the others: only one may be open
    (path / "victim").rename(path / "moved")
    (path / "victim").symlink_to(outside)
    for directory, name in ((victim, b"victim/x"), (below, b"victim/below/x")):
        with pytest.raises(TargetError) as caught:
            _write(target, directory, b"x")
        assert caught.value.path == name
    (path / "victim").unlink()
    (path / "victim").mkdir()
    with pytest.raises(TargetError, match="another directory was put in its place"):
        _write(target, victim, b"x")


def test_a_directory_that_is_replaced_while_it_is_open_is_written_to_where_it_went(scratch: Path, outside: Path) -> None:
    path = scratch / "target"
    target = _open(path)
    victim = target.open_directory(target.root, b"victim")
    (path / "victim").rename(path / "moved")
    (path / "victim").symlink_to(outside)
    _write(target, victim, b"precious")
    assert (path / "moved/precious").read_text() == "restored"


def test_a_hard_link_is_only_made_to_what_was_written(scratch: Path, outside: Path) -> None:
    path = scratch / "target"
    target = _open(path)
    source = _write(target, target.root, b"first", link_count=2)
    (path / "first").unlink()
    (path / "first").hardlink_to(outside / "precious")
    with pytest.raises(TargetError, match="was replaced"):
        target.make_hard_link(target.root, b"second", source)
    (path / "first").unlink()
    (path / "first").symlink_to(outside / "precious")
    st = (path / "first").lstat()
    for replaced in (source, LinkSource(target.root, b"first", st.st_dev, st.st_ino)):  # an inode number can come back
        with pytest.raises(TargetError, match="was replaced"):
            target.make_hard_link(target.root, b"second", replaced)
    assert sorted(os.listdir(path)) == ["first"]
    (path / "first").unlink()


def test_a_hard_link_can_be_made_twice_and_over_what_is_there(scratch: Path) -> None:
    target = _open(scratch / "target")
    source = _write(target, target.root, b"first", link_count=3)
    below = target.open_directory(target.root, b"below")
    for name in (b"second", b"second", b"first"):
        target.make_hard_link(target.root, name, source)
    target.make_hard_link(below, b"third", source)
    assert os.stat(scratch / "target/first").st_nlink == 3
    assert sorted(os.listdir(scratch / "target")) == ["below", "first", "second"]


def test_a_file_has_its_name_only_once_it_is_finished(scratch: Path) -> None:
    path = scratch / "target"
    target = _open(path)
    pending = target.create_file(target.root, b"file")
    os.write(pending.fd, b"half")
    assert not (path / "file").exists()
    assert stat.S_IMODE(os.fstat(pending.fd).st_mode) == 0o600
    target.discard_file(pending)
    assert os.listdir(path) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pending.fd)


def test_what_can_not_be_installed_leaves_nothing_behind(scratch: Path) -> None:
    path = scratch / "target"
    target = _open(path)
    _write(target, target.open_directory(target.root, b"full"), b"inside")
    for make in (lambda: _write(target, target.root, b"full"), lambda: target.make_special(target.root, _node(b"full", Kind.FIFO))):
        with pytest.raises(TargetError, match=r"^full: Directory not empty"):
            make()
    with pytest.raises(TargetError, match="too long"):
        _write(target, target.root, b"n" * 256)
    assert os.listdir(path) == ["full"]
    _write(target, target.root, b"empty")
    assert target.open_directory(target.root, b"empty").fresh


@pytest.mark.parametrize(
    "node",
    [
        _node(b"x", Kind.SYMLINK, target=b"nul\0inside"),
        _node(b"x", Kind.SYMLINK, target=b"t" * 5000),
        _node(b"x", Kind.SYMLINK),
        _node(b"x", Kind.CHAR_DEVICE, device=1 << 70),
        _node(b"x", Kind.CHAR_DEVICE, device=-5),
    ],
)
def test_numbers_and_strings_that_no_system_takes_are_target_errors(scratch: Path, node: Node) -> None:
    target = _open(scratch / "target")
    with pytest.raises(TargetError) as caught:
        target.make_special(target.root, node)
    assert caught.value.path == b"x"
    assert os.listdir(scratch / "target") == []


def test_an_impossible_size_discards_the_file(scratch: Path) -> None:
    target = _open(scratch / "target")
    pending = target.create_file(target.root, b"x")
    node = Node(b"x", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, 1 << 65, b"", Extra(holes=((0, 1 << 65),)))
    with pytest.raises(TargetError):
        target.finish_file(pending, node)
    assert os.listdir(scratch / "target") == []


def test_the_target_is_new_or_empty_unless_said_otherwise(scratch: Path) -> None:
    path = scratch / "new/deeper/target"
    _open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    _open(path).close()
    (path / "something").touch()
    with pytest.raises(UsageError, match="is not empty"):
        _open(path)
    _open(path, allow_existing=True).close()
    with pytest.raises(TargetError, match="Not a directory"):
        _open(path / "something")


@pytest.mark.usefixtures("no_umask")
def test_nobody_else_gets_into_a_directory_that_is_not_finished(scratch: Path) -> None:
    target = _open(scratch / "target")
    target.open_directory(target.open_directory(target.root, b"a"), b"b")
    modes = [stat.S_IMODE((scratch / "target" / path).stat().st_mode) for path in (".", "a", "a/b")]
    assert modes == [0o700] * 3


def test_directories_get_their_metadata_last_and_the_deepest_first(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    path = scratch / "target"

    def body() -> None:
        target = _open(path, as_root=False, open_directories=1)
        outer = target.open_directory(target.root, b"outer")
        inner = target.open_directory(outer, b"inner")
        target.finish_directory(outer, _node(b"outer", Kind.DIRECTORY, mode=0o000))
        target.finish_directory(inner, _node(b"inner", Kind.DIRECTORY, mode=0o555))
        _write(target, inner, b"late")
        target.finish()

    as_nobody(body)
    for name, mode in (("outer", 0o000), ("outer/inner", 0o555)):
        st = (path / name).stat()
        assert (stat.S_IMODE(st.st_mode), st.st_mtime_ns) == (mode, 1_000_000_000)


def test_a_default_acl_of_an_existing_directory_is_not_handed_down(scratch: Path) -> None:
    path = scratch / "target"
    path.mkdir()
    row = b"".join
    acl = bytes.fromhex("02000000") + row(
        bytes.fromhex(entry) for entry in ("01000700ffffffff", "02000700d2040000", "04000500ffffffff", "10000700ffffffff", "20000500ffffffff")
    )
    os.setxattr(path, "system.posix_acl_default", acl)
    target = _open(path, allow_existing=True)
    below = target.open_directory(target.root, b"below")
    for directory in (target.root, below):
        _write(target, directory, b"file", mode=0o640)
        target.make_special(directory, _node(b"fifo", Kind.FIFO, mode=0o640))
        target.make_special(directory, _node(b"link", Kind.SYMLINK, target=b"x"))
    target.finish()
    described = describe(path)
    assert described.pop(b".").xattrs == ((b"system.posix_acl_default", acl),)
    assert {entry.xattrs for entry in described.values()} == {()}
    assert described[b"file"].mode == described[b"below/fifo"].mode == 0o640


def test_directories_deeper_than_the_cache_and_than_any_path(scratch: Path) -> None:
    target = _open(scratch / "target", open_directories=5)
    handles = [target.root]
    for level in range(60):
        handles.append(target.open_directory(handles[-1], b"%03d" % level + b"d" * 100))
    for handle in (handles[60], handles[3], handles[59], handles[31]):
        _write(target, handle, b"file", handle.path()[-3:])
    assert len(handles[-1].path()) > 6_000
    for handle in handles[1:]:
        target.finish_directory(handle, _node(handle.name, Kind.DIRECTORY, mode=0o750))
    open_before = len(os.listdir("/proc/self/fd"))
    target.finish()
    assert len(os.listdir("/proc/self/fd")) <= open_before + 1
    described = describe(scratch / "target")
    assert sum(entry.kind == "file" for entry in described.values()) == 4
    assert {entry.mode for entry in described.values() if entry.kind == "directory"} == {0o750, 0o700}
    target.close()


def test_many_threads_write_into_the_same_and_different_directories(scratch: Path) -> None:
    target = _open(scratch / "target", open_directories=3)
    directories = [target.open_directory(target.root, b"%d" % number) for number in range(12)]

    def write(number: int) -> None:
        name = b"file %d" % number
        _write(target, directories[number % 12], name, name * 10)
        _write(target, target.root, name, name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(600)))
    target.finish()
    for number in range(600):
        assert (scratch / f"target/{number % 12}/file {number}").read_text() == f"file {number}" * 10
    assert len(os.listdir(scratch / "target")) == 612
    target.close()


def test_a_temporary_name_that_is_taken_is_not_in_the_way_and_stays(scratch: Path) -> None:
    """Left by a killed run that had our process id, or written by somebody who guesses."""
    path = scratch / "target"
    path.mkdir()
    planted = [f".seedcorn-{os.getpid():x}-{number:x}" for number in (1, 3, 5)]
    for name in planted:
        (path / name).symlink_to("/etc/passwd")
    target = _open(path, allow_existing=True)
    source = _write(target, target.root, b"file", link_count=2)
    target.make_special(target.root, _node(b"fifo", Kind.FIFO))
    target.make_hard_link(target.root, b"link", source)
    assert (path / "file").read_text() == "restored"
    assert sorted(os.listdir(path)) == [*planted, "fifo", "file", "link"]


def test_a_directory_that_is_swapped_for_a_link_as_it_is_made_is_not_followed(scratch: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = _open(scratch / "target")
    real_mkdir = os.mkdir

    def raced_mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        real_mkdir(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(outside, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", raced_mkdir)
    with pytest.raises(TargetError, match=r"^way: "):
        target.open_directory(target.root, b"way")


@pytest.mark.parametrize("planted", ["precious", "pipe"])
def test_what_takes_the_place_of_a_pipe_as_it_is_made_keeps_its_owner_and_mode(
    scratch: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """In a directory of somebody else, who is quick, and may link to files that are not theirs."""
    os.mkfifo(scratch / "pipe", 0o600)
    victim = outside / "precious" if planted == "precious" else scratch / "pipe"
    (scratch / "target").mkdir(mode=0o777)
    target = _open(scratch / "target", allow_existing=True)
    before, real_mknod = victim.stat(), os.mknod

    def raced_mknod(name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
        real_mknod(name, mode, device, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        os.link(victim, name, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mknod", raced_mknod)
    with pytest.raises(TargetError, match=r"^fifo: something else was put in its place"):
        target.make_special(target.root, _node(b"fifo", Kind.FIFO, mode=0o666))
    after = victim.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert os.listdir(scratch / "target") == []


def test_an_ordinary_user_is_told_about_devices_and_let_into_closed_directories_of_their_own(scratch: Path, as_nobody: Callable[..., Any]) -> None:
    def body() -> None:
        path = scratch / "target"
        (path / "closed").mkdir(parents=True)
        (path / "closed").chmod(0o500)
        target = _open(path, as_root=False, allow_existing=True)
        closed = target.open_directory(target.root, b"closed")
        _write(target, closed, b"x")
        with pytest.raises(TargetError, match=r"^zero: only root can restore a device"):
            target.make_special(target.root, _node(b"zero", Kind.CHAR_DEVICE, device=os.makedev(1, 5)))
        target.make_special(target.root, _node(b"fifo", Kind.FIFO, mode=0o610))
        assert stat.S_IMODE((path / "fifo").stat().st_mode) == 0o610
        target.finish_directory(closed, _node(b"closed", Kind.DIRECTORY, mode=0o500))
        target.finish()
        assert stat.S_IMODE((path / "closed").stat().st_mode) == 0o500
        (path / "closed").chmod(0o700)

    as_nobody(body)


def test_an_existing_directory_of_root_keeps_its_mode(scratch: Path) -> None:
    """Root needs no right to get in, and nobody sets the mode anew if the directory itself is not restored."""
    path = scratch / "target"
    (path / "closed").mkdir(parents=True)
    (path / "closed").chmod(0o500)
    target = _open(path, allow_existing=True)
    _write(target, target.open_directory(target.root, b"closed"), b"x")
    target.finish()
    assert stat.S_IMODE((path / "closed").stat().st_mode) == 0o500


def test_a_restore_waits_for_the_disk(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(target_module, "_sync_file_system", lambda fd: waited.append(os.fstat(fd).st_ino))
    monkeypatch.setattr(os, "sync", lambda: waited.append("everything"))
    target = _open(scratch / "target")
    _write(target, target.open_directory(target.root, b"below"), b"x")
    target.finish()
    assert waited == [target.root.inode]
    target._devices.add(target.root.device_id + 1)  # as if something were mounted in it
    target.sync()
    assert waited[1:] == ["everything"]


def test_a_disk_that_fails_is_told() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        target_module._sync_file_system(-1)


def test_a_filled_target_is_refused_before_anything_is_made(scratch: Path) -> None:
    refuse_filled(os.fsencode(scratch / "new"))
    assert not (scratch / "new").exists()
    (scratch / "full").mkdir()
    refuse_filled(os.fsencode(scratch / "full"))
    (scratch / "full" / "file").touch()
    with pytest.raises(UsageError, match=r"the target .*/full is not empty: name a new or empty directory"):
        refuse_filled(os.fsencode(scratch / "full"))


def test_links_to_nowhere_and_devices_are_what_the_node_says(scratch: Path) -> None:
    """As root a device is made with its number; a link that is not alone in a new directory goes another way, to the same end."""
    path = scratch / "target"
    path.mkdir()
    (path / "old").symlink_to("old target")
    target = _open(path, allow_existing=True)
    below = target.open_directory(target.root, b"below")
    for directory in (target.root, below):
        target.make_special(directory, _node(b"old", Kind.SYMLINK, target=b"/no/where"))
        target.make_special(directory, _node(b"null", Kind.CHAR_DEVICE, mode=0o640, device=os.makedev(1, 3)))
        target.make_special(directory, _node(b"loop", Kind.BLOCK_DEVICE, mode=0o600, device=os.makedev(7, 0)))
    target.finish()
    for found in (path, path / "below"):
        assert os.readlink(found / "old") == "/no/where"
        null, loop = (found / "null").lstat(), (found / "loop").lstat()
        assert (stat.S_ISCHR(null.st_mode), null.st_rdev, stat.S_IMODE(null.st_mode)) == (True, os.makedev(1, 3), 0o640)
        assert (stat.S_ISBLK(loop.st_mode), loop.st_rdev) == (True, os.makedev(7, 0))
    assert sorted(os.listdir(path)) == ["below", "loop", "null", "old"]


def test_a_link_that_can_not_be_installed_leaves_nothing_behind(scratch: Path) -> None:
    target = _open(scratch / "target")
    _write(target, target.open_directory(target.root, b"full"), b"inside")
    with pytest.raises(TargetError, match=r"^full: Directory not empty"):
        target.make_special(target.root, _node(b"full", Kind.SYMLINK, target=b"x"))
    assert os.listdir(scratch / "target") == ["full"]


def test_whether_capital_letters_make_a_difference_is_found_out(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _open(scratch / "target").folds_case
    exists = target_module._exists
    monkeypatch.setattr(target_module, "_exists", lambda dir_fd, name: exists(dir_fd, name.lower()))
    assert _open(scratch / "target").folds_case
    assert os.listdir(scratch / "target") == []


def test_the_target_itself_has_a_name_in_messages(scratch: Path) -> None:
    told: list[TargetError] = []
    target = _open(scratch / "target", on_problem=told.append)
    target.finish_directory(target.root, Node(b"", Kind.DIRECTORY, 0o700, 1 << 40, 0, 5, 0, 0, 0, 0))
    target.finish()
    assert [str(error).partition(" could")[0] for error in told] == [f".: owner {1 << 40}:0"]


def test_metadata_that_can_not_be_set_is_told_and_the_rest_goes_on(scratch: Path) -> None:
    told: list[TargetError] = []
    target = _open(scratch / "target", on_problem=told.append, open_directories=1)
    victim, other = target.open_directory(target.root, b"victim"), target.open_directory(target.root, b"other")
    target.finish_directory(victim, _node(b"victim", Kind.DIRECTORY, mode=0o711))
    target.finish_directory(other, _node(b"other", Kind.DIRECTORY, mode=0o711))
    (scratch / "target" / "victim").rmdir()
    target.finish()
    assert [error.path for error in told] == [b"victim"]
    assert stat.S_IMODE((scratch / "target" / "other").stat().st_mode) == 0o711
