"""What may be given to a backup: several paths, overlapping ones, files, relative ones, and how they are found in the snapshot."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from tests.acceptance.workshop import Workshop

from seedcorn.errors import SeedcornError, UsageError
from seedcorn.testing.repositories import make_tree, read_tree
from seedcorn.testing.trees import describe

_FILES = {"a/one": b"1", "a/two": b"22", "a/b/three": b"333", "a-b/four": b"4444", "c": b"55555"}


def _contents(workshop: Workshop) -> dict[str, bytes]:
    """The files of the newest snapshot, relative to the source."""
    found = read_tree(workshop.repository.browser(fresh=True))
    return {os.path.relpath(os.fsdecode(path), workshop.source): content for path, content in found.items() if content is not None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a"], ["a/b/three", "a/one", "a/two"]),
        (["a", "a-b"], ["a-b/four", "a/b/three", "a/one", "a/two"]),
        (["a/b", "a", "a/b/three"], ["a/b/three", "a/one", "a/two"]),
        (["c"], ["c"]),
        (["c", "a/b"], ["a/b/three", "c"]),
        (["a/one", "a/b", "a/one"], ["a/b/three", "a/one"]),
        (["a/", "./c", "a/../a-b"], ["a-b/four", "a/b/three", "a/one", "a/two", "c"]),
    ],
)
def test_relative_and_overlapping_paths(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: list[str]) -> None:
    make_tree(workshop.source, _FILES)
    monkeypatch.chdir(workshop.source)
    for _ in range(2):
        assert workshop.backup(*given).result.exit_code == 0
        found = _contents(workshop)
        assert sorted(found) == expected
        assert all(found[path] == _FILES[path] for path in expected)


@pytest.mark.parametrize("slashes", [b"/", b"//", b"///"])
def test_more_slashes_than_needed(workshop: Workshop, slashes: bytes) -> None:
    make_tree(workshop.source, _FILES)
    path = os.fsencode(workshop.source)
    assert workshop.backup(slashes + path.lstrip(b"/") + slashes).result.exit_code == 0
    assert sorted(_contents(workshop)) == sorted(_FILES)
    workshop.assert_restores("latest", describe(workshop.source))


def test_the_same_tree_as_one_path_and_as_two(workshop: Workshop) -> None:
    """Cached listings of one run serve the other, and never hide anything."""
    make_tree(workshop.source, _FILES)
    tree = describe(workshop.source)
    for paths in (["a"], [""], ["a/one", "c"], [""], ["a", "a-b"], ["c"], [""]):
        workshop.backup(*(workshop.source / path for path in paths))
        if paths == [""]:
            workshop.assert_restores("latest", tree)


def test_a_path_changes_its_kind(workshop: Workshop) -> None:
    path = workshop.source / "a"
    path.write_bytes(b"file")
    workshop.backup(path)
    path.unlink()
    make_tree(workshop.source, {"a/a": b"directory", "a/b": b"x"})
    workshop.backup(path)
    assert _contents(workshop) == {"a/a": b"directory", "a/b": b"x"}
    os.rename(path / "a", workshop.source / "kept")
    (path / "b").unlink()
    path.rmdir()
    os.rename(workshop.source / "kept", path)
    workshop.backup(path)
    assert _contents(workshop) == {"a": b"directory"}
    path.unlink()
    path.symlink_to("elsewhere")
    workshop.backup(path)
    assert _contents(workshop) == {}
    restored = workshop.restore(path=path)
    assert os.readlink(restored.target / "a") == "elsewhere"


def test_through_a_symbolic_link(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    (workshop.source / "link").symlink_to("a")
    workshop.backup(workshop.source / "link" / "b")
    assert _contents(workshop) == {"link/b/three": b"333"}
    workshop.backup(workshop.source / "link")
    assert _contents(workshop) == {}, "a link that is given is stored as a link"


def test_directories_that_only_lead_to_the_paths(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    (workshop.source / "a").chmod(0o711)
    workshop.backup(workshop.source / "a" / "b")
    restored = workshop.restore(path="/")
    assert restored.errors == []
    there = restored.target / os.path.relpath(workshop.source, "/")
    assert os.listdir(there) == ["a"] and os.listdir(there / "a") == ["b"]
    assert (there / "a").stat().st_mode == (workshop.source / "a").stat().st_mode


def test_missing_paths(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    run = workshop.backup(workshop.source / "a", workshop.source / "missing", workshop.source / "gone" / "too")
    assert run.result.exit_code == 3
    assert sorted(os.path.relpath(os.fsdecode(error.path), workshop.source) for error in run.result.errors) == ["gone/too", "missing"]
    assert sorted(_contents(workshop)) == ["a/b/three", "a/one", "a/two"]
    before = set(workshop.objects)
    with pytest.raises(SeedcornError, match="none of the given paths"):
        workshop.backup(workshop.source / "missing")
    assert not any(key.startswith("snapshots/") for key in set(workshop.objects) - before)
    with pytest.raises(UsageError):
        workshop.machine.backup()


def test_the_root_with_almost_everything_left_out(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    way = [Path("/"), *reversed(workshop.source.parents[:-1]), workshop.source]
    excludes = [pattern for above, below in pairwise(way) for pattern in (f"{above}/*".replace("//", "/"), f"!{below}")]
    run = workshop.backup("/", excludes=tuple(excludes))
    assert run.result.errors == ()
    assert _contents(workshop) == _FILES
    workshop.assert_restores("latest", describe(workshop.source))


def test_one_file_system(workshop: Workshop) -> None:
    """``/dev`` holds mount points on every Linux system: they are stored, what is mounted there is not."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="seedcorn-") as mounted:
        run = workshop.backup("/dev", one_file_system=True, excludes=("/dev/fd",))
        assert run.result.errors == ()
        mounts = {path for path in Path("/dev").iterdir() if path.is_dir() and path.lstat().st_dev != Path("/dev").stat().st_dev}
        assert Path("/dev/shm") in mounts
        browser = workshop.repository.browser(fresh=True)
        latest = browser.find("latest")
        for path in mounts:
            assert browser.entry(latest, os.fsencode(path)).node.size == 0
        assert browser.entry(latest, b"/dev/null").node.extra is not None

        workshop.backup(mounted.name, "/dev/null", one_file_system=True)
        browser = workshop.repository.browser(fresh=True)
        assert browser.entry(browser.find("latest"), os.fsencode(mounted.name)).path == os.fsencode(mounted.name), "given itself, it counts"
