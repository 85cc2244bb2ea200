"""benchmarks.floors: what stands beside the programs does the work that it is named for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import floors


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "file").write_bytes(b"content" * 1000)
    (tree / "folder" / "link").symlink_to("file")
    (tree / "empty").touch(0o600)
    os.utime(tree / "folder", ns=(0, 10**18))
    return tree


def metadata(tree: Path) -> dict[str, tuple[int, int, int]]:
    found = {str(path.relative_to(tree)): path.lstat() for path in tree.rglob("*")}
    return {name: (stat.st_mode, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def test_the_same_files_are_created(tree: Path, tmp_path: Path) -> None:
    floors.create(str(tree), str(tmp_path / "created"))
    assert metadata(tmp_path / "created") == metadata(tree)
    assert (tmp_path / "created" / "folder" / "link").readlink() == Path("file")


def test_every_byte_is_in_exactly_one_batch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "_PIECE_BYTES", 3000)
    monkeypatch.setattr(floors, "_BATCH_BYTES", 5000)
    batches = list(floors._batches(str(tree)))
    path = str(tree / "folder" / "file")
    assert batches == [[(path, 0, 3000), (path, 3000, 3000)], [(path, 6000, 1000)]]


def test_what_is_asked_for_wrongly_is_explained() -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.floors walk TREE"):
        floors.main(["walk"])
