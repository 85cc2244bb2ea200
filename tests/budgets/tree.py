"""A tree that is the same on every machine and day, and what happens to it: small files, one that compresses and one that does not."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

__all__ = ["CHANGES", "SMALL_FILE", "make_tree"]

DIRECTORIES, FILES_IN_EACH, BIG_BYTES = 100, 20, 8 << 20
SMALL_FILE = "d042/f07"
_TEXT, _NOISE = "d000/text", "d000/noise"
_MTIME_NS = 1_600_000_000 * 10**9
_TICK_SECONDS = 0.02  # longer than the kernel's: an edit must not fall into the tick of a scan
_WORDS = [random.Random(number).randbytes(3).hex() for number in range(2000)]


def make_tree(top: Path) -> None:
    """2,000 files of 0 to 8 KiB in 100 directories, and two of 8 MiB."""
    rng = random.Random(1)
    for directory in range(DIRECTORIES):
        (top / f"d{directory:03}").mkdir(parents=True)
        for file in range(FILES_IN_EACH):
            (top / f"d{directory:03}/f{file:02}").write_bytes(_text(rng, rng.randrange(8192)))
    (top / _TEXT).write_bytes(_text(rng, BIG_BYTES))
    (top / _NOISE).write_bytes(rng.randbytes(BIG_BYTES))
    _settle(top)


def second_day(top: Path) -> None:
    """A day's work: appends, edits in place, an insertion in the middle, new and deleted files."""
    rng = random.Random(2)
    for number in range(20):
        with open(_small(top, rng), "ab") as file:
            file.write(_text(rng, 100))
        with open(_small(top, rng), "r+b") as file:
            file.write(_text(rng, 100))
        (top / f"d{rng.randrange(DIRECTORIES):03}/new{number:02}").write_bytes(_text(rng, 3000))
        _small(top, rng).unlink()
    content = (top / _TEXT).read_bytes()
    (top / _TEXT).write_bytes(content[: BIG_BYTES // 3] + _text(rng, 1000) + content[BIG_BYTES // 3 :])
    with open(top / _NOISE, "ab") as file:
        file.write(rng.randbytes(10_000))
    _settle(top, newer_by=1)


def touch(top: Path) -> None:
    """50 files get another time and keep their content."""
    rng = random.Random(3)
    for number in range(50):
        os.utime(_small(top, rng), ns=(_MTIME_NS, _MTIME_NS + number + 10))
    time.sleep(_TICK_SECONDS)


def rename(top: Path) -> None:
    """A directory gets another name."""
    os.rename(top / "d050", top / "renamed")
    time.sleep(_TICK_SECONDS)


def edit(top: Path) -> None:
    """A kilobyte in the middle of a file of 8 MiB is written over."""
    with open(top / _TEXT, "r+b") as file:
        file.seek(BIG_BYTES // 2)
        file.write(_text(random.Random(4), 1024))
    time.sleep(_TICK_SECONDS)


CHANGES = {"second day": second_day, "touched": touch, "renamed directory": rename, "edit in a big file": edit}


def _text(rng: random.Random, size: int) -> bytes:
    return " ".join(rng.choices(_WORDS, k=size // 7 + 1)).encode()[:size]


def _small(top: Path, rng: random.Random) -> Path:
    """One of the small files that are there."""
    while True:
        path = top / f"d{rng.randrange(DIRECTORIES):03}/f{rng.randrange(FILES_IN_EACH):02}"
        if path.exists() and not path.samefile(top / SMALL_FILE):
            return path


def _settle(top: Path, newer_by: int = 0) -> None:
    """Fixed times for all files, so that listings compress alike every day."""
    for number, path in enumerate(sorted(top.rglob("*"))):
        if path.is_file() and (not newer_by or path.stat().st_mtime_ns > _MTIME_NS + 10**9):
            os.utime(path, ns=(_MTIME_NS, _MTIME_NS + number * 1000 + newer_by))
    time.sleep(_TICK_SECONDS)
