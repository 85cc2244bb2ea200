"""What is backed up: trees of real files, and what a day, an edit or a second host does to them. Deterministic for a source and a seed.

Knows no program. Sizes are bytes, paths relative to the tree unless said otherwise.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "SecondDay",
    "TreeSize",
    "apply_second_day",
    "come_second_day",
    "copy_tree",
    "edit_big_file",
    "make_big_file",
    "make_flat_directory",
    "make_host_trees",
    "make_media",
    "plan_second_day",
    "sample_tree",
    "some_small_files",
    "tree_size",
    "undo_second_day",
]

_MIB = 1 << 20


# ------------------------------------------------------------------------------------------------------------ the seed tree


@dataclass(frozen=True)
class TreeSize:
    """How much is in a tree."""

    entries: int
    files: int
    bytes: int  # of all files; one with several names counts once, and a hole counts


def tree_size(tree: Path) -> TreeSize:
    """Count what is below ``tree``."""
    entries = size = 0
    inodes: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(tree):
        entries += len(folders) + len(names)
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            if found.st_nlink and (found.st_dev, found.st_ino) not in inodes:
                inodes.add((found.st_dev, found.st_ino))
                size += found.st_size
    return TreeSize(entries, len(inodes), size)


def copy_tree(source: Path, target: Path) -> None:
    """An exact copy of ``source``, links, owners, times and attributes included."""
    target.mkdir(parents=True)
    subprocess.run(["cp", "--archive", "--", f"{source}/.", target], check=True)


def sample_tree(source: Path, target: Path, wanted_bytes: int, seed: int = 1) -> None:
    """A copy of whole subtrees of ``source``, together about ``wanted_bytes``: none above a tenth of that, in a shuffled order, while they fit."""
    subtrees = sorted(_subtrees(source, wanted_bytes // 10).items())
    random.Random(seed).shuffle(subtrees)
    chosen, left_bytes = [], wanted_bytes
    for path, size in subtrees:
        if size <= left_bytes:
            left_bytes -= size
            chosen.append(path)
    target.mkdir(parents=True)
    _copy_names(source, target, chosen)


def _subtrees(source: Path, limit_bytes: int) -> dict[Path, int]:
    """The largest directories of at most ``limit_bytes``, and the files beside them, with their sizes."""
    sizes: dict[Path, int] = {}  # of directories whose parent has not come yet
    found: dict[Path, int] = {}
    for folder, folders, names in os.walk(source, topdown=False):
        here = Path(folder)
        paths = [here / name for name in (*names, *folders)]
        inside = {path: sizes.pop(path) if path in sizes else path.lstat().st_size for path in paths}
        sizes[here] = sum(inside.values())
        if sizes[here] > limit_bytes:
            found |= {path.relative_to(source): size for path, size in inside.items() if size <= limit_bytes}
    return found or {path.relative_to(source): size for path, size in inside.items()}


def _copy_names(source: Path, target: Path, names: Sequence[str | Path]) -> None:
    for begin in range(0, len(names), 1000):  # a command line has its limits
        batch = names[begin : begin + 1000]
        subprocess.run(["cp", "--archive", "--parents", "--", *batch, target.resolve()], check=True, cwd=source)


# ------------------------------------------------------------------------------------------------------------ the second day

_CLASSES = ((4_096, 60_000, 200), (60_000, 1_200_000, 170), (1_200_000, 20_000_000, 48))  # of the changed files: size from, to, how many
_DELETED = 28
_NEW_FILES = 64
_NEW_LINES = 870  # of 41 bytes in each new file: 64 files of together 2.3 MB
_NEW_FOLDER = "new-on-the-second-day"


@dataclass(frozen=True)
class SecondDay:
    """Which files change, as in a real run of 2008: 418 files of together about 220 MB get 0.2 MB of new bytes, 64 are new, 28 go."""

    changed: tuple[Path, ...]
    deleted: tuple[Path, ...]
    changed_bytes: int  # sizes of the changed files


def plan_second_day(tree: Path, seed: int = 5) -> SecondDay:
    """Choose for ``tree``. A tree with too few large files gets fewer changes of all sizes, in proportion."""
    rng = random.Random(seed)
    sizes = dict(sorted(_plain_files(tree)))
    classes = [[path for path, size in sizes.items() if low < size <= high] for low, high, _ in _CLASSES]
    scale = min(1.0, *(len(paths) / (1.2 * count) for paths, (_, _, count) in zip(classes, _CLASSES, strict=True)))
    changed = [path for paths, (_, _, count) in zip(classes, _CLASSES, strict=True) for path in rng.sample(paths, int(count * scale))]
    others = sorted(set(classes[0]) - set(changed))
    deleted = rng.sample(others, min(len(others), round(_DELETED * scale)))
    return SecondDay(tuple(changed), tuple(deleted), sum(sizes[path] for path in changed))


def some_small_files(tree: Path, count: int, seed: int = 6) -> list[Path]:
    """``count`` files of 1 to 64 KiB, anywhere in the tree."""
    paths = sorted(path for path, size in _plain_files(tree) if 1024 <= size <= 65536)
    return random.Random(seed).sample(paths, min(count, len(paths)))


def _plain_files(tree: Path) -> Iterator[tuple[Path, int]]:
    """Files with one name: an edit of one with several would be several changes."""
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            found = path.lstat()
            if not path.is_symlink() and path.is_file() and found.st_nlink == 1:
                yield path.relative_to(tree), found.st_size


def apply_second_day(tree: Path, plan: SecondDay, saved: Path, seed: int = 5) -> None:
    """Change ``tree`` in place; what goes or changes is first put into ``saved``, for ``undo_second_day``."""
    partial = saved.with_name(saved.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _copy_names(tree, partial, [*plan.changed, *plan.deleted])
    partial.rename(saved)  # from here on the tree may be changed
    rng = random.Random(seed)
    for path in plan.changed:
        _edit(tree / path, rng)
    for path in plan.deleted:
        (tree / path).unlink()
    new = tree / _NEW_FOLDER
    new.mkdir()
    for number in range(_NEW_FILES):
        (new / f"{number:02}").write_bytes(b"".join(rng.randbytes(20).hex().encode() + b"\n" for _ in range(_NEW_LINES)))


def _edit(path: Path, rng: random.Random) -> None:
    """An append (half of the time), an edit in place, or an insertion, of a few hundred bytes."""
    kind, size, length = rng.random(), path.stat().st_size, rng.randint(100, 800)
    text = rng.randbytes(length // 2).hex().encode()
    with open(path, "r+b") as file:
        if kind < 0.5:
            file.seek(0, os.SEEK_END)
            file.write(b"GET /index HTTP/1.1 200 " + text)
        elif kind < 0.8:
            file.seek(rng.randrange(size - length))
            file.write(rng.randbytes(length))
        else:
            at = rng.randrange(size)
            file.seek(at)
            tail = file.read()
            file.seek(at)
            file.write(text + tail)


def come_second_day(tree: Path, saved: Path) -> SecondDay:
    """Plan and apply, with the usual seed."""
    plan = plan_second_day(tree)
    apply_second_day(tree, plan, saved)
    return plan


def undo_second_day(tree: Path, saved: Path) -> None:
    """Give ``tree`` back its contents, times and modes. Does nothing without ``saved``; may be interrupted and repeated."""
    if saved.exists():
        shutil.rmtree(tree / _NEW_FOLDER, ignore_errors=True)
        subprocess.run(["cp", "--archive", "--", f"{saved}/.", tree], check=True)
        shutil.rmtree(saved)


# ------------------------------------------------------------------------------------------------------------ made files


def make_big_file(path: Path, size_bytes: int, seed: int = 7) -> None:
    """A file like a disk image: mebibytes that compress by half and mebibytes that do not, no two alike."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        file.writelines(rng.randbytes(_MIB) if number % 2 else rng.randbytes(_MIB // 2).hex().encode() for number in range(size_bytes // _MIB))


