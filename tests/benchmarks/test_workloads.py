"""benchmarks.workloads: the same tree and seed give the same second day, and the day can be taken back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from benchmarks.workloads import (
    apply_second_day,
    copy_tree,
    edit_big_file,
    make_big_file,
    make_host_trees,
    plan_second_day,
    sample_tree,
    some_small_files,
    tree_size,
    undo_second_day,
)

Content = dict[str, tuple[bytes, int, int]]  # path -> bytes, mode, mtime in nanoseconds


def state(tree: Path) -> Content:
    files = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(tree)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A twentieth of what a full second day needs, and two names of one file."""
    rng = random.Random(1)
    for kind, size, count in (("small", 5_000, 30), ("medium", 70_000, 12), ("large", 1_300_000, 4)):
        for number in range(count):
            path = tmp_path / "tree" / kind / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(size + number))
            path.chmod(0o600 + number % 8)
            os.utime(path, ns=(10**18, 10**18 + number))
    (tmp_path / "tree" / "one name").write_bytes(bytes(5000))
    (tmp_path / "tree" / "other name").hardlink_to(tmp_path / "tree" / "one name")
    return tmp_path / "tree"


def test_a_second_day_is_the_same_for_the_same_tree_and_seed(tree: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    copy_tree(tree, twin)
    for number, each in enumerate((tree, twin)):
        apply_second_day(each, plan_second_day(each), tmp_path / f"saved-{number}")
    assert {path: content for path, (content, _, _) in state(tree).items()} == {path: content for path, (content, _, _) in state(twin).items()}


def test_another_seed_gives_another_day(tree: Path) -> None:
    assert plan_second_day(tree, 1) != plan_second_day(tree, 2)


def test_a_second_day_changes_what_it_says_and_little_of_it(tree: Path, tmp_path: Path) -> None:
    before, plan = state(tree), plan_second_day(tree)
    apply_second_day(tree, plan, tmp_path / "saved")
    after = state(tree)
    changed = {path for path in before.keys() & after.keys() if before[path][0] != after[path][0]}
    assert changed == {str(path) for path in plan.changed}
    assert len(changed) == 11 + 10 + 2  # as many in proportion as there are large files for
    assert before.keys() - after.keys() == {str(path) for path in plan.deleted}
    new = [content for path, (content, _, _) in after.items() if path not in before]
    assert len(new) == 64
    assert sum(map(len, new)) == pytest.approx(2.3e6, rel=0.01)
    assert plan.changed_bytes == sum(len(before[path][0]) for path in changed)
    assert all(abs(len(after[path][0]) - len(before[path][0])) <= 900 for path in changed)


def test_the_first_day_comes_back(tree: Path, tmp_path: Path) -> None:
    before = state(tree)
    apply_second_day(tree, plan_second_day(tree), tmp_path / "saved")
    undo_second_day(tree, tmp_path / "saved")
    assert state(tree) == before
    undo_second_day(tree, tmp_path / "saved")  # nothing to do
    assert state(tree) == before


def test_a_sample_is_made_of_whole_subtrees_and_is_not_larger_than_wanted(tree: Path, tmp_path: Path) -> None:
    sample_tree(tree, tmp_path / "sample", 3_000_000)
    found, whole = state(tmp_path / "sample"), state(tree)
    assert found.items() <= whole.items()
    assert 500_000 < tree_size(tmp_path / "sample").bytes <= 3_000_000
    names = {path for path in found if path.startswith("small/")}
    assert len(names) in (0, 30)


def test_a_file_with_two_names_counts_once(tree: Path) -> None:
    assert tree_size(tree).files == 47


def test_small_files_are_chosen_by_their_size(tree: Path) -> None:
    chosen = some_small_files(tree, 5)
    assert len(chosen) == 5
    assert all((tree / path).stat().st_size < 65536 for path in chosen)


def test_a_hundredth_of_a_big_file_is_edited(tmp_path: Path) -> None:
    path = tmp_path / "image"
    make_big_file(path, 8 << 20)
    before = path.read_bytes()
    assert edit_big_file(path, piece_bytes=1024) == 81
    after = path.read_bytes()
    assert len(before) == len(after) == 8 << 20
    assert 40 * 1024 < sum(one != other for one, other in zip(before, after, strict=True)) <= 81 * 1024


def test_hosts_have_nine_tenths_in_common(tree: Path, tmp_path: Path) -> None:
    one, two = (state(each) for each in make_host_trees(tree, tmp_path / "hosts", 2, 8_000_000))
    assert one.keys() == two.keys()
    assert all(one[path][0] == two[path][0] for path in one if path.startswith("common/"))
    own = [path for path in one if path.startswith("own/") and not path.endswith("name")]  # a file of two names is left as it is
    assert own
    assert all(one[path][0] != two[path][0] for path in own)
