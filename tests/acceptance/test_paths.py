"""What may be given to a backup: several paths, overlapping ones, files, relative ones, and how they are found in the snapshot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedcorn.errors import SeedcornError, UsageError
from seedcorn.testing.repositories import make_tree, read_tree
from seedcorn.testing.trees import describe, differences
from tests.acceptance.workshop import Workshop, is_root

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


def test_the_root_but_one_file_system(workshop: Workshop) -> None:
    """All of ``/`` with everything left out but the source, and nothing that is mounted below it."""
    make_tree(workshop.source, _FILES)
    parts = workshop.source.parts
    others: list[str] = []
    for depth in range(1, len(parts)):
        above = Path(*parts[:depth])
        others += [f"{above}/*".replace("//", "/"), f"!{Path(*parts[: depth + 1])}"]
    excludes = (*others, "/proc", "/sys", "/dev")
    excludes = tuple(pattern for pattern in excludes if pattern not in (f"!{parts[0]}",))
    run = workshop.backup("/", one_file_system=True, excludes=excludes)
    assert run.result.errors == ()
    if workshop.source.stat().st_dev == os.stat("/").st_dev:
        restored = workshop.restore()
        assert restored.errors == []
        assert differences(describe(workshop.source), restored.tree()) == []
    else:  # the scratch directory is on another file system: a mount point is stored, and nothing of what is mounted
        assert _contents(workshop) == {}


def test_what_is_mounted_below_is_left_out(workshop: Workshop) -> None:
    if not is_root():
        return  # only root can mount; the test above has seen the mount points of the system
    make_tree(workshop.source, _FILES)
    mount_point = workshop.source / "a" / "b"
    with _mounted(mount_point):
        (mount_point / "inside").write_bytes(b"of another file system")
        workshop.backup(one_file_system=True)
        assert sorted(_contents(workshop)) == ["a-b/four", "a/one", "a/two", "c"]
        workshop.backup()
        assert _contents(workshop)["a/b/inside"] == b"of another file system"
        workshop.backup(mount_point, workshop.source / "c", one_file_system=True)
        assert sorted(_contents(workshop)) == ["a/b/inside", "c"]
    workshop.backup()
    assert sorted(_contents(workshop)) == sorted(_FILES)


def _mounted(path: Path):  # type: ignore[no-untyped-def]  # replaced below
    raise NotImplementedError
