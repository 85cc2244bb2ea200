"""What LocalStore does to the file system: order of fsyncs, modes, symbolic links, killed puts, full disks."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedcorn.errors import AccessDeniedError, ObjectExistsError, ObjectNotFoundError, StoreError
from seedcorn.store.local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def _keys(store: LocalStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def test_only_the_owner_may_read(store: LocalStore, root: Path) -> None:
    old = os.umask(0)
    try:
        store.put("packs/ab/one", b"x")
    finally:
        os.umask(old)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (root, root / "packs", root / "packs/ab", root / "packs/ab/one")}
    assert list(modes.values()) == [0o700, 0o700, 0o700, 0o600]


def test_content_is_durable_before_the_name_and_the_name_before_the_return(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        events.append("fsync file" if path.name.startswith(".put-") else f"fsync {path.relative_to(root.parent)}")
        real_fsync(fd)

    def link(*args: str, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        events.append("link")
        real_link(*args, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store.put("packs/ab/one", b"x")
    name = root.name
    assert events == ["fsync .", f"fsync {name}", f"fsync {name}/packs", "fsync file", "link", f"fsync {name}/packs/ab"]
    events.clear()
    store.put("packs/ab/two", b"x")
    assert events == ["fsync file", "link", f"fsync {name}/packs/ab"]
    events.clear()
    LocalStore(root).put("packs/ab/two", b"x")  # found there: its folders may be new and not yet durable
    assert events == [f"fsync {name}", f"fsync {name}/packs", "fsync file", "link", f"fsync {name}/packs/ab"]


def test_nothing_is_left_of_a_put_that_fails(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("packs/one", b"x")
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StoreError, match="packs/two: the disk is full"):
        store.put("packs/two", b"y")
    assert os.listdir(root / "packs") == ["one"]


def test_short_writes_are_completed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1000]))
    store.put("packs/one", bytes(range(250)) * 41)
    assert store.get("packs/one") == bytes(range(250)) * 41


@pytest.mark.parametrize("skew", [0, 1, 512], ids=["aligned", "not aligned", "aligned to a sector"])
@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (3 << 20) + 12_345])
@pytest.mark.parametrize("at_most", [1 << 30, 1 << 20, 100_001], ids=["whole", "short", "short and crooked"])
def test_a_large_content_past_the_page_cache(size: int, skew: int, at_most: int, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with mmap.mmap(-1, size + skew) as buffer:
        buffer[:] = random.Random(size).randbytes(size + skew)
        content = memoryview(buffer)[skew:]
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:at_most]))
        store.put("packs/one", content)
        assert store.get("packs/one") == content
        content.release()


def test_a_file_system_that_writes_through_its_cache_only(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl

    def refuse(fd: int, command: int, *arguments: int) -> int:
        if command == fcntl.F_SETFL:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    store.put("packs/one", bytes(3 << 20))
    assert store.get("packs/one") == bytes(3 << 20)


def test_a_killed_put_leaves_nothing_visible(store: LocalStore, root: Path) -> None:
    writer = (
        "import sys; from pathlib import Path; from seedcorn.store.local import LocalStore\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "for number in range(40): store.put(f'packs/{number:02}', bytes([number]) * 3_000_000); print(number, flush=True)\n"
    )
    for until in range(5):
        for path in (root / "packs").glob("*"):
            path.unlink()
        with subprocess.Popen([sys.executable, "-c", writer, str(root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while int(process.stdout.readline()) < until:
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
        keys = _keys(store, "packs/")
        assert until < len(keys) < 40
        assert [store.get(key) for key in keys] == [bytes([number]) * 3_000_000 for number in range(len(keys))]
        store.put(f"packs/{len(keys):02}", b"the next run is not in the way of the leftover")


def test_leftovers_are_ignored_and_removed_after_a_day(store: LocalStore, root: Path) -> None:
    store.put("packs/ab/one", b"x")
    old, young = root / "packs/ab/.put-1-0", root / "packs/ab/.put-2-0"
    for path, age_hours in ((old, 25), (young, 23)):
        path.write_bytes(b"half")
        when = time.time() - age_hours * 3600
        os.utime(path, (when, when))
    assert _keys(store) == ["packs/ab/one"]
    LocalStore(root).put("packs/ab/two", b"y")
    assert (old.exists(), young.exists()) == (False, True)
    assert _keys(store) == ["packs/ab/one", "packs/ab/two"]


def test_a_leftover_with_our_process_number_is_no_obstacle(store: LocalStore, root: Path) -> None:
    (root / "packs").mkdir(parents=True)
    for number in range(3):
        (root / f"packs/.put-{os.getpid()}-{number}").write_bytes(b"half")
    store.put("packs/one", b"x")
    assert store.get("packs/one") == b"x"


def test_processes_that_race_have_one_winner(root: Path) -> None:
    racer = (
        "import sys; from pathlib import Path; from seedcorn.store.local import LocalStore; from seedcorn.errors import ObjectExistsError\n"
        "store, won = LocalStore(Path(sys.argv[1])), 0\nsys.stdin.readline()\n"
        "for number in range(200):\n"
        "    try: store.put(f'snapshots/{number}', sys.argv[2].encode()); won += 1\n"
        "    except ObjectExistsError: pass\n"
        "print(won)\n"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", racer, str(root), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "abc"
    ]
    for process in racers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    wins = {name: int(process.communicate()[0]) for name, process in zip("abc", racers, strict=True)}
    held = [LocalStore(root).get(f"snapshots/{number}").decode() for number in range(200)]
    assert wins == {name: held.count(name) for name in "abc"}


class TestSymbolicLinks:
    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        return outside

    def test_a_linked_object_is_neither_read_nor_listed(self, store: LocalStore, root: Path, outside: Path) -> None:
        store.put("packs/one", b"x")
        (root / "packs/linked").symlink_to(outside / "secret")
        assert _keys(store) == ["packs/one"]
        for read in (store.get, store.head):
            with pytest.raises(StoreError, match="symbolic link"):
                read("packs/linked")

    def test_a_linked_folder_is_neither_entered_nor_written_into(self, store: LocalStore, root: Path, outside: Path) -> None:
        store.put("packs/one", b"x")
        (root / "keys").symlink_to(outside)
        assert _keys(store) == ["packs/one"]
        for use in (
            lambda: store.get("keys/secret"),
            lambda: store.put("keys/new", b"x"),
            lambda: store.delete(["keys/secret"]),
            lambda: _keys(store, "keys/"),
        ):
            with pytest.raises(StoreError):
                use()
        assert os.listdir(outside) == ["secret"]

    def test_a_link_in_the_way_of_a_put_is_not_followed(self, store: LocalStore, root: Path, outside: Path) -> None:
        store.put("packs/one", b"x")
        (root / "packs/two").symlink_to(outside / "new")
        with pytest.raises(StoreError):
            store.put("packs/two", b"y")
        assert os.listdir(outside) == ["secret"]

    def test_the_root_itself_may_be_a_link(self, tmp_path: Path, outside: Path) -> None:
        (tmp_path / "link").symlink_to(outside)
        store = LocalStore(tmp_path / "link")
        store.put("one", b"x")
        assert (outside / "one").read_bytes() == b"x"


def test_what_is_larger_than_any_object_of_ours_is_not_read(store: LocalStore, root: Path) -> None:
    store.put("packs/one", b"x")
    os.truncate(root / "packs/one", 1 << 42)
    with pytest.raises(StoreError, match=r"packs/one: .* too large"):
        store.get("packs/one")
    assert store.get_range("packs/one", 0, 2) == b"x\0"


def test_strangers_are_left_out_of_listings(store: LocalStore, root: Path) -> None:
    store.put("packs/one", b"x")
    (root / "lost+found").mkdir()
    (root / "lost+found/file").touch()
    (root / "README.txt").touch()
    (root / "packs/.hidden").touch()
    os.mkfifo(root / "packs/fifo")
    (root / os.fsdecode(b"bad\xff")).touch()
    assert _keys(store) == ["packs/one"]
    with pytest.raises(StoreError):
        store.get("packs/fifo")


@pytest.mark.parametrize("folders", [["d"] * 300, ["x" * 200, "y" * 200]], ids=["deep", "long"])
def test_folders_too_deep_for_any_key_are_not_entered(store: LocalStore, root: Path, folders: list[str]) -> None:
    """Neither the stack nor the descriptors of who lists are at the mercy of who made the folders."""
    store.put("packs/one", b"x")
    below = os.open(root / "packs", os.O_RDONLY)
    for name in folders:
        os.mkdir(name, dir_fd=below)
        above, below = below, os.open(name, os.O_RDONLY, dir_fd=below)
        os.close(above)
    os.close(os.open("z", os.O_CREAT | os.O_WRONLY, dir_fd=below))
    os.close(below)
    assert _keys(store) == ["packs/one"]


def test_a_listing_enters_only_the_folders_it_needs(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("aa", "bb", "cc"):
        for number in range(3):
            store.put(f"packs/{folder}/{number}", b"")
    entered: list[str] = []
    scandir = os.scandir

    def watch(fd: int) -> object:
        entered.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", watch)
    assert [info.key for info in store.list("packs/", after="packs/bb/1")] == ["packs/bb/2", "packs/cc/0", "packs/cc/1", "packs/cc/2"]
    assert entered == ["packs", "bb", "cc"]
    entered.clear()
    next(store.list("packs/"))
    assert entered == ["packs", "aa"]


def test_a_root_that_went_away_is_not_an_empty_store(store: LocalStore, root: Path) -> None:
    assert _keys(store) == []
    store.put("packs/one", b"x")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreError, match="mounted"):
        _keys(store)
    with pytest.raises(StoreError, match="mounted"):
        _keys(store, "packs/")


def test_a_folder_in_the_place_of_an_object_is_called_one(store: LocalStore) -> None:
    store.put("packs/one", b"x")
    for use in (lambda: store.put("packs", b"y"), lambda: store.get("packs"), lambda: store.head("packs"), lambda: store.delete(["packs"])):
        with pytest.raises(StoreError, match="a folder has the name of this object"):
            use()


def test_reading_makes_nothing(store: LocalStore, root: Path) -> None:
    with pytest.raises(ObjectNotFoundError):
        store.get("seedcorn.json")
    store.delete(["packs/one"])
    assert not root.exists()


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, AccessDeniedError, "may not"),
        (errno.EROFS, StoreError, "read-only"),
        (errno.EDQUOT, StoreError, "quota"),
        (errno.EIO, StoreError, "input/output"),
        (errno.EMFILE, StoreError, "Too many open files"),
    ],
)
def test_what_the_system_says_is_passed_on_in_clear_words(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError], words: str
) -> None:
    store.put("packs/one", b"x")

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    for use in (lambda: store.put("packs/two", b"x"), lambda: store.get("packs/one"), lambda: _keys(store)):
        with pytest.raises(kind, match=words):
            use()


def test_a_file_system_without_hard_links_still_refuses_other_bytes(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    store.put("one", b"x")
    store.put("one", b"x")
    with pytest.raises(ObjectExistsError):
        store.put("one", b"y")
    assert os.listdir(root) == ["one"]


def test_what_lies_under_a_disk_that_was_unmounted_is_not_the_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.put("packs/a", b"a")
    store._root_seen = (-1, -1)  # of another device
    with pytest.raises(StoreError, match="still mounted"):
        store.put("packs/b", b"b")
    with pytest.raises(StoreError, match="still mounted"):
        store.get("packs/a")
    with pytest.raises(StoreError, match="still mounted"):
        list(store.list(""))
    assert os.listdir(tmp_path / "root" / "packs") == ["a"]


def test_a_root_that_has_gone_is_not_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.put("packs/a", b"a")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="still mounted"):
        store.put("keys/b", b"b")
    assert not (tmp_path / "root").exists()
