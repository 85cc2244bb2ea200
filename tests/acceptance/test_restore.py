"""Getting things back: parts of a snapshot, into all kinds of targets; and targets in which somebody has laid traps."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.acceptance.workshop import Workshop

from seedcorn.errors import TargetError, UsageError
from seedcorn.format.tree import Extra, Node
from seedcorn.fs import target as target_module
from seedcorn.fs.metadata import node_from_stat
from seedcorn.ops.backup import entries
from seedcorn.ops.restore import files as restore_files
from seedcorn.ops.restore.restore import Overwrite
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe, differences

_FILES = {
    "etc/hosts": b"127.0.0.1\n",
    "etc/ssh/key": b"k" * 5_000,
    "home/ann/letter.txt": b"dear",
    "home/bob/photo.jpg": b"\xff\xd8" * 9_000,
    "top": b"t",
}


@pytest.fixture
def stored(workshop: Workshop) -> Workshop:
    make_tree(workshop.source, _FILES)
    (workshop.source / "home" / "link").symlink_to("ann")
    (workshop.source / "empty").mkdir()
    workshop.backup()
    return workshop


def _files(target: Path) -> list[str]:
    return sorted(os.path.relpath(os.path.join(folder, name), target) for folder, _, names in os.walk(target) for name in names)


@pytest.mark.parametrize("path", ["etc/hosts", "home/bob/photo.jpg", "top"])
def test_a_single_file(stored: Workshop, path: str) -> None:
    restored = stored.restore(path=stored.source / path)
    assert restored.errors == []
    assert _files(restored.target) == [os.path.basename(path)]
    assert (restored.target / os.path.basename(path)).read_bytes() == _FILES[path]
    assert (restored.target / os.path.basename(path)).stat().st_mtime_ns == (stored.source / path).stat().st_mtime_ns


def test_a_directory_and_a_link(stored: Workshop) -> None:
    restored = stored.restore(path=stored.source / "home")
    assert differences(describe(stored.source / "home"), restored.tree()) == []
    restored = stored.restore(path=stored.source / "home" / "link")
    assert os.readlink(restored.target / "link") == "ann"
    restored = stored.restore(path=stored.source / "empty")
    assert os.listdir(restored.target) == []


@pytest.mark.parametrize(
    ("includes", "excludes", "expected"),
    [
        (("*.txt",), (), ["home/ann/letter.txt"]),
        (("{source}/etc",), (), ["etc/hosts", "etc/ssh/key"]),
        (("{source}/etc",), ("ssh",), ["etc/hosts"]),
        ((), ("home", "*s"), ["etc/ssh/key", "top"]),
        (("{source}/*/ssh/**", "top"), (), ["etc/ssh/key", "top"]),
    ],
)
def test_includes_and_excludes(stored: Workshop, includes: tuple[str, ...], excludes: tuple[str, ...], expected: list[str]) -> None:
    patterns = [tuple(pattern.format(source=stored.source) for pattern in patterns) for patterns in (includes, excludes)]
    restored = stored.restore(includes=patterns[0], excludes=patterns[1])
    assert restored.errors == []
    assert _files(restored.target) == expected
    for path in expected:
        assert (restored.target / path).read_bytes() == _FILES[path]
        assert (restored.target / path).parent.stat().st_mtime_ns == (stored.source / path).parent.stat().st_mtime_ns


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("excludes", [(), ("*",)])
def test_includes_that_match_nothing(stored: Workshop, excludes: tuple[str, ...], dry_run: bool) -> None:
    include = "hosts" if excludes else "nothing like it"
    with pytest.raises(UsageError, match=f"matches '{include}': nothing has been restored"):
        stored.restore(includes=(include,), excludes=excludes, target=stored.folder / "target", dry_run=dry_run)
    assert not (stored.folder / "target").exists()


def test_an_empty_directory_that_is_included(stored: Workshop) -> None:
    assert os.listdir(stored.restore(path=stored.source / "empty", includes=("empty",)).target) == []


def test_nothing_is_written_by_a_dry_run(stored: Workshop) -> None:
    restored = stored.restore(dry_run=True)
    assert (restored.result.files, restored.result.bytes) == (len(_FILES), sum(map(len, _FILES.values())))
    assert not restored.target.exists()


@pytest.mark.parametrize("path", ["missing", "etc/hosts/below a file", "etc/missing/deeper"])
def test_paths_that_are_not_there(stored: Workshop, path: str) -> None:
    with pytest.raises(UsageError, match="is not in snapshot"):
        stored.restore(path=stored.source / path)


def test_references_that_mean_nothing(stored: Workshop) -> None:
    for reference in ("latest~1", "0123abcd", "newest", ""):
        with pytest.raises(UsageError):
            stored.restore(reference)


def test_a_target_that_is_not_empty(stored: Workshop) -> None:
    target = make_tree(stored.folder / "target", {"mine": b"m", "etc/hosts": b"old", "etc/other": b"o"})
    with pytest.raises(UsageError, match="not empty"):
        stored.restore(target=target)
    assert _files(target) == ["etc/hosts", "etc/other", "mine"]

    kept = stored.restore(target=target, existing=True, overwrite=Overwrite.NEVER)
    assert kept.errors == [] and kept.result.skipped == 1
    assert (target / "etc" / "hosts").read_bytes() == b"old"
    replaced = stored.restore(target=target, existing=True)
    assert replaced.errors == []
    assert all((target / path).read_bytes() == content for path, content in _FILES.items())
    assert (target / "mine").read_bytes() == b"m" and (target / "etc" / "other").read_bytes() == b"o"


def test_what_stands_in_the_way(stored: Workshop) -> None:
    """Files give way to directories, links to files, empty directories to files; a full directory stays, and is named."""
    target = make_tree(stored.folder / "target", {"home": b"a file", "top/full": b"x"})
    (target / "etc").mkdir()
    (target / "etc" / "hosts").mkdir()
    (target / "etc" / "ssh").symlink_to("/nowhere")
    restored = stored.restore(target=target, existing=True)
    assert restored.errors == ["top: Directory not empty"]
    assert restored.result.exit_code == 1
    assert (target / "top" / "full").read_bytes() == b"x"
    assert all((target / path).read_bytes() == content for path, content in _FILES.items() if path != "top")


@pytest.mark.parametrize("trap", ["etc", "etc/ssh", "etc/hosts", "home/ann", "home/ann/letter.txt", "top"])
def test_links_that_were_planted_in_the_target(stored: Workshop, trap: str) -> None:
    outside = make_tree(stored.folder / "outside", {"hosts": b"precious", "key": b"precious", "letter.txt": b"precious", "file": b"precious"})
    before = describe(outside)
    target = stored.folder / "target"
    (target / trap).parent.mkdir(parents=True)
    (target / trap).symlink_to(outside if not os.path.splitext(trap)[1] and trap != "top" else outside / "file")
    restored = stored.restore(target=target, existing=True)
    assert restored.errors == []
    assert differences(before, describe(outside)) == []
    assert not (target / trap).is_symlink()
    assert all((target / path).read_bytes() == content for path, content in _FILES.items())


def test_the_target_itself_may_be_a_link(stored: Workshop) -> None:
    (stored.folder / "real").mkdir()
    (stored.folder / "link").symlink_to("real")
    restored = stored.restore(target=stored.folder / "link")
    assert restored.errors == []
    assert differences(describe(stored.source), describe(stored.folder / "real")) == []


def test_the_target_can_not_be_a_file(stored: Workshop) -> None:
    (stored.folder / "file").write_bytes(b"x")
    with pytest.raises((TargetError, UsageError)):
        stored.restore(target=stored.folder / "file")


def test_hard_links_of_which_only_some_are_wanted(workshop: Workshop) -> None:
    make_tree(workshop.source, {"a/one": b"shared", "b/other": b"x"})
    os.link(workshop.source / "a" / "one", workshop.source / "b" / "two")
    os.link(workshop.source / "a" / "one", workshop.source / "b" / "three")
    workshop.backup()
    restored = workshop.restore(path=workshop.source / "b")
    assert restored.errors == []
    assert (restored.target / "two").samefile(restored.target / "three")
    restored = workshop.restore(excludes=("one",))
    assert (restored.target / "b" / "two").read_bytes() == b"shared"
    restored = workshop.restore(includes=("three",))
    assert _files(restored.target) == ["b/three"] and (restored.target / "b" / "three").read_bytes() == b"shared"


def test_names_that_differ_only_in_capital_letters(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that does not tell them apart one is restored, and the others are named: none takes the place of another."""
    make_tree(workshop.source, {"README": b"1", "Readme": b"2", "other/readme": b"3", "Other/README": b"4", "Other/x": b"5"})
    (workshop.source / "readme").symlink_to("README")
    workshop.backup()
    assert workshop.restore().errors == []
    monkeypatch.setattr(target_module, "_folds_case", lambda _: True)
    restored = workshop.restore()
    assert [error.partition(":")[0] for error in restored.errors] == ["Readme", "other", "readme"]
    assert restored.result.exit_code == 1
    assert _files(restored.target) == ["Other/README", "Other/x", "README"]
    assert (restored.target / "README").read_bytes() == b"1"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_a_name_that_can_not_be_linked_is_a_file_of_its_own(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Another file system is mounted there, there are as many links as it allows, or it knows none at all."""
    make_tree(workshop.source, {"1/first": b"shared", "4/large": b"large" * 3_000_000})
    for name in ("2", "3"):
        (workshop.source / name).mkdir()
        os.link(workshop.source / "1/first", workshop.source / name / "other")
    os.link(workshop.source / "4/large", workshop.source / "4/large too")
    tree = describe(workshop.source)
    workshop.backup()
    real, pending = os.link, [number]

    def link(*arguments: Any, **options: Any) -> None:
        if pending:
            raise OSError(pending.pop(), "can not be linked")
        real(*arguments, **options)

    monkeypatch.setattr(os, "link", link)
    restored = workshop.restore()
    assert restored.errors == ["2/other: is to be a file of its own, since it can not be linked: can not be linked"]
    assert (restored.result.files, restored.result.exit_code) == (5, 1)
    assert {line for line in differences(tree, restored.tree()) if "link_group" not in line} == set()
    assert (restored.target / "2/other").samefile(restored.target / "3/other")
    assert (restored.target / "4/large").samefile(restored.target / "4/large too")


def test_a_hole_that_no_honest_host_stores_is_the_failure_of_one_file(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(workshop.source, {"a": b"shared", "other": b"x"})
    os.link(workshop.source / "a", workshop.source / "b")
    extra = Extra(link_count=2, holes=((0, 1 << 63),))
    real = entries._file_node
    monkeypatch.setattr(
        entries, "_file_node", lambda name, st, stored, holes, xattrs, changed: _with_hole(real(name, st, stored, (), (), False), extra)
    )
    workshop.backup()
    restored = workshop.restore(processes=0)
    assert [error.partition(": ")[0] for error in restored.errors] == ["a", "b"]
    assert _files(restored.target) == ["other"]


def _with_hole(node: Node, extra: Extra) -> Node:
    return node if node.name == b"other" else msgspec.structs.replace(node, size=node.size + (1 << 63), extra=extra)


def test_a_name_whose_first_name_is_in_the_way(workshop: Workshop) -> None:
    make_tree(workshop.source, {"a": b"shared"})
    for name in ("b", "c"):
        os.link(workshop.source / "a", workshop.source / name)
    workshop.backup()
    target = make_tree(workshop.folder / "target", {"a/full": b"x"})
    restored = workshop.restore(target=target, existing=True)
    assert restored.errors == ["a: Directory not empty"]
    assert (target / "b").read_bytes() == b"shared"
    assert (target / "b").samefile(target / "c")


@pytest.mark.parametrize("processes", [0, 2])
def test_an_inode_number_that_two_files_have_had(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """One was deleted while the backup ran, and the next one got its number: they are two files all the same."""
    monkeypatch.setattr(entries, "node_from_stat", lambda *node, **more: msgspec.structs.replace(node_from_stat(*node, **more), inode=7))
    monkeypatch.setattr(restore_files, "_SPANS_WORTH_PROCESSES", 1)
    contents = {"one": b"the first of two", "two": b"the other of two", "big": b"big" * 3_000_000, "bigger": b"abc" * 3_000_001}
    make_tree(workshop.source, contents)
    for name in contents:
        os.link(workshop.source / name, workshop.source / f"{name} again")
    restored = workshop.restore(workshop.backup().id, processes=processes)
    assert restored.errors == []
    for name, content in contents.items():
        assert (restored.target / name).read_bytes() == content
        assert (restored.target / name).samefile(restored.target / f"{name} again")


def test_a_chosen_file_at_the_end_of_a_deep_tree(workshop: Workshop) -> None:
    """Deeper than Python's own stack."""
    depth = 1_100
    descriptor = os.open(workshop.source, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    with open(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor), "wb") as file:
        file.write(b"here")
    os.close(descriptor)
    assert workshop.backup().result.exit_code == 0
    for includes in ((), ("bottom",)):
        restored = workshop.restore(includes=includes)
        assert restored.errors == []
        assert (restored.result.entries, restored.result.files) == (depth + 1, 1)