def edit_big_file(path: Path, *, share: float = 0.01, piece_bytes: int = 64 * 1024, seed: int = 8) -> int:
    """Overwrite ``share`` of the file, a piece here and a piece there; how many pieces."""
    rng = random.Random(seed)
    size = path.stat().st_size
    pieces = max(1, int(size * share / piece_bytes))
    with open(path, "r+b") as file:
        for _ in range(pieces):
            file.seek(rng.randrange(max(1, size - piece_bytes)))
            file.write(rng.randbytes(piece_bytes))
    return pieces


def make_media(folder: Path, size_bytes: int, file_bytes: int = 16 * _MIB, seed: int = 9) -> None:
    """Large files that do not compress, as pictures and films."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(max(1, size_bytes // file_bytes)):
        with open(folder / f"{number:04}.media", "wb") as file:
            file.writelines(rng.randbytes(_MIB) for _ in range(file_bytes // _MIB))


def make_flat_directory(folder: Path, files: int, seed: int = 10) -> None:
    """One directory of ``files`` files of 20 to 200 bytes each, all different."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number:07}").write_bytes(b"%d " % number + rng.randbytes(rng.randint(10, 100)).hex().encode())


def make_host_trees(source: Path, target: Path, hosts: int, common_bytes: int, seed: int = 11) -> list[Path]:
    """Trees of ``hosts`` machines, nine tenths of each the same everywhere; the last tenth has a line of its host's in every file."""
    common, own = target / "common", target / "own"
    sample_tree(source, common, common_bytes, seed)
    sample_tree(source, own, common_bytes // 9, seed + 1)
    trees = []
    for number in range(hosts):
        tree = target / f"host-{number}"
        copy_tree(common, tree / "common")
        copy_tree(own, tree / "own")
        for path, _ in _plain_files(tree / "own"):
            _mark(tree / "own" / path, b"host %d\n" % number)
        trees.append(tree)
    shutil.rmtree(common)
    shutil.rmtree(own)
    return trees


def _mark(path: Path, line: bytes, every_bytes: int = 2048) -> None:
    """Write ``line`` into the file again and again, so that no chunk of it is another host's."""
    with open(path, "r+b") as file:
        for offset in range(0, max(1, path.stat().st_size - len(line)), every_bytes):
            file.seek(offset)
            file.write(line)
